"""Request bodies, bounded in size and JSON in depth, and a client's mistake whatever is wrong with them."""

import json
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.utils.json import strict_constant

from linkit.errors import TooLarge

_THROWN_AWAY = 10  # times the limit: what is larger still is cut off
_PIECE = 64 * 1024
MAX_DEPTH = 200  # nothing of ours comes near it, and whatever walks a body stays far from the end of the stack


class BoundedJSONParser(JSONParser):
    """DRF's parser reads any length, trusts the client's `charset` (there is one that unzips), and takes any depth."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        request = (parser_context or {})["request"]
        limit = settings.MAX_JSON_BODY_BYTES
        if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
            raise TooLarge(f"The body is over {limit:,} bytes; nothing was stored or sent.")
        try:
            # JSON is UTF-8 (RFC 8259), and some clients begin it with a byte order mark.
            body = json.loads(stream.read().decode("utf-8-sig"), parse_constant=strict_constant)
        except ValueError as error:
            raise ParseError(f"JSON parse error - {error}") from None
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None
        if _is_deeper(body, MAX_DEPTH):
            raise ParseError("JSON parse error - nested too deeply")
        return body


class BoundedMultiPartParser(MultiPartParser):
    """A form with a file: over the view's `max_body_bytes` its `too_large` is raised, and nothing of it is parsed."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        context = parser_context or {}
        view = context["view"]
        if is_over(context["request"], view.max_body_bytes()):
            raise view.too_large()
        return super().parse(stream, media_type, parser_context)


def is_over(request: HttpRequest, limit: int) -> bool:
    """Whether the body of a request is longer than `limit` bytes.

    If so it is read and thrown away, within reason: many a client shows no answer to an upload that is cut off.
    """
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    if length <= limit:
        return False
    while length < _THROWN_AWAY * limit and request.read(_PIECE):
        pass
    return True


def _is_deeper(body: Any, limit: int) -> bool:
    level = [body]
    for _ in range(limit):
        nested = [value for value in level if isinstance(value, dict | list)]
        level = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return False
    return True
