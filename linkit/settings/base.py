"""Every setting, read from the environment. `.env.example` lists the variables."""

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

import linkit
from linkit.settings import embedded

BASE_DIR = Path(__file__).resolve().parents[2]

env = environ.Env()
env.read_env(BASE_DIR / ".env")

VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).absolute()
IS_EMBEDDED = not env.str("DATABASE_URL", default="")
# Whether somebody named a Redis. If not, `manage.py up` starts one and says where in var/embedded.env.
HAS_REDIS_URL = bool(env.str("REDIS_URL", default=""))
embedded.fill_in(env, var=VAR_DIR)


def _decimal(name: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ImproperlyConfigured(f"{name}: {text!r} is not a number.")
    return amount


# --- Who we are -----------------------------------------------------------------------------------------------

VERSION = linkit.__version__
ENVIRONMENT = env.str("ENVIRONMENT", default="embedded" if IS_EMBEDDED else "production")
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")  # no default: refuse to start without one
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS")  # Fernet keys, newest first

# Where `manage.py up` listens.
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
PUBLIC_URL = env.str("PUBLIC_URL", default=embedded.own_url(HOST, PORT)).rstrip("/")
_public = urlsplit(PUBLIC_URL)
IS_HTTPS = _public.scheme == "https"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=sorted({_public.hostname or "", "localhost", "127.0.0.1", "[::1]"}))
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL])

# --- Applications ---------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "linkit.apps.LinkitAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_filters",
    "import_export",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "linkit",
    "billing",
    "sms_providers",
    "outbox",
    "contacts",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "linkit.headers.ContentSecurityPolicyMiddleware",
    "linkit.middleware.PageSessionMiddleware",
    "linkit.middleware.PageLanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "linkit.middleware.PageAuthenticationMiddleware",
    "linkit.middleware.PageMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "linkit.urls"
WSGI_APPLICATION = "linkit.wsgi.application"
AUTH_USER_MODEL = "linkit.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Data -----------------------------------------------------------------------------------------------------

DATABASES: dict[str, Any] = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": VAR_DIR / "linkit.sqlite3"}
    if IS_EMBEDDED
    else env.db_url("DATABASE_URL")
}
if str(DATABASES["default"]["ENGINE"]).endswith("sqlite3"):
    # Take the write lock at BEGIN and wait for it, instead of failing with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A process that is frozen inside a transaction must not keep rows from the reaper for ever.
    # 0 leaves it to the server, for a pooler that takes no start-up options.
    if idle_seconds := env.int("DATABASE_IDLE_TRANSACTION_SECONDS", default=60):
        idle = f"-c idle_in_transaction_session_timeout={idle_seconds}s"
        DATABASES["default"]["OPTIONS"] = {"options": idle, **DATABASES["default"].get("OPTIONS", {})}

REDIS_URL = env.str("REDIS_URL", default="") or "redis://127.0.0.1:6379/0"
# A Redis that is down must cost a web request moments, not minutes.
REDIS_TIMEOUT_SECONDS = env.float("REDIS_TIMEOUT_SECONDS", default=1.0)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "linkit",
        "OPTIONS": {"socket_connect_timeout": REDIS_TIMEOUT_SECONDS, "socket_timeout": REDIS_TIMEOUT_SECONDS},
    }
}

# --- People and programs --------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["linkit.lockout.LockoutBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_FAILURE_LIMIT = env.int("LOGIN_FAILURE_LIMIT", default=8)  # of one account; five times that from one address
LOGIN_LOCKOUT = timedelta(seconds=env.int("LOGIN_LOCKOUT_SECONDS", default=900))
SESSION_TOKEN_LIFETIME = timedelta(hours=env.int("SESSION_TOKEN_HOURS", default=12))
API_RATE_PER_MINUTE = env.int("API_RATE_PER_MINUTE", default=600)
API_RATE_BURST = env.int("API_RATE_BURST", default=100)
# How many proxies in front of us add to X-Forwarded-For. 0: the header is a stranger's word and is not read.
# With an https PUBLIC_URL there must be one, since we do not speak TLS ourselves.
TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=1 if IS_HTTPS else 0)

# --- HTTP -----------------------------------------------------------------------------------------------------

MAX_JSON_BODY_BYTES = 1_000_000
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=IS_HTTPS)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if IS_HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=IS_HTTPS)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=IS_HTTPS)
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# A load balancer asks for health over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^api/v1/(ping|health)$"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "linkit_session", "linkit_csrf"
CSRF_FAILURE_VIEW = "linkit.error_responses.form_out_of_date"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self';"
    " frame-ancestors 'none'"
)

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(VAR_DIR / "static")))
WHITENOISE_USE_FINDERS = IS_EMBEDDED or DEBUG

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["linkit.authentication.HeaderAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["linkit.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["linkit.throttling.CallerThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["linkit.parsing.BoundedJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "linkit.negotiation.JSONAlways",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "linkit.error_responses.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Linkit SMS",
    "DESCRIPTION": (
        "Send SMS through the provider you choose. Every accepted message reaches exactly one final state, and no"
        " recipient gets the same message twice because of us."
    ),
    "VERSION": VERSION,
    "LICENSE": {"name": "MIT"},
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SERVE_THROTTLES": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SORT_OPERATIONS": False,
    "ENUM_NAME_OVERRIDES": {
        "DispatchStatusEnum": "sms_providers.models.Status",
        "OutcomeEnum": "sms_providers.results.Outcome",
        "BulkJobStatusEnum": "outbox.bulk.models.JobStatus",
        "SenderIdStatusEnum": "sms_providers.models.SenderIdStatus",
        "ProgramStatusEnum": "contacts.models.ProgramStatus",
        "CustomAttributeTypeEnum": "contacts.models.AttributeType",
    },
    "TAGS": [
        {"name": "Auth", "description": "Log in, log out, API keys."},
        {"name": "Health", "description": "Is it up?"},
        {"name": "App Store", "description": "Provider apps and an organization's installations of them."},
        {"name": "SMS providers", "description": "Send and ask through one installed app."},
        {"name": "SMS outbox", "description": "Queue a message; any installed app may send it."},
        {"name": "SMS logs", "description": "Every SMS of every door, with its attempts."},
        {"name": "Contacts", "description": "Contacts, their custom attributes, and audiences: static lists of them."},
        {"name": "Contact SMS", "description": "One templated SMS to a contact, and programs to many, for credits."},
        {"name": "Credits", "description": "What there is, and what it went into."},
    ],
}

# --- Language and time ----------------------------------------------------------------------------------------

# Of the console. The API, the log and what is stored are in English.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ar", "العربية")]
LOCALE_PATHS = [BASE_DIR / "linkit" / "locale"]  # before the words of Django's own
LANGUAGE_COOKIE_NAME, LANGUAGE_COOKIE_AGE = "linkit_language", 31_536_000
LANGUAGE_COOKIE_SECURE, LANGUAGE_COOKIE_HTTPONLY, LANGUAGE_COOKIE_SAMESITE = IS_HTTPS, True, "Lax"
# Figures are written alike in every language, as our scripts write them too.
FORMAT_MODULE_PATH = "linkit.formats"
TIME_ZONE = "UTC"

# --- SMS providers --------------------------------------------------------------------------------------------

# The App Store, by dotted path. A site adds its own adapter here without a fork.
SMS_PROVIDERS = env.list(
    "SMS_PROVIDERS",
    default=[
        "sms_providers.adapters.mora.MoraSms",
        "sms_providers.adapters.taqnyat.TaqnyatSms",
        "sms_providers.adapters.msegat.MsegatSms",
        "sms_providers.adapters.fourjawaly.FourJawalySms",
        "sms_providers.adapters.unifonic.UnifonicSms",
        "sms_providers.adapters.cequens.CequensSms",
        "sms_providers.adapters.twilio.TwilioSms",
        "sms_providers.adapters.infobip.InfobipSms",
        "sms_providers.adapters.vonage.VonageSms",
        "sms_providers.adapters.sandbox.SandboxSms",
    ],
)
# JSON, slug -> URL that takes the place of https://host. For tests and for a site's own relay.
SMS_PROVIDER_BASE_URLS = env.json("SMS_PROVIDER_BASE_URLS", default={})
PROVIDER_CONNECT_TIMEOUT = timedelta(seconds=env.float("PROVIDER_CONNECT_TIMEOUT_SECONDS", default=5))
# The wall-clock limit of one provider call, from its start to the last byte of the answer.
PROVIDER_CALL_LIMIT = timedelta(seconds=env.float("PROVIDER_CALL_LIMIT_SECONDS", default=30))  # in a worker
PROVIDER_CALL_LIMIT_WEB = timedelta(seconds=env.float("PROVIDER_CALL_LIMIT_WEB_SECONDS", default=20))  # in a request
# After this a direct send that never reported back is an unknown outcome.
DIRECT_SEND_DEADLINE = timedelta(seconds=env.float("DIRECT_SEND_DEADLINE_SECONDS", default=60))

# A circuit breaker for each installation: so many failures in a row open it, and each time in a row for twice as long.
PROVIDER_CIRCUIT_FAILURES = env.int("PROVIDER_CIRCUIT_FAILURES", default=10)
PROVIDER_CIRCUIT_PAUSE = timedelta(seconds=env.float("PROVIDER_CIRCUIT_PAUSE_SECONDS", default=15))
PROVIDER_CIRCUIT_PAUSE_MAX = timedelta(seconds=env.float("PROVIDER_CIRCUIT_PAUSE_MAX_SECONDS", default=300))

# --- Outbox ---------------------------------------------------------------------------------------------------

OUTBOX_LEASE = timedelta(seconds=env.float("OUTBOX_LEASE_SECONDS", default=120))
OUTBOX_LEASE_MARGIN = timedelta(seconds=env.float("OUTBOX_LEASE_MARGIN_SECONDS", default=10))
OUTBOX_TTL = timedelta(seconds=env.float("OUTBOX_TTL_SECONDS", default=72 * 3600))
OUTBOX_SENDERS = env.int("OUTBOX_SENDERS", default=64)  # provider calls at once in one drain
OUTBOX_BACKOFF_MIN = timedelta(seconds=env.float("OUTBOX_BACKOFF_MIN_SECONDS", default=2))
OUTBOX_BACKOFF_MAX = timedelta(seconds=env.float("OUTBOX_BACKOFF_MAX_SECONDS", default=600))
# How long messages are kept after their end; what was never tried (cancelled, expired) is worth less.
OUTBOX_RETENTION = timedelta(days=env.float("OUTBOX_RETENTION_DAYS", default=30))
OUTBOX_UNDISPATCHED_RETENTION = timedelta(days=env.float("OUTBOX_UNDISPATCHED_RETENTION_DAYS", default=7))
# From which age on an SMS in the log has neither number nor text any more, only what was counted and paid.
SMS_LOG_PII_AGE = timedelta(days=env.float("SMS_LOG_PII_DAYS", default=90))

# --- Bulk files -----------------------------------------------------------------------------------------------

BULK_MAX_BYTES = env.int("BULK_MAX_BYTES", default=20_000_000)
BULK_MAX_ROWS = env.int("BULK_MAX_ROWS", default=100_000)
# How long `bulk-send` waits for the end before it answers 202 with the counts so far.
BULK_SYNC_WAIT = timedelta(seconds=env.float("BULK_SYNC_WAIT_SECONDS", default=25))
BULK_FILE_LIFETIME = timedelta(days=env.float("BULK_FILE_DAYS", default=7))  # after the end of its job
BULK_MAX_PAUSE = timedelta(days=env.float("BULK_MAX_PAUSE_DAYS", default=14))
BULK_WORK_LEASE = timedelta(seconds=env.float("BULK_WORK_LEASE_SECONDS", default=120))

# --- Credits --------------------------------------------------------------------------------------------------

SMS_CREDIT_RATE = _decimal(
    "SMS_CREDIT_RATE", env.str("SMS_CREDIT_RATE", default="1.887")
)  # for one part where no other rate fits
# Holds of outcomes that nobody knows are given back after this; a later settlement then charges nothing.
CREDIT_HOLD_LIFETIME = timedelta(hours=env.float("CREDIT_HOLD_HOURS", default=72))
# Balances below which a new account's people are told; each account's own are changed in the console.
CREDIT_ALERTS = [_decimal("CREDIT_ALERTS", text) for text in env.list("CREDIT_ALERTS", default=["100", "20"])]

# Where mail goes, such as smtp+tls://user:password@mail.example.org:587. Without it mail is written to the log.
globals().update(env.email_url("EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"linkit@{_public.hostname or 'localhost'}")
EMAIL_TIMEOUT = 10  # seconds

# --- Celery ---------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 300,
    "max_retries": 0,  # of a wake-up: an API client is waiting, and the schedule finds the message anyway
    "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
    "socket_timeout": max(REDIS_TIMEOUT_SECONDS, 2.0),  # a worker's own wait for a task is 1 s
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "upkeep"
CELERY_TASK_ROUTES = {"outbox.tasks.drain": {"queue": "drain"}, "outbox.tasks.work_on_jobs": {"queue": "bulk"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"  # all intervals are short: nothing to remember between starts
CELERY_BEAT_SCHEDULE = {
    # Finds what a lost wake-up left, and what has come due.
    "drain": {"task": "outbox.tasks.drain", "schedule": 1.0},
    # Finds files to read and jobs to stop whose wake-up was lost.
    "work_on_jobs": {"task": "outbox.tasks.work_on_jobs", "schedule": 2.0},
    "send_alerts": {"task": "billing.tasks.send_alerts", "schedule": 60.0},
    "look_up": {"task": "outbox.tasks.look_up", "schedule": 60.0},
    # Each provider is asked far less often (sms_providers.balances.EVERY).
    "refresh_balances": {"task": "sms_providers.tasks.refresh_balances", "schedule": 300.0},
    # By the clock: an interval of an hour would begin anew with every start of beat.
    "purge": {"task": "outbox.tasks.purge", "schedule": crontab(minute="17")},
    "reap": {
        "task": "outbox.tasks.reap",
        "schedule": env.float("OUTBOX_REAP_SECONDS", default=30.0),
    },
}

# --- Logs -----------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "linkit.faults.DiscreetFormatter", "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        # Celery names every task it runs, and ours run every second.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}
