"""What an answer is written in: JSON, whatever a client's default `Accept` header says."""

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request


class JSONAlways(BaseContentNegotiation):
    """A client that asks for `text/csv` or `text/html` still wants our answer, not a 406."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((parser for parser in parsers if _takes(parser, request.content_type)), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


def _takes(parser: Any, content_type: str) -> bool:
    wanted = content_type.partition(";")[0].strip().lower()
    return bool(wanted == parser.media_type)
