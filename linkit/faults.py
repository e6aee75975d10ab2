"""Faults of our own in logs: what broke and where, without words that may quote a row, a request or an answer."""

import logging
import traceback
from types import TracebackType

from django.db import DatabaseError


def describe(error: BaseException) -> str:
    """Return the type of `error` and the line that raised it. Its message may quote a secret, a number or a text."""
    name, frames = type(error).__name__, traceback.extract_tb(error.__traceback__)
    return f"{name} in {frames[-1].filename}, line {frames[-1].lineno}" if frames else name


class DiscreetFormatter(logging.Formatter):
    """Writes tracebacks as usual, but those of database errors without their words: PostgreSQL quotes the row."""

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        error = ei[1]
        seen: set[int] = set()
        cause = error
        while cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            if isinstance(cause, DatabaseError) and error is not None:
                return "".join(traceback.format_tb(error.__traceback__)) + describe(cause)
            cause = cause.__cause__ or cause.__context__
        return super().formatException(ei)
