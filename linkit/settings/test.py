"""The settings of the test suite: as in production, only faster."""

from linkit.settings.base import *  # noqa: F403

ENVIRONMENT = "test"
ALLOWED_HOSTS = ["*"]
# A real hash costs 0.2 s, and the suite logs in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_USE_FINDERS = True
# A file is looked for when somebody asks for it: every new test client would otherwise look at all of them.
WHITENOISE_AUTOREFRESH = True
LOGGING["root"]["level"] = "WARNING"  # type: ignore[index] # noqa: F405
