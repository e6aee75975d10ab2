"""Small pieces of HTML that every list and page of the console shows alike."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString


def ltr(value: object) -> SafeString:
    """Return a number, id or code that reads left to right also on a right-to-left page."""
    return format_html('<bdi dir="ltr">{}</bdi>', value)


def badge(label: object, kind: str) -> SafeString:
    """Return a small coloured label; the stylesheet knows the kinds."""
    return format_html('<span class="badge badge-{}">{}</span>', kind, label)


def moment(value: datetime | None) -> SafeString:
    """Return a time in the console's zone, short and the same in every language."""
    if value is None:
        return SafeString("–")
    shown = f"{timezone.localtime(value):%Y-%m-%d %H:%M}"
    return format_html('<bdi dir="ltr" class="moment">{}</bdi>', shown)


def amount(value: Decimal | None) -> SafeString:
    """Return an amount to the last digit, such as 1,234.5, without zeros at its end."""
    if value is None:
        return SafeString("–")
    return format_html('<bdi dir="ltr" class="amount">{}</bdi>', in_figures(value))


def in_figures(value: Decimal) -> str:
    """Return an amount for a sentence, as `amount` shows it."""
    return f"{value.normalize() + 0:,f}"  # + 0: there is no negative nothing


def pretty(value: object) -> str:
    """Return JSON for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str)
