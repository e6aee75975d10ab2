"""What the OpenAPI document says about every operation: the ways to authenticate, and the error bodies."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from linkit.authentication import ORGANIZATION_HEADER
from linkit.error_responses import error_body


class HeaderAuthenticationScheme(OpenApiAuthenticationExtension):
    target_class = "linkit.authentication.HeaderAuthentication"
    name = ["bearer", "apiKeyHeader"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]  # either is enough; one object with both would ask for both

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": (
                    "A session token from `auth/login` or an API key. `Authorization: Token <key>` and a bare"
                    f" `Authorization: <key>` work too. A person in several organizations may add"
                    f" `{ORGANIZATION_HEADER}`."
                ),
            },
            {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key."},
        ]


class ErrorSerializer(serializers.Serializer[Any]):
    """The error body of `/api/v1`."""

    code = serializers.IntegerField(help_text="The HTTP status.")
    error = serializers.CharField(help_text="What happened, whether anything was sent, and what to do next.")
    details = serializers.JSONField(
        allow_null=True,
        help_text="The fields at fault, or the provider's answer, with a `reason` and its `explanation`.",
    )


_ERRORS: dict[int, tuple[str, str, Any]] = {
    400: (
        "The request is not valid, or the provider refused it.",
        "mobile: The number is too short.",
        {"mobile": ["The number is too short."]},
    ),
    401: (
        "No credentials, or they are unknown, expired or revoked.",
        "Authentication credentials were not provided.",
        None,
    ),
    402: (
        "No credits; nothing was sent or charged.",
        "There are no credits left; nothing was sent or charged. Top up, then send again.",
        {"reason": "insufficient_credits"},
    ),
    403: (
        "The caller may not do this.",
        "This API key does not allow this: it needs the scope 'send'.",
        {"reason": "not_allowed"},
    ),
    404: (
        "It does not exist in this organization.",
        "There is nothing here by that name.",
        {"reason": "not_found"},
    ),
    409: (
        "The present state forbids it.",
        "Only a pending message can be cancelled; this one is 'sent'.",
        {"reason": "not_pending"},
    ),
    413: (
        "The body is too large; nothing was stored or sent.",
        "The body is over 1,000,000 bytes; nothing was stored or sent.",
        {"reason": "too_large"},
    ),
    415: (
        "The body is not of the kind that this call takes.",
        'Unsupported media type "text/plain" in request.',
        None,
    ),
    429: (
        "Over a limit; see `Retry-After`.",
        "Over 600 requests a minute; nothing was done. Try again in 1 s.",
        {"reason": "rate_limited"},
    ),
    502: (
        "The provider is unreachable or down; nothing was sent.",
        "Mora SMS could not be reached; nothing was sent.",
        {"reason": "connection_failed"},
    ),
    503: (
        "The provider is throttling us; nothing was sent. See `Retry-After`.",
        "Mora SMS is throttling; nothing was sent.",
        {"reason": "throttled"},
    ),
}


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the responses of these error statuses, with the three that every authenticated call can answer."""
    found = {}
    for status in sorted({401, 403, 429, *statuses}):
        description, sentence, details = _ERRORS[status]
        example = {"code": status, "error": sentence, "details": details}
        found[status] = OpenApiResponse(
            ErrorSerializer,
            description,
            examples=[OpenApiExample(str(status), value=example, status_codes=[str(status)])],
        )
    return found


class ContactErrorSerializer(serializers.Serializer[Any]):
    """The error body of the contact API, `/api` outside v1."""

    statusCode = serializers.IntegerField(help_text="The HTTP status.")
    error = serializers.CharField(help_text="The name that clients branch on.")
    message = serializers.CharField(help_text="What happened, whether anything was sent or charged, what to do next.")
    code = serializers.CharField(help_text="The name in capitals.")
    timestamp = serializers.DateTimeField()
    path = serializers.CharField()
    fieldErrors = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="The texts of each field at fault, when the body is malformed.",
    )


def contact_errors(*statuses: int, **named: tuple[int, str]) -> dict[int, OpenApiResponse]:
    """Return what `errors` does, for the contact API.

    `named` are its own errors, `SenderIdNotFoundError=(404, "There is no such sender ID.")`.
    """
    found = {}
    for status in sorted({401, 403, 429, *statuses, *(status for status, _ in named.values())}):
        own = [(name, text) for name, (of, text) in named.items() if of == status]
        usual = [("", _ERRORS[status][1])] if status in (401, 403, 429, *statuses) else []
        found[status] = OpenApiResponse(
            ContactErrorSerializer,
            _ERRORS[status][0],
            examples=[
                OpenApiExample(
                    name or str(status),
                    value={**error_body("/api/contact", status, text, name=name), "timestamp": "2026-11-23T09:00:00Z"},
                    status_codes=[str(status)],
                )
                for name, text in [*usual, *own]
            ],
        )
    return found


def open_errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the responses of these statuses for a call that needs no caller."""
    return {status: response for status, response in errors(*statuses).items() if status in statuses}


def example(value: Any, *, name: str = "Example", status: int | None = None, request: bool = False) -> OpenApiExample:
    """Return an example of a request, or of the response with this status."""
    return OpenApiExample(
        name,
        value=value,
        request_only=request,
        response_only=not request,
        status_codes=None if status is None else [str(status)],
    )
