"""What one message that somebody writes would take: its parts, what makes it UCS-2, and what it costs, in words."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import ledger, rates
from billing.ledger import Credits
from linkit import clock, encoding, phone
from linkit.encoding import Segments
from linkit.markup import in_figures
from linkit.models import Organization
from outbox import routing
from sms_providers import catalogue, charging
from sms_providers import text as sms_text
from sms_providers.models import SANDBOX, OrganizationApp, Source

_NAMED = 8  # characters that are named besides being marked


# --- the text -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Neighbours in a text that are all in the GSM alphabet, all outside of it, or blanks that are."""

    text: str
    is_outside: bool

    @property
    def is_hidden(self) -> bool:
        """Whether it is outside and nothing of it would be seen by itself, such as a no-break space."""
        return self.is_outside and all(map(_is_hidden, self.text))

    @property
    def codes(self) -> str:
        return " ".join(map(code_point, self.text))


@dataclass(frozen=True)
class Written:
    """A text as send_one.js shows it while it is written."""

    text: str
    counted: Segments
    runs: list[Run]

    @property
    def characters(self) -> int:
        return len(self.text)

    @property
    def is_too_long(self) -> bool:
        return self.counted.count > sms_text.MAX_SEGMENTS or self.characters > sms_text.MAX_CHARACTERS

    @property
    def outside(self) -> list[tuple[str, str]]:
        """What is outside the GSM alphabet, each character once, if it can be seen, and its code. "…": and others."""
        found = list(dict.fromkeys(character for run in self.runs if run.is_outside for character in run.text))
        named = [("" if _is_hidden(character) else character, code_point(character)) for character in found[:_NAMED]]
        return [*named, ("", "…")] if len(found) > _NAMED else named


def written(text: str) -> Written:
    """Look at a text, which may be too long to be sent."""
    outside = {character for _place, character in encoding.outside_gsm7(text)}
    blank = {character for character in outside if unicodedata.category(character).startswith("Z")}
    kinds = itertools.groupby(text, key=lambda character: (character in outside, character in blank))
    runs = [Run("".join(characters), is_outside) for (is_outside, _is_blank), characters in kinds]
    return Written(text, encoding.segments(text), runs)


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character)[0] in "ZCM"


# --- the cost -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quote:
    """What a message costs, in words; `is_lacking` when there is nothing to pay it with."""

    text: str
    is_lacking: bool = False


def quote(
    *,
    organization: Organization,
    app: OrganizationApp | None,
    apps: Sequence[OrganizationApp],
    recipient: str,
    text: str,
) -> Quote:
    """Say what this message costs as it is typed, through `app`, or without one through any of `apps`.

    A price that is not known yet says what it waits for.
    """
    senders = [app] if app else _senders(apps)
    source = Source.CONSOLE if app else Source.OUTBOX
    paid = [each for each in senders if charging.is_charged(is_test=False, source=source, app=each)]
    if not paid:
        return Quote(_free(senders))
    try:
        price = _price(organization, recipient)
    except phone.InvalidNumber:
        return Quote(_("In credits; how many is known once the number is right."))
    try:
        count = sms_text.measure(text).count
    except sms_text.InvalidText:
        told = _("%(price)s credits a part; in all it is known once the message is right.") % {"price": _figures(price)}
        return Quote(told)
    told = _product(count, price)
    if len(paid) < len(senders):
        names = _(", ").join(catalogue.app_name(each.slug) for each in paid)
        told = _("%(cost)s if it goes through %(apps)s; none through the others.") % {"cost": told, "apps": names}
    if ledger.look([organization.pk])[organization.pk] is not Credits.NONE:
        return Quote(told)
    if app is None and len(paid) < len(senders):
        return Quote(told)  # the others send it
    lacking = _("There are no credits left: it is not sent.") if app else _("There are no credits left: it waits.")
    return Quote(f"{told}. {lacking}", is_lacking=True)


def _senders(apps: Sequence[OrganizationApp]) -> list[OrganizationApp]:
    """Return who may send what names no app: never the sandbox, unless there is nothing else."""
    return routing.usable(apps) or list(apps)


def _free(senders: Sequence[OrganizationApp]) -> str:
    if all(app.slug == SANDBOX for app in senders):
        return _("No credits: it is only simulated.")
    return _("No credits: it goes through an account of your own.")


def _price(organization: Organization, recipient: str) -> Decimal:
    number = phone.parse_mobile(recipient, region=organization.default_region)
    today = clock.now().date()
    return rates.tariffs([organization.pk], today=today)[organization.pk].price(number)


def _product(count: int, price: Decimal) -> str:
    told = ngettext(
        "%(count)s part × %(price)s = %(cost)s credits", "%(count)s parts × %(price)s = %(cost)s credits", count
    )
    return told % {"count": _figures(count), "price": _figures(price), "cost": _figures(count * price)}


def _figures(value: Any) -> str:
    """Return a number that reads left to right in any sentence: the page shows it as plain text."""
    return f"\u2066{in_figures(Decimal(value))}\u2069"
