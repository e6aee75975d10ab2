"""One row of a file at a time: the message that it makes, or everything that is wrong with it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit import phone
from linkit.encoding import Encoding
from linkit.errors import InvalidInput
from linkit.spreadsheet import FORMULA
from outbox.bulk.columns import Columns
from sms_providers import schedule
from sms_providers import text as sms_text
from sms_providers.adapters.base import ProviderAdapter
from sms_providers.fields import MAX_SENDER

# What spreadsheets leave around a number that is to stay text: ="0501234567" and '0501234567.
_QUOTED = re.compile(r'\s*(?:="([^"]*)"|\'(.*))\s*', re.DOTALL)
_FLOAT = re.compile(r"\s*(\+?\d+)\.0+\s*")
ERRORS_COLUMN = "reason"  # the last one of errors.csv
_LONGEST_TYPED, _LONGEST_VALUE = 64, 200  # characters, as long as their columns: a cell may have thousands
_CACHED = 512  # texts, moments and sender IDs: files repeat them
LONG_SENDER = noop("A sender ID has at most %(most)s characters.")
OTHER_SENDER = noop("The app takes another kind of sender ID: %(help)s")


class ValidRow(NamedTuple):
    """A row that can be sent. `due_at` is None for now; `repairs` says how the number was mended, if it was."""

    number: int
    recipient: str  # E.164
    typed: str
    text: str
    encoding: Encoding
    segment_count: int
    sender_id: str
    due_at: datetime | None
    repairs: tuple[str, ...]


@dataclass(frozen=True)
class RowError:
    """One thing that is wrong with one row. `column` is ours, empty when it is the row itself."""

    row: int
    column: str
    mobile: str
    value: str
    reason: str
    message: str


class RowChecker:
    """Checks the rows of one file by the rules of the other doors, with the number mended where that is safe.

    `now` is the moment of the upload, so that a file that is read twice gives the same rows. In an errors file, which
    we have written, cells are taken as they were before.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        region: str,
        time_zone: str,
        now: datetime,
        adapter: type[ProviderAdapter] | ProviderAdapter,
        is_errors_file: bool = False,
    ) -> None:
        self.columns = columns
        self._is_errors_file = is_errors_file
        self.region = region
        plan = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
        self._prefix = plan.national_prefix if plan else None
        self._measure = lru_cache(_CACHED)(sms_text.measure)
        self._moment = lru_cache(_CACHED)(
            lambda typed: schedule.resolve(schedule.parse(typed, time_zone=time_zone), now=now)
        )
        rule = adapter.sender_rule()
        self._sender_pattern = re.compile(rule.pattern) if rule else None
        self._sender_help = rule.pattern_help if rule else ""
        self._check_sender = lru_cache(_CACHED)(self._sender_problem)

    def check(self, number: int, cells: Sequence[str], fault: str = "") -> ValidRow | list[RowError]:
        """Return the message that a row makes, or all its errors. `fault` is the reader's word on the row itself."""
        columns = self.columns
        if self._is_errors_file:
            cells = [cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA else cell for cell in cells]
        typed, text = cells[columns.mobile], cells[columns.message]
        sender = cells[columns.sender].strip() if columns.sender is not None else ""
        moment = cells[columns.datetime].strip() if columns.datetime is not None else ""
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        errors: list[RowError] = []

        def wrong(column: str, value: str, message: str, *, reason: str) -> None:
            errors.append(RowError(number, column, typed[:_LONGEST_TYPED], value[:_LONGEST_VALUE], reason, message))

        if fault:
            wrong("", "", fault, reason="malformed_row")
        recipient, due_at = "", None
        repairs: tuple[str, ...] = ()
        try:
            recipient = phone.parse_mobile(typed, region=self.region)
            if recipient[1:] != typed and recipient != typed:
                repairs = self._repairs(typed)
        except phone.InvalidNumber as refusal:
            recipient, repairs, message = self._mend(typed, refusal)
            if message:
                wrong("mobile", typed, message, reason=refusal.reason)
        try:
            measured = self._measure(text)
            if "\x00" in text:
                raise sms_text.InvalidText(_("The message holds a NUL character."))
        except sms_text.InvalidText as refusal:
            wrong("message", text, refusal.message, reason=refusal.reason)
        if sender and (message := self._check_sender(sender)):
            wrong("sender", sender, message, reason="invalid_sender")
        if moment:
            try:
                due_at = self._moment(moment)
            except InvalidInput as refusal:
                wrong("datetime", moment, refusal.message.removeprefix("datetime: "), reason=refusal.reason)
        if errors:
            return errors
        return ValidRow(
            number, recipient, typed[:_LONGEST_TYPED], text, measured.encoding, measured.count, sender, due_at, repairs
        )

    def _mend(self, typed: str, refusal: phone.InvalidNumber) -> tuple[str, tuple[str, ...], str]:
        """Return a number that a spreadsheet has dressed up, and what was taken off; else why it is refused."""
        for pattern, repair in ((_QUOTED, "spreadsheet_quotes"), (_FLOAT, "decimal_point")):
            if found := pattern.fullmatch(typed):
                inner = next(group for group in found.groups() if group is not None)
                try:
                    recipient = phone.parse_mobile(inner, region=self.region)
                except phone.InvalidNumber as inner_refusal:
                    return "", (), inner_refusal.message
                return recipient, (repair, *self._repairs(inner)), ""
        return "", (), refusal.message

    def _repairs(self, typed: str) -> tuple[str, ...]:
        """Return how this number differs from one that is written in a usual way."""
        if typed[:1] == "0" and typed[1:2] != "0" and typed.isascii() and typed.isdigit():
            return ()
        found = []
        if not typed.isascii():
            if any(character.isdecimal() and not character.isascii() for character in typed):
                found.append("other_digits")
            if any(unicodedata.category(character) == "Cf" for character in typed):
                found.append("hidden_marks")
        digits = "".join(str(unicodedata.digit(each)) for each in typed if each.isdecimal())
        if any(
            not character.isalnum() and character != "+" and unicodedata.category(character) != "Cf"
            for character in typed
        ):
            found.append("spaces_or_punctuation")
        is_international = "+" in typed or "\uff0b" in typed
        if digits.startswith("00") and not is_international:
            found.append("leading_00")
        elif self._prefix == "0" and not digits.startswith("0") and not is_international and self._is_national(digits):
            found.append("lost_zero")
        return tuple(found)

    def _is_national(self, digits: str) -> bool:
        code = str(phonenumbers.country_code_for_region(self.region))
        recipient = phone.parse_mobile(digits, region=self.region)
        return recipient == f"+{code}{digits}"

    def _sender_problem(self, sender: str) -> str:
        if len(sender) > MAX_SENDER:
            return _(LONG_SENDER) % {"most": MAX_SENDER}
        if not sender.isprintable():
            return _("The sender ID holds a line break or another hidden character.")
        if self._sender_pattern and not self._sender_pattern.fullmatch(sender):
            return _(OTHER_SENDER) % {"help": _(self._sender_help)}
        return ""
