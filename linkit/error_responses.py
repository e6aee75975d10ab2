"""What callers are told when something goes wrong, in the two shapes that clients know.

`/api/v1/**` answers `{code, error, details}`; `/api/**` outside it answers
`{statusCode, error, message, code, timestamp, path}` with `fieldErrors` when the body is malformed.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from linkit.errors import InvalidInput, LinkitError

_FRAMEWORK_NAMES = {
    400: "BadRequestException",
    401: "UnauthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "MethodNotAllowedException",
    409: "ConflictException",
    413: "PayloadTooLargeException",
    415: "UnsupportedMediaTypeException",
    429: "TooManyRequestsException",
    503: "ServiceUnavailableException",
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Render what a view raised; None lets a fault of ours reach the log and the 500 handler."""
    if not isinstance(exc, LinkitError | Http404 | PermissionDenied | exceptions.APIException):
        return None
    set_rollback()
    request = context["request"]
    status, sentence, details, headers = describe(exc)
    name = type(exc).__name__ if isinstance(exc, LinkitError) else ""
    fields = field_errors(exc)
    body = error_body(request.path, status, sentence, details=details, name=name, fields=fields)
    return Response(body, status=status, headers=headers)


def describe(
    exc: LinkitError | Http404 | PermissionDenied | exceptions.APIException,
) -> tuple[int, str, Any, dict[str, str]]:
    """Return the status, sentence, details and headers that a failure is answered with."""
    if isinstance(exc, LinkitError):
        return exc.status, _sayable(exc.message), _sayable(exc.details), exc.headers
    if isinstance(exc, Http404):
        return 404, "There is nothing here by that name.", None, {}
    if isinstance(exc, PermissionDenied):
        return 403, "You may not do this.", None, {}
    headers = {}
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if isinstance(exc, exceptions.ValidationError):
        fields = field_errors(exc) or {}
        field, texts = next(iter(fields.items()), ("", ["The request is not valid."]))
        sentence = texts[0] if field in ("", "non_field_errors") else f"{field}: {texts[0]}"
        return 400, sentence, _sayable(exc.detail), headers
    return exc.status_code, str(exc.detail), None, headers


def _sayable(value: Any) -> Any:
    """Return `value` without lone surrogates: an error may quote what was sent, and UTF-8 has no way to write them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_sayable(key): _sayable(item) for key, item in value.items()}
    return [_sayable(item) for item in value] if isinstance(value, list) else value


def field_errors(exc: Exception) -> dict[str, list[str]] | None:
    """Return `{field: [text]}` for a malformed body, nested names joined with dots."""
    if isinstance(exc, InvalidInput):
        return _sayable(exc.fields) or None
    if not isinstance(exc, exceptions.ValidationError):
        return None
    found: dict[str, list[str]] = {}

    def walk(path: str, detail: Any) -> None:
        if isinstance(detail, dict):
            for key, value in detail.items():
                walk(f"{path}.{key}" if path else str(key), value)
        elif isinstance(detail, list):
            for value in detail:
                walk(path, value)
        else:
            found.setdefault(path or "non_field_errors", []).append(str(detail))

    walk("", exc.detail)
    return _sayable(found)


def error_body(
    path: str,
    status: int,
    sentence: str,
    *,
    details: Any = None,
    name: str = "",
    fields: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Return the body of the family that `path` belongs to."""
    if path.startswith("/api/v1/"):
        return {"code": status, "error": sentence, "details": details}
    if not name.endswith("Error"):  # a class of ours that clients do not branch on
        name = _FRAMEWORK_NAMES.get(status, "HttpException")
    stem = re.sub(r"(Error|Exception)$", "", name)
    body = {
        "statusCode": status,
        "error": name,
        "message": sentence,
        "code": re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).upper(),
        "timestamp": timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "path": path,
    }
    if fields:
        body["fieldErrors"] = fields
    return body


def _plain(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """Answer outside a view: JSON to API callers, a page to browsers, one line of text to everybody else."""
    if request.path.startswith("/api/"):
        return JsonResponse(error_body(request.path, status, sentence), status=status)
    if "text/html" in request.headers.get("Accept", ""):
        page = render_to_string("linkit/error.html", {"status": status, "sentence": sentence})
        return HttpResponse(page, status=status)
    title = HTTPStatus(status).phrase
    return HttpResponse(f"{status} {title}. {sentence}\n", status=status, content_type="text/plain; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, 400, _("The request is not valid."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, 403, _("You may not do this."))


def form_out_of_date(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its CSRF token. `reason` is for programmers."""
    sentence = _("Nothing was done: this form is out of date, or cookies are off. Load its page again and repeat it.")
    return _plain(request, 403, sentence)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, 404, _("There is nothing here by that name."))


def server_error(request: HttpRequest) -> HttpResponse:
    sentence = _("Something broke on our side and is in our log. Look your request up before you repeat it.")
    return _plain(request, 500, sentence)
