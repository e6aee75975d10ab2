"""Values on the wire: written exactly as a provider wants them, read in whatever form they come."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from linkit.phone import msisdn
from sms_providers.transport import Reply


def bare_sender(sender: str) -> str:
    """Return a sender ID that is a number without its plus, as most gateways want all numbers; a name as it is."""
    return msisdn(sender) if re.fullmatch(r"\+[0-9]+", sender) else sender


def basic(user: str, password: str) -> tuple[bytes, bytes]:
    """Return what `requests` takes for HTTP Basic: as bytes, since it would encode text as Latin-1."""
    return user.encode(), password.encode()


def as_its_body_says(reply: Reply, key: str) -> Reply:
    """Return `reply` with the status that its body has under `key`, where HTTP says success and the body a failure."""
    status = as_code(reply.object.get(key))
    return replace(reply, status=int(status)) if reply.is_success and re.fullmatch("[45][0-9]{2}", status) else reply


def round_up(moment: datetime, step: timedelta) -> datetime:
    """Return `moment` in UTC at the end of its `step`: a message may be late, never early."""
    utc = moment.astimezone(UTC)
    return utc + (datetime.min.replace(tzinfo=UTC) - utc) % step


def words(alternatives: str) -> re.Pattern[str]:
    """Return a pattern that finds one of `a|b|c` as a whole word in any case. An underscore ends a word too."""
    return re.compile(rf"(?<![a-z0-9])({alternatives})(?![a-z0-9])", re.IGNORECASE)


def as_decimal(value: Any) -> Decimal | None:
    """Return a number that may come as a number or as text; None for anything else, or a size nobody means."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    # The exponent bounds what printing it takes: 1e999999 is a number too.
    return number if number.is_finite() and abs(number.adjusted()) < 20 else None


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object, empty where it is missing, null or something else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a JSON list, empty where it is missing, null or something else."""
    return value if isinstance(value, list) else []


def as_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a JSON list, without whatever else is in it."""
    return [item for item in as_list(value) if isinstance(item, dict)]


def as_code(value: Any) -> str:
    """Return a code or an id as text, whether it came as a number or as text; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    return str(value).strip()


def as_count(value: Any) -> int | None:
    """Return a number of segments, which may come as text; None when it is none, zero or absurd."""
    text = as_code(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 and int(text) else None
