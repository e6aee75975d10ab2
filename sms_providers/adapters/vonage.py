"""Vonage (formerly Nexmo), SMS API (developer.vonage.com, the OpenAPI documents in Nexmo/api-specification and the
official Python client, read 2026-01).

HTTP 200 does not mean accepted: the answer has an entry for each part of the text, and the entries' `status` is the
outcome. With some "0" and some not, a part of the text may be on its way to the handset. Without `type=unicode` Vonage
drops whatever GSM-7 lacks.

Vonage has a second API, Messages. Which of the two an account's webhooks speak is one setting of the account, so an app
has to stay with one. This is the one that needs no key pair, and says parts and price.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, Sms, Unicode
from sms_providers.adapters.credentials import KEY, KEY_HELP, CredentialField, secret_key
from sms_providers.adapters.wire import (
    as_code,
    as_count,
    as_decimal,
    as_its_body_says,
    as_list,
    as_object,
    bare_sender,
    basic,
    words,
)
from sms_providers.results import (
    REJECTED,
    UNAVAILABLE,
    UNKNOWN,
    ErrorTable,
    Fault,
    Meaning,
    Result,
    TextTable,
    accepted,
)
from sms_providers.transport import MAX_RETRY_AFTER, Budget, Reply

ACCEPTED = "0"
CURRENCY = "EUR"  # of every price and balance, whatever the account is billed in
PAGE_SIZE = 100  # the most that Vonage takes

# The statuses of a part. Of 13, 16, 19, 20 and 34 nobody says what they are: they are refusals as any other number.
ERRORS: ErrorTable = {
    "1": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled"),
    "2": Meaning(REJECTED, Fault.OTHER, "invalid_request", "A parameter is missing."),
    "3": Meaning(REJECTED, Fault.OTHER, "invalid_request", "A parameter is not valid."),
    "4": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "5": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
    "6": Meaning(
        REJECTED, Fault.RECIPIENT, "invalid_recipient", "The number cannot be processed; often its prefix is unknown."
    ),
    "7": Meaning(REJECTED, Fault.RECIPIENT, "recipient_blocked", "The number is on Vonage's list of barred numbers."),
    "8": Meaning(REJECTED, Fault.AUTH, "account_suspended"),
    "9": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "10": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "The account has too many connections at once."),
    "11": Meaning(REJECTED, Fault.AUTH, "access_denied", "Sending over HTTP is off for this Vonage account."),
    "12": Meaning(REJECTED, Fault.CONTENT, "text_too_long"),
    "14": Meaning(
        REJECTED, Fault.AUTH, "bad_credentials", "The signature is wrong: check signature secret and signature method."
    ),
    "15": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "22": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "The network code is not valid for the number."),
    "23": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The address for delivery reports is not valid."),
    "29": Meaning(REJECTED, Fault.RECIPIENT, "recipient_not_verified"),
    "32": Meaning(REJECTED, Fault.AUTH, "bad_credentials", "A signature and the API secret came in one request."),
    "33": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "The number is deactivated."),
}

# Which parameter the text of a status 2 or 3 names. `to` comes last, since it is a plain English word as well.
PARAMETERS: Mapping[str, TextTable] = {
    "2": (
        (words("from"), Meaning(REJECTED, Fault.SENDER, "sender_missing")),
        (words("text"), Meaning(REJECTED, Fault.CONTENT, "empty_text")),
        (words("to"), Meaning(REJECTED, Fault.RECIPIENT, "recipient_missing")),
    ),
    "3": (
        (words("from"), Meaning(REJECTED, Fault.SENDER, "sender_not_accepted")),
        (words("text"), Meaning(REJECTED, Fault.CONTENT, "content_refused")),
        (words("to"), Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient")),
    ),
}

PLAIN_HASH = "md5hash"
HMACS = ("md5", "sha1", "sha256", "sha512")

# Stricter than what a handset shows: 15 digits, and no space in a name.
_SENDER = r"\+?[0-9]{3,15}|[!-~]{1,11}"
_SENDER_HELP = noop("a number of at most 15 digits, or at most 11 Latin letters, digits and signs without a space.")

_WAIT = re.compile(r"\[\s*([0-9]{1,9})\s*\]")  # milliseconds, in the text of a throttled part


class VonageSms(ProviderAdapter):
    slug: ClassVar[str] = "vonage-sms"
    name: ClassVar[str] = "Vonage"
    origin: ClassVar[str] = "https://rest.nexmo.com"
    capabilities: ClassVar[Capabilities] = Capabilities(
        balance=True, sender_names=True, reference=True, unicode=Unicode.FLAG
    )
    errors: ClassVar[ErrorTable] = ERRORS
    sender_field: ClassVar[str] = "from"
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        CredentialField(
            "api_key",
            noop("API key"),
            help=noop("8 characters, on the first page of the Vonage dashboard."),
            pattern=KEY,
            pattern_help=KEY_HELP,
            example="abcd1234",
        ),
        secret_key(
            "api_secret",
            noop("API secret"),
            help=noop("Made in the Vonage dashboard, under API settings."),
            example="abcdef0123456789",
        ),
        CredentialField(
            "from",
            noop("From"),
            is_required=False,
            help=noop("A number such as 447700900000 or a name, for messages that name no sender."),
            pattern=_SENDER,
            pattern_help=_SENDER_HELP,
            example="AcmeInc",
        ),
        secret_key(
            "signature_secret",
            noop("Signature secret"),
            is_required=False,
            help=noop("To sign what is sent, instead of sending the API secret along."),
        ),
        CredentialField(
            "signature_method",
            noop("Signature method"),
            is_required=False,
            help=noop("As in the account's settings; md5hash unless it was changed there."),
            pattern="|".join((PLAIN_HASH, *HMACS)),
            pattern_help=noop("one of md5hash, md5, sha1, sha256, sha512."),
        ),
    )

    @classmethod
    def check_credentials(cls, credentials: Mapping[str, str]) -> dict[str, list[str]]:
        if credentials.get("signature_method") and not credentials.get("signature_secret"):
            return {"signature_method": [_("A signature method needs a signature secret.")]}
        return {}

    def build_send(self, sms: Sms) -> requests.Request:
        form = {
            "api_key": self.config["api_key"],
            "from": bare_sender(self.sender_for(sms)),
            "to": msisdn(sms.recipient),
            "text": sms.text,
        }
        if sms.is_ucs2:
            form["type"] = "unicode"
        if sms.reference:
            form["client-ref"] = sms.reference
        # Never both: Vonage refuses a signed request that brings the API secret along.
        if secret := self.config.get("signature_secret"):
            form["timestamp"] = str(int(time.time()))
            form["sig"] = signature(form, secret, self.config.get("signature_method") or PLAIN_HASH)
        else:
            form["api_secret"] = self.config["api_secret"]
        return requests.Request("POST", self.url("/sms/json"), data=form)

    def read_send(self, reply: Reply) -> Result:
        parts = _parts(reply)
        taken = [part for status, part in parts if status == ACCEPTED]
        refused = [(status, part) for status, part in parts if status not in ("", ACCEPTED)]
        if not reply.is_success or not taken or len(taken) + len(refused) < len(parts):
            return self.read_refusal(reply)
        # Every part has an id of its own; the first stands for the message.
        message_id = next(filter(None, (as_code(part.get("message-id")) for part in taken)), "")
        if refused:
            no = self._why(*refused[0], reply)
            return self.contradictory(message_id, fault=no.fault or Fault.OTHER, code=no.code)
        cost = _total(taken)
        return accepted(
            message_id,
            cost=cost,
            currency=CURRENCY if cost is not None else "",
            segment_count=as_count(len(parts)),
        )

    def read_refusal(self, reply: Reply) -> Result:
        parts = _parts(reply)
        statuses = {status for status, _ in parts}
        if reply.status in (401, 429) or reply.is_fault:
            return self._by_envelope(reply)
        if ACCEPTED in statuses:  # beside a status that nobody can read, or under an HTTP status that contradicts it
            return self.unreadable(reply)
        if not statuses or "" in statuses:
            return self._by_envelope(reply)
        # The first says why, unless there is one that may have left all the same.
        results = [self._why(status, part, reply) for status, part in parts]
        return next((result for result in results if result.outcome == UNKNOWN), results[0])

    def fetch_balance(self, budget: Budget) -> Balance:
        reply = self.ask(self._question("/account/get-balance"), budget)
        amount = as_decimal(reply.object.get("value"))
        if not reply.is_success or amount is None:
            raise self.refuse(reply)
        return Balance(amount, currency=CURRENCY)

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        def page(number: int) -> requests.Request:
            return self._question("/account/numbers", size=PAGE_SIZE, index=number + 1)

        # Names are not registered with Vonage: only the account's numbers can be listed.
        return [name for name in map(_usable_number, self.paged(page, _numbers, budget, size=PAGE_SIZE)) if name]

    def _why(self, status: str, part: dict[str, Any], reply: Reply) -> Result:
        """Say why Vonage did not take a part."""
        said = as_code(part.get("error-text"))
        about = self.by_text(said, PARAMETERS.get(status, ()), code=status)
        result = about or self.by_code(status, reply, said=said)
        message_id = as_code(part.get("message-id"))
        if message_id and (status not in ERRORS or result.outcome == UNAVAILABLE):  # beside an id it is no clear no
            return self.contradictory(message_id, code=status)
        return replace(result, retry_after=_wait(said)) if result.outcome == UNAVAILABLE else result

    def _by_envelope(self, reply: Reply) -> Result:
        """Say what an answer without parts means: `error-code`, which repeats the HTTP status, or that status alone."""
        reply = as_its_body_says(reply, "error-code")
        code = as_code(reply.object.get("error-code"))
        if not code or reply.status < 400:
            return self.by_status(reply)
        # The codes of the table are statuses of parts.
        return self.by_code(code, reply, said=reply.object.get("error-code-label"), table={})

    def _question(self, path: str, **params: int) -> requests.Request:
        # Key and secret could go in the query too, but then they would be in every log of URLs.
        auth = basic(self.config["api_key"], self.config["api_secret"])
        return requests.Request("GET", self.url(path), params=params, auth=auth)


def signature(fields: Mapping[str, str], secret: str, method: str) -> str:
    """Return the `sig` of a request or a webhook. With `md5hash` it is a plain hash, no HMAC."""
    # The separators inside a value are replaced for the signature alone: on the wire it stays as it is.
    pairs = sorted((name, re.sub("[&=]", "_", value)) for name, value in fields.items() if name != "sig")
    text = "".join(f"&{name}={value}" for name, value in pairs)
    if method == PLAIN_HASH:
        return hashlib.md5(f"{text}{secret}".encode()).hexdigest()
    return hmac.new(secret.encode(), text.encode(), method).hexdigest()


def _parts(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    """Return the status and the fields of every part; the status is empty where it is no number."""
    parts = [as_object(entry) for entry in as_list(reply.object.get("messages"))]
    return [(_status(part), part) for part in parts]


def _status(part: dict[str, Any]) -> str:
    text = as_code(part.get("status"))
    return str(int(text)) if re.fullmatch("[0-9]{1,6}", text) else ""


def _total(parts: list[dict[str, Any]]) -> Decimal | None:
    """Return the sum of all prices, or None where one is missing: a part of the cost is not the cost."""
    prices = [as_decimal(part.get("message-price")) for part in parts]
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) if len(known) == len(prices) else None


def _wait(said: str) -> timedelta | None:
    """Return how long a throttled call shall wait, if the text says so and it makes sense."""
    match = _WAIT.search(said)
    wait = timedelta(milliseconds=int(match[1])) if match else timedelta(0)
    return wait if timedelta(0) < wait <= MAX_RETRY_AFTER else None


def _numbers(reply: Reply) -> list[Any] | None:
    """Return the numbers of one page. An account without any gets an empty object."""
    if reply.json == {}:
        return []
    numbers = reply.object.get("numbers")
    return numbers if isinstance(numbers, list) else None


def _usable_number(item: Any) -> str:
    """Return the number of one item that can send SMS, else nothing."""
    number = as_object(item)
    return as_code(number.get("msisdn")) if "SMS" in as_list(number.get("features")) else ""
