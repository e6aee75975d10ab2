"""The `datetime` of a request: what people write, and what it means now."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from linkit.errors import InvalidInput

PAST_TOLERANCE = timedelta(minutes=5)  # clocks differ, and requests wait
FURTHEST = timedelta(days=366)
_WRITTEN = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:?\d{2})?")


class InvalidMoment(InvalidInput):
    reason = "invalid_datetime"

    def __init__(self, message: str) -> None:
        super().__init__(f"datetime: {message}", fields={"datetime": [message]})


def parse(text: str, *, time_zone: str) -> datetime:
    """Return the moment that `text` names: RFC 3339, or without an offset in `time_zone`. Raises `InvalidMoment`."""
    moment = None
    if _WRITTEN.fullmatch(text.strip()):
        try:
            moment = parse_datetime(text.strip().upper().replace("T", " "))
        except ValueError:
            raise InvalidMoment(_("There is no such date or time; nothing was sent.")) from None
    if moment is None:
        raise InvalidMoment(_("Write 2026-02-01T09:30:00Z, or 2026-02-01 09:30 in your organization's time zone."))
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(time_zone))).astimezone(UTC)
    except OverflowError:
        raise InvalidMoment(_("This is outside the years that have a calendar; nothing was sent.")) from None


def resolve(requested: datetime | None, *, now: datetime) -> datetime | None:
    """Return when to send, None meaning now. Raises `InvalidMoment` for a time long past or too far ahead."""
    if requested is None:
        return None
    ahead = requested - now
    if ahead > FURTHEST:
        raise InvalidMoment(_("This is over %(days)s days ahead; nothing was queued.") % {"days": FURTHEST.days})
    if ahead < -PAST_TOLERANCE:
        raise InvalidMoment(_("This moment has passed; nothing was sent. Leave it out to send now."))
    return requested if ahead > timedelta(0) else None
