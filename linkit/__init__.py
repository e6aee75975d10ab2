"""The kernel (organizations, keys, errors, numbers, encodings) and the wiring of the whole product."""

# Django must find the Celery application when it starts, or `.delay()` in a web process
# would publish to the default broker of Celery instead of ours.
from linkit.celery import app as celery_app

__version__ = "0.1.0"
__all__ = ["__version__", "celery_app"]
