"""Infobip SMS, API v3 (infobip.com/docs and the published OpenAPI document 3.210.0, read 2026-07).

HTTP 200 says only that the request was read: whether the message was taken is in the status of its own entry, by
group. What is wrong with the request itself comes with an HTTP status, in a newer or an older shape.

A `messageId` of ours is refused when it comes a second time. That guards against sending twice, and says no more than
that the first one arrived: what became of it nobody can tell from this answer. The logs of the last 48 hours can, for a
key with the scope sms:logs:read.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, NotOffered, ProviderAdapter, Sms
from sms_providers.adapters.credentials import SENDER_ID, SENDER_ID_HELP, CredentialField, secret_key
from sms_providers.adapters.wire import (
    as_code,
    as_count,
    as_decimal,
    as_list,
    as_object,
    as_objects,
    bare_sender,
    round_up,
)
from sms_providers.results import (
    REJECTED,
    UNAVAILABLE,
    UNKNOWN,
    ErrorTable,
    Fault,
    Meaning,
    Outcome,
    Result,
    accepted,
    rejected,
)
from sms_providers.transport import Budget, Reply

LATEST = timedelta(days=180)
PAGE = 50  # numbers a page

# Status groups: accepted, pending, delivered; and undeliverable, expired, rejected.
TAKEN, FAILED = {"0", "1", "3"}, {"2", "4", "5"}
EXPIRED = "4"

_NO_REPORT = Meaning(UNKNOWN, Fault.OTHER, "no_carrier_report")

# What a status of a failed group says about the message, by `status.id`.
STATUSES: ErrorTable = {
    "4": Meaning(REJECTED, Fault.RECIPIENT, "recipient_unreachable", "The carrier refused the message."),
    "9": Meaning(REJECTED, Fault.RECIPIENT, "recipient_unreachable"),
    "31": Meaning(
        UNAVAILABLE, Fault.PROVIDER_DOWN, "provider_unavailable", "By its own account the message was not sent."
    ),
    "15": Meaning(
        REJECTED, Fault.RECIPIENT, "recipient_unreachable", "The handset was not reached while the message was valid."
    ),
    "29": _NO_REPORT,
    "6": Meaning(REJECTED, Fault.RECIPIENT, "no_route", "The network is not covered, or not allowed to this account."),
    "8": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "Infobip does not know the number's prefix."),
    "10": Meaning(REJECTED, Fault.RECIPIENT, "recipient_opted_out", "The number is on a do-not-disturb list."),
    "11": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "12": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "13": Meaning(REJECTED, Fault.SENDER, "sender_blocked"),
    "14": Meaning(REJECTED, Fault.RECIPIENT, "recipient_blocked", "The number is on a blocklist at Infobip."),
    "17": Meaning(REJECTED, Fault.BALANCE, "package_expired"),
    "18": Meaning(REJECTED, Fault.RECIPIENT, "recipient_not_verified"),
    "19": Meaning(REJECTED, Fault.RECIPIENT, "no_route"),
    # At first 20 different texts or 6 equal ones to one number in an hour.
    "20": Meaning(UNAVAILABLE, Fault.THROTTLED, "recipient_limit_reached", retry_after=timedelta(hours=1)),
    # In its own words it has rejected the request, which may be made again. The same promise as that of 31.
    "21": Meaning(
        UNAVAILABLE, Fault.PROVIDER_DOWN, "provider_unavailable", "The request was refused for an internal fault."
    ),
    "23": Meaning(UNKNOWN, Fault.OTHER, "already_submitted"),
    "24": Meaning(REJECTED, Fault.CONTENT, "content_refused", "The message's header is not valid."),
    "25": Meaning(REJECTED, Fault.CONTENT, "text_too_long", "It has more than 25 parts or 4000 bytes."),
    "51": Meaning(REJECTED, Fault.RECIPIENT, "recipient_missing"),
    "52": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "87": Meaning(REJECTED, Fault.RECIPIENT, "recipient_blocked", "A protection against fraud blocks the message."),
    "100": Meaning(REJECTED, Fault.OTHER, "refused_by_provider", "Infobip's platform refused it without a cause."),
}

_BAD_REQUEST = Meaning(REJECTED, Fault.OTHER, "invalid_request")
_DENIED = Meaning(
    REJECTED, Fault.AUTH, "access_denied", "The key's scopes or addresses, or the account's features, do not allow it."
)

# What is wrong with the request: the codes of today, and the names that older calls and gateway layers still use.
ERRORS: ErrorTable = {
    "E400": _BAD_REQUEST,
    "BAD_REQUEST": _BAD_REQUEST,
    "E401": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "UNAUTHORIZED": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "E403": _DENIED,
    "FORBIDDEN": _DENIED,
    "E404": Meaning(REJECTED, Fault.OTHER, "account_not_found"),
    "NOT_FOUND": Meaning(REJECTED, Fault.OTHER, "account_not_found"),
    "E429": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled"),
    "TOO_MANY_REQUESTS": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled"),
    "E500": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
    "GENERAL_ERROR": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
}

# What a bad request is about, by a name in the path of the property that breaks a rule. The first that fits counts.
VIOLATIONS: ErrorTable = {
    "destinations": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "sender": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted"),
    "content": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "schedule": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
}


class InfobipSms(ProviderAdapter):
    slug: ClassVar[str] = "infobip-sms"
    name: ClassVar[str] = "Infobip"
    origin: ClassVar[str] = "https://api.infobip.com"
    capabilities: ClassVar[Capabilities] = Capabilities(
        balance=True, sender_names=True, scheduling=True, reference=True, look_up=True
    )
    errors: ClassVar[ErrorTable] = ERRORS
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        CredentialField(
            "base_url",
            noop("Base URL"),
            help=noop("The account's own, shown in the Infobip portal next to the API key."),
            # Hosts of Infobip's API only: the key goes wherever this points. In ASCII, since without regard to case
            # an "i" would also be a dotless one, which is another domain.
            pattern=r"(?ai:(https://)?([a-z0-9-]{1,63}\.){0,2}api[a-z0-9-]{0,20}\.infobip\.com/?)",
            pattern_help=noop("a host of Infobip's, such as https://xxxxx.api.infobip.com."),
            example="https://xxxxx.api.infobip.com",
        ),
        secret_key(
            "api_key",
            noop("API key"),
            help=noop(
                "Made in the Infobip portal with a scope for SMS, account-management:manage for the balance, and"
                " sms:logs:read to look up unknown outcomes."
            ),
            example="test-key",
        ),
        CredentialField(
            "sender",
            noop("Sender"),
            is_required=False,
            help=noop("A number or a name, for messages that name none. A trial account sends as InfoSMS only."),
            pattern=SENDER_ID,
            pattern_help=SENDER_ID_HELP,
            example="MyBrand",
        ),
    )

    @classmethod
    def error_tables(cls) -> dict[str, ErrorTable]:
        return {"Status of the message": STATUSES, "Error code": ERRORS}

    def host(self) -> str:
        return "https://" + self.config["base_url"].lower().removeprefix("https://").removesuffix("/")

    def can_schedule(self, send_at: datetime, *, now: datetime) -> bool:
        return timedelta(0) < send_at - now <= LATEST

    def reference_for(self, sms: Sms) -> str:
        """Return our own id, with the number of the try after a certain non-send.

        Infobip takes an id once, and may count one whose message it has refused.
        """
        return sms.reference_of_try

    def build_send(self, sms: Sms) -> requests.Request:
        destination = {"to": msisdn(sms.recipient)}
        if sms.reference:
            destination["messageId"] = self.reference_for(sms)
        options: dict[str, Any] = {"includeSmsCountInResponse": True}
        if sms.send_at is not None:
            options["schedule"] = {"sendAt": utc_millisecond(sms.send_at)}
            if sms.reference:
                # By which an operator can have Infobip cancel it.
                options["schedule"]["bulkId"] = self.reference_for(sms)
        message = {
            "sender": bare_sender(self.sender_for(sms)),
            "destinations": [destination],
            "content": {"text": sms.text},
        }
        return self._request("POST", "/sms/3/messages", json={"messages": [message], "options": options})

    def read_send(self, reply: Reply) -> Result:
        entries = as_objects(reply.object.get("messages"))
        if not reply.is_success or not entries:
            return self.read_refusal(reply)
        first, *others = [self._read_entry(entry, reply) for entry in entries]
        if any(other.outcome != first.outcome for other in others):
            return self.contradictory(first.provider_message_id)
        return first

    def read_refusal(self, reply: Reply) -> Result:
        code, said = _code_and_text(reply)
        if reply.status == 400 and ERRORS.get(code, _BAD_REQUEST) == _BAD_REQUEST:
            about = self._by_violations(reply, code)
            if about is not None:
                return about
        return self.by_code(code, reply, said=said) if code else self.by_status(reply)

    def ask(self, request: requests.Request, budget: Budget) -> Reply:
        reply = super().ask(request, budget)
        if reply.status == 403:
            # Each question needs a scope of its own, and so does sending.
            message = "This key may not ask that: its scopes, its addresses or the account do not allow it."
            raise NotOffered(self.refuse(reply, rejected(Fault.AUTH, message, reason="access_denied")).result)
        return reply

    def fetch_balance(self, budget: Budget) -> Balance:
        reply = self.ask(self._request("GET", "/account/1/balance"), budget)
        amount = as_decimal(reply.object.get("balance"))
        if not reply.is_success or amount is None:
            raise self.refuse(reply)
        return Balance(amount, currency=as_code(reply.object.get("currency")))

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        def request(page: int) -> requests.Request:
            return self._request("GET", "/numbers/1/numbers", params={"limit": PAGE, "page": page})

        def read(reply: Reply) -> list[Any] | None:
            numbers = reply.object.get("numbers")
            return numbers if isinstance(numbers, list) else None

        numbers = self.paged(request, read, budget, size=PAGE)
        return [name for name in map(_usable_number, numbers) if name]

    def fetch_outcome(self, sms: Sms, budget: Budget) -> Result | None:
        reference, number = self.reference_for(sms), msisdn(sms.recipient)
        reply = self.ask(self._request("GET", "/sms/3/logs", params={"messageId": reference}), budget)
        entries = reply.object.get("results")
        if not reply.is_success or not isinstance(entries, list):
            raise self.refuse(reply)
        # Ours alone, whatever else is listed.
        ours = [
            entry
            for entry in as_objects(entries)
            if as_code(entry.get("messageId")) == reference
            and as_code(entry.get("destination") or entry.get("to")) in ("", number)
        ]
        return self.found([self._read_log(entry, reply) for entry in ours], reply)

    def _read_log(self, entry: dict[str, Any], reply: Reply) -> Result:
        """Say what one entry of the logs says: as in the answer to a send, with the price."""
        result = self._read_entry(entry, reply)
        if result.reason == _NO_REPORT.reason:  # Infobip had taken it all the same, which is what was not known
            result = accepted(result.provider_message_id)
        if result.outcome != Outcome.ACCEPTED:
            return result
        parts, price = as_count(entry.get("messageCount")), as_object(entry.get("price"))
        each = as_decimal(price.get("pricePerMessage"))
        if each is None or parts is None:
            return replace(result, segment_count=parts)
        return replace(result, segment_count=parts, cost=each * parts, currency=as_code(price.get("currency")))

    def _read_entry(self, entry: dict[str, Any], reply: Reply) -> Result:
        """Say what one entry of an answer says, by the group of its status."""
        status = as_object(entry.get("status"))
        group, code = as_code(status.get("groupId")), as_code(status.get("id"))
        message_id = as_code(entry.get("messageId"))
        if group in TAKEN:
            return accepted(message_id, segment_count=as_count(as_object(entry.get("details")).get("messageCount")))
        if group not in FAILED:
            return self.unreadable(reply)
        said = as_code(status.get("description")) or as_code(status.get("name"))
        if group == EXPIRED and code not in STATUSES:  # it was on its way for as long as it was valid
            return self.by_meaning(_NO_REPORT, code=code, provider_message_id=message_id)
        if not code:
            return self.refused(f"status group {group}", said, provider_message_id=message_id)
        return self.by_code(code, reply, said=said, table=STATUSES, provider_message_id=message_id)

    def _by_violations(self, reply: Reply, code: str) -> Result | None:
        """Say what a bad request is about; None when nothing is named, or nothing that we know."""
        violations = as_objects(reply.object.get("violations"))
        paths = [as_code(item.get("property")) for item in violations]
        names = {name.lower() for path in paths for name in re.findall("[A-Za-z]+", path)}
        said = "; ".join(
            f"{path} {as_code(item.get('violation'))}".strip() for path, item in zip(paths, violations, strict=True)
        )
        meaning = next((meaning for name, meaning in VIOLATIONS.items() if name in names), None)
        return self.by_meaning(meaning, said=said, code=code) if meaning else None

    def _request(self, method: str, path: str, **given: Any) -> requests.Request:
        headers = {"Authorization": f"App {self.config['api_key']}"}
        return requests.Request(method, self.url(path), headers=headers, **given)


def utc_millisecond(moment: datetime) -> str:
    """Return `moment` as Infobip takes it, rounded up to the millisecond: a message may be late, never early."""
    whole = round_up(moment, timedelta(milliseconds=1))
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{whole.microsecond // 1000:03d}+0000"


def _code_and_text(reply: Reply) -> tuple[str, str]:
    """Return the code, if there is one, and the text of a refusal, from the newer or the older shape."""
    body = reply.object
    code = as_code(body.get("errorCode"))
    if code:
        return code, as_code(body.get("description"))
    older = as_object(as_object(body.get("requestError")).get("serviceException"))
    return as_code(older.get("messageId")), as_code(older.get("text"))


def _usable_number(item: Any) -> str:
    """Return the number of one item that can send SMS, else nothing."""
    number = as_object(item)
    return as_code(number.get("number")) if "SMS" in as_list(number.get("capabilities")) else ""
