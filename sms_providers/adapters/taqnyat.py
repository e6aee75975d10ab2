"""Taqnyat SMS, API v1 (dev.taqnyat.sa and the official PHP and Python clients, read 2026-01).

Success is HTTP 201. `accepted` and `rejected` look like arrays but are strings. There are no codes for SMS: the HTTP
status and a short English text are all that says why, so texts are matched by word.

A scheduled time has minutes and no offset; it is Saudi time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import requests
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, Sms
from sms_providers.adapters.credentials import CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_count, as_decimal, as_its_body_says, bare_sender, round_up, words
from sms_providers.results import REJECTED, ErrorTable, Fault, Meaning, Result, TextTable, accepted, rejected
from sms_providers.transport import Budget, Reply

SAUDI_TIME = ZoneInfo("Asia/Riyadh")

# What a refusal's text is about, in the order in which it counts. Whole words, since "ip" is also in "recipient".
TEXTS: TextTable = (
    (words("balance|credits?"), Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance")),
    (words("senders?|sendername"), Meaning(REJECTED, Fault.SENDER, "sender_not_registered")),
    (words("recipients?|mobiles?|numbers?"), Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient")),
    (words("ips?|country|account"), Meaning(REJECTED, Fault.AUTH, "account_restricted")),
    (words("body|messages?|length"), Meaning(REJECTED, Fault.CONTENT, "content_refused")),
)

# The published codes belong to the e-mail product, and have been seen in SMS answers once.
ERRORS: ErrorTable = {
    "2": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "3": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "14": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "15": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "16": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "17": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "101": Meaning(REJECTED, Fault.AUTH, "access_denied", "Sending by API is off for this Taqnyat account."),
    "102": Meaning(
        REJECTED, Fault.AUTH, "access_denied", "The Taqnyat account does not allow calls from this server's address."
    ),
    "104": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
}

_BAD_KEY = re.compile(r"invalid\b.*\b(api[ _-]?key|token)|\b(api[ _-]?key|token)\b.*\binvalid", re.IGNORECASE)


class TaqnyatSms(ProviderAdapter):
    slug: ClassVar[str] = "taqnyat-sms"
    name: ClassVar[str] = "Taqnyat"
    origin: ClassVar[str] = "https://api.taqnyat.sa"
    capabilities: ClassVar[Capabilities] = Capabilities(
        balance=True, sender_names=True, scheduling=True, reference=True
    )
    errors: ClassVar[ErrorTable] = ERRORS
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        secret_key(
            "bearer_token",
            noop("Bearer token"),
            help=noop("Made in the Taqnyat portal for the SMS service; a WhatsApp token does not work."),
            example="test-token",
        ),
        CredentialField(
            "sender",
            noop("Sender name"),
            is_required=False,
            help=noop("For messages that name none. For advertising, the name that ends in -AD."),
            example="MyBrand",
        ),
    )

    def can_schedule(self, send_at: datetime, *, now: datetime) -> bool:
        return True

    def build_send(self, sms: Sms) -> requests.Request:
        body: dict[str, Any] = {
            "recipients": [msisdn(sms.recipient)],
            "body": sms.text,
            "sender": bare_sender(self.sender_for(sms)),
        }
        if sms.reference:
            body["smsId"] = sms.reference
        if sms.send_at is not None:
            body["scheduledDatetime"] = saudi_minute(sms.send_at)
            if sms.reference:
                body["deleteId"] = sms.reference  # by which an operator can have Taqnyat cancel it
        return requests.Request("POST", self.url("/v1/messages"), json=body, headers=self._headers())

    def read_send(self, reply: Reply) -> Result:
        body = reply.object
        message_id = as_code(body.get("messageId"))
        if not reply.is_success or not message_id:
            return self.read_refusal(reply)
        taken, refused = numbers(body.get("accepted")), numbers(body.get("rejected"))
        if (refused and taken) or not _is_yes(reply):
            return self.contradictory(message_id)
        if refused:
            return rejected(Fault.RECIPIENT, "Taqnyat does not accept the number.", provider_message_id=message_id)
        cost = as_decimal(body.get("cost"))
        return accepted(
            message_id,
            cost=cost,
            currency=as_code(body.get("currency")) if cost is not None else "",
            segment_count=as_count(body.get("msgLength")),
        )

    def read_refusal(self, reply: Reply) -> Result:
        reply = as_its_body_says(reply, "statusCode")
        code, said = _code_and_text(reply)
        if reply.status in (401, 405, 429) or reply.is_fault:
            return self.by_status(reply)
        if reply.is_success and not _has_failed(reply):
            return self.unreadable(reply)
        if code in ERRORS:
            return self.by_code(code, reply)
        if reply.status not in (400, 403) and not _has_failed(reply):
            return self.by_status(reply)
        about = self.by_text(said, TEXTS)
        result = about or self.refused(f"HTTP {reply.status}", said, reason="invalid_request")
        if reply.status == 403 and not (result.fault and result.fault.is_about_the_account):
            return self.by_status(reply)
        return result

    def fetch_balance(self, budget: Budget) -> Balance:
        reply = self._question("/account/balance", budget)
        body = reply.object
        amount = as_decimal(body.get("balance"))
        if not body and reply.status < 429 and _BAD_KEY.search(reply.text[:200]):
            raise self.refuse(reply, rejected(Fault.AUTH, "Taqnyat does not accept the token."))
        if not _is_yes(reply) or amount is None:
            raise self.refuse(reply)
        status = as_code(body.get("accountStatus"))
        note = ""
        if status.lower() not in ("", "active"):
            note = _("Taqnyat says that the account is %(status)s.") % {"status": status}
        return Balance(amount, currency=as_code(body.get("currency")), note=note)

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        reply = self._question("/v1/messages/senders", budget)
        senders = reply.object.get("senders")
        if not _is_yes(reply) or not isinstance(senders, list):
            raise self.refuse(reply)
        return [name for name in map(_usable_sender, senders) if name]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.config['bearer_token']}"}

    def _question(self, path: str, budget: Budget) -> Reply:
        return self.ask(requests.Request("GET", self.url(path), headers=self._headers()), budget)


def saudi_minute(moment: datetime) -> str:
    """Return `moment` as Taqnyat takes it, rounded up to the minute: a message may be late, never early."""
    return round_up(moment, timedelta(minutes=1)).astimezone(SAUDI_TIME).strftime("%Y-%m-%dT%H:%M")


def numbers(value: Any) -> list[str]:
    """Return the numbers of `accepted` or `rejected`: a real array, or one in a string such as `[9665,]`."""
    items = value if isinstance(value, list) else as_code(value).strip("[]").split(",")
    texts = [str(item).strip(" \t\r\n\"'") for item in items]
    return [text for text in texts if re.fullmatch(r"\+?[0-9]{5,}", text)]  # a 0 or a null is none


def _has_failed(reply: Reply) -> bool:
    """Whether it is the failure envelope, which may come with HTTP 200."""
    return as_code(reply.object.get("ResponseStatus")).lower() == "fail"


def _is_yes(reply: Reply) -> bool:
    return as_its_body_says(reply, "statusCode").is_success and not _has_failed(reply)


def _code_and_text(reply: Reply) -> tuple[str, str]:
    """Return the code, if there is one, and the text of a refusal."""
    body = reply.object
    error = body.get("Error")
    if not isinstance(error, dict):
        error = {"MessageEn": error}
    code = as_code(body.get("code")) or as_code(error.get("Code"))
    return code, as_code(body.get("message")) or as_code(error.get("MessageEn"))


def _usable_sender(item: Any) -> str:
    """Return the name of one item that may be sent with, else nothing. A plain string has no status to look at."""
    if isinstance(item, dict):
        if as_code(item.get("status")).lower() not in ("", "active"):
            return ""
        item = next((item[key] for key in ("senderName", "name", "sender") if item.get(key)), "")
    return item.strip() if isinstance(item, str) else ""
