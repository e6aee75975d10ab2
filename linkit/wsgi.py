"""WSGI entry point: `gunicorn linkit.wsgi`."""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linkit.settings.base")
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request.

    Django takes a body without a length for no body at all, and some clients (.NET for one) send JSON in chunks.
    """
    is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
    if is_chunked and environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
        limit = settings.MAX_JSON_BODY_BYTES
        body = environ["wsgi.input"].read(limit + 1)
        # Nobody shall work on the beginning of a body that is too long: all of it goes, and its length is a 413.
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = io.BytesIO(body if len(body) <= limit else b"")
    return _django(environ, start_response)
