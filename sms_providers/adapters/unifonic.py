"""Unifonic SMS, the REST API at el.cloud.unifonic.com (its OpenAPI document and docs.unifonic.com, read 2026-08), and
its classic platform of 2014 to 2019 at api.unifonic.com (its description then and official clients, read 2026-08).

A refusal comes under HTTP 200 or under a status that means something else everywhere but here: 402 is a missing
AppSid, not a missing payment. `success` may be the text "false", and the two platforms number their codes so
differently that ER-04 is a short number on one and a bad sender on the other: the host says which list counts.

Unifonic can hold a message, but nobody documents in which time zone, and the answer has no id: we hold it ourselves.

What became of a message it tells by our `CorrelationID`, on the current platform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, NotOffered, ProviderAdapter, Sms
from sms_providers.adapters.credentials import SENDER_ID, SENDER_ID_HELP, CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_count, as_decimal, as_object, as_objects, bare_sender, basic, words
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
    rejected,
)
from sms_providers.transport import Budget, Reply

CLASSIC = "https://api.unifonic.com"
SUCCESS = "ER-00"
FAILED = ("rejected", "failed")  # the states of a message that is refused at once
# When it is looked up: those of one that Unifonic has, and of one that the carrier could not deliver.
TAKEN, UNDELIVERED = ("queued", "scheduled", "sent", "delivered"), ("undeliverable", "undelivered")

# HTTP statuses, which count before a code in the body unless they name no cause. Other faults from 500 on are as
# everywhere.
STATUSES: ErrorTable = {
    "400": Meaning(REJECTED, Fault.OTHER, "refused_by_provider"),
    "401": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "402": Meaning(REJECTED, Fault.AUTH, "bad_credentials", "Unifonic found no AppSid in the request."),
    "403": Meaning(
        REJECTED, Fault.AUTH, "access_denied", "The Unifonic account does not allow calls from this server's address."
    ),
    "404": Meaning(REJECTED, Fault.OTHER, "account_not_found", "There is no such address: check the app's base URL."),
    "406": Meaning(REJECTED, Fault.OTHER, "invalid_request"),
    "409": Meaning(REJECTED, Fault.CONTENT, "duplicate_message"),
    "410": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "412": Meaning(REJECTED, Fault.CONTENT, "text_too_long"),
    "415": Meaning(REJECTED, Fault.CONTENT, "content_refused", "Unifonic takes the text for wrong hexadecimal."),
    "417": Meaning(REJECTED, Fault.CONTENT, "content_refused", "Unifonic cannot read the text."),
    "419": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "420": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The page asked for is out of range."),
    "421": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "422": Meaning(REJECTED, Fault.RECIPIENT, "recipient_missing"),
    "423": Meaning(REJECTED, Fault.OTHER, "invalid_schedule", "Unifonic found no time in the request."),
    "429": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled"),
    "431": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The message id is empty."),
    "432": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The message id is not a number."),
    "440": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted"),
    "449": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "450": Meaning(REJECTED, Fault.RECIPIENT, "too_many_recipients"),
    "451": Meaning(REJECTED, Fault.OTHER, "invalid_schedule", "The time is not in the future."),
    "452": Meaning(REJECTED, Fault.OTHER, "invalid_request", "There is neither a message id nor a number."),
    "455": Meaning(REJECTED, Fault.OTHER, "invalid_request", "There is no such scheduled message."),
    "456": Meaning(REJECTED, Fault.OTHER, "invalid_request", "Unifonic does not accept our reference."),
    "459": Meaning(REJECTED, Fault.AUTH, "bad_credentials", "Unifonic cannot read the user name and password."),
    "460": Meaning(REJECTED, Fault.CONTENT, "content_refused", "Unifonic does not accept the text's encoding."),
    "480": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "481": Meaning(REJECTED, Fault.RECIPIENT, "no_route", "Unifonic does not know the number's country."),
    "482": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "483": Meaning(REJECTED, Fault.RECIPIENT, "no_route", "Unifonic does not know the number's operator."),
    "499": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down", "Unifonic is not configured well."),
    "546": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down", "Unifonic is not configured well."),
    "548": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down", "Unifonic is not configured well."),
    "599": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
}

# `errorCode` on el.cloud and basic.
ERRORS: ErrorTable = {
    "ER-01": Meaning(
        REJECTED,
        Fault.BALANCE,
        "insufficient_provider_balance",
        "The account has not enough balance, or no price for the number's country.",
    ),
    "ER-02": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "ER-03": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "The number is too long."),
    "ER-04": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "The number is too short."),
    "ER-05": Meaning(
        REJECTED, Fault.RECIPIENT, "no_route", "It is not in use, a landline, or its operator has a fault."
    ),
    "ER-06": Meaning(REJECTED, Fault.CONTENT, "empty_text", "The text is empty, or Unifonic cannot read it."),
    "ER-07": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "ER-08": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "ER-09": Meaning(REJECTED, Fault.CONTENT, "duplicate_message"),
    "ER-10": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
}

# `errorCode` on the classic platform.
CLASSIC_ERRORS: ErrorTable = {
    "ER-01": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "ER-02": Meaning(REJECTED, Fault.OTHER, "invalid_request", "A parameter is missing."),
    "ER-03": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The account has this sender name already."),
    "ER-04": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted"),
    "ER-05": Meaning(REJECTED, Fault.SENDER, "sender_blocked"),
    "ER-06": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "ER-08": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The sender name is not approved yet."),
    "ER-09": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "ER-10": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "ER-11": Meaning(REJECTED, Fault.RECIPIENT, "no_route"),
    "ER-12": Meaning(REJECTED, Fault.CONTENT, "text_too_long"),
    "ER-13": Meaning(REJECTED, Fault.OTHER, "account_not_found", "Unifonic knows no such service."),
    "ER-14": Meaning(REJECTED, Fault.SENDER, "sender_blocked", "The sender ID is blocked for this destination."),
    "ER-15": Meaning(REJECTED, Fault.AUTH, "account_suspended", "The Unifonic account is not active."),
    "ER-16": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled"),
    "ER-17": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "ER-18": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The message id is wrong."),
    "ER-19": Meaning(REJECTED, Fault.OTHER, "invalid_schedule", "Unifonic cannot read the date."),
    "ER-20": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The page asked for is out of range."),
    "ER-21": Meaning(REJECTED, Fault.OTHER, "account_not_found", "Unifonic knows no such method."),
    "ER-22": Meaning(REJECTED, Fault.OTHER, "account_not_found", "Unifonic knows no such method."),
    "ER-23": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "The account has asked for as many sender names as it may."
    ),
    "ER-24": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The state asked for is wrong."),
    "ER-25": Meaning(REJECTED, Fault.AUTH, "account_restricted", "The account's plan does not include this."),
    # Not a no to the text: it says that the text has gone.
    "ER-35": Meaning(UNKNOWN, Fault.OTHER, "already_submitted", "Unifonic says that it has sent this message already."),
    "ER-38": Meaning(REJECTED, Fault.OTHER, "refused_by_provider"),
    "ER-41": Meaning(REJECTED, Fault.RECIPIENT, "no_route", "Unifonic does not know the number's country."),
}

# What `message` is about, in the order in which it counts, for a refusal without a code.
TEXTS: TextTable = (
    (words("balance|funds?"), Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance")),
    (words(r"sender\w*"), Meaning(REJECTED, Fault.SENDER, "sender_not_accepted")),
    (words(r"dest\w*|recipients?|numbers?"), Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient")),
    (words("body|contents?"), Meaning(REJECTED, Fault.CONTENT, "content_refused")),
    (words(r"appsid|(un)?auth\w*"), Meaning(REJECTED, Fault.AUTH, "bad_credentials")),
)

_UNDELIVERED = Meaning(REJECTED, Fault.RECIPIENT, "recipient_unreachable", "The carrier did not deliver the message.")

_CODE = re.compile("(?:ER-?)?([0-9]{1,4})", re.IGNORECASE)


class UnifonicSms(ProviderAdapter):
    slug: ClassVar[str] = "unifonic-sms"
    name: ClassVar[str] = "Unifonic"
    origin: ClassVar[str] = "https://el.cloud.unifonic.com"
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, sender_names=True, reference=True, look_up=True)
    errors: ClassVar[ErrorTable] = ERRORS
    sender_field: ClassVar[str] = "sender_id"
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        secret_key(
            "app_sid",
            noop("AppSid"),
            help=noop("The application's id, from the Unifonic console."),
            example="test-app-sid",
        ),
        CredentialField(
            "sender_id",
            noop("Sender ID"),
            is_required=False,
            help=noop("For messages that name none. For advertising in Saudi Arabia, the name that ends in -AD."),
            pattern=SENDER_ID,
            pattern_help=SENDER_ID_HELP,
            example="MyBrand",
        ),
        CredentialField(
            "username",
            noop("User name"),
            is_secret=True,
            is_required=False,
            help=noop("An e-mail address. Only for an account that has to send HTTP Basic as well."),
        ),
        CredentialField(
            "password",
            noop("Password"),
            is_secret=True,
            is_required=False,
            help=noop("Goes with the user name."),
        ),
        CredentialField(
            "base_url",
            noop("Base URL"),
            is_required=False,
            help=noop("For an account on an older platform: https://basic.unifonic.com or https://api.unifonic.com."),
            # Unifonic's own hosts only: the credentials go wherever this points.
            pattern=r"https://(el\.cloud|basic|api)\.unifonic\.com/?",
            pattern_help=noop("https://el.cloud.unifonic.com, https://basic.unifonic.com or https://api.unifonic.com."),
        ),
    )

    @classmethod
    def error_tables(cls) -> dict[str, ErrorTable]:
        return {
            "HTTP status": STATUSES,
            "errorCode": ERRORS,
            "errorCode on the classic platform (api.unifonic.com)": CLASSIC_ERRORS,
        }

    @classmethod
    def check_credentials(cls, credentials: Mapping[str, str]) -> dict[str, list[str]]:
        if bool(credentials.get("username")) == bool(credentials.get("password")):
            return {}
        missing = "password" if credentials.get("username") else "username"
        return {missing: [_("HTTP Basic takes a user name and a password: give both or neither.")]}

    @property
    def is_classic(self) -> bool:
        """Whether this account is on the classic platform, wherever the server's settings may send its calls."""
        return self.host() == CLASSIC

    def build_send(self, sms: Sms) -> requests.Request:
        # Unifonic takes the fields in the address as well, but then the AppSid would be in every log of URLs.
        form = {
            "SenderID": bare_sender(self.sender_for(sms)),
            "Recipient": msisdn(sms.recipient),
            "Body": sms.text,
            "responseType": "JSON",
        }
        if sms.reference:
            form["CorrelationID"] = self.reference_for(sms)
        return self._request("/rest/Messages/Send" if self.is_classic else "/rest/SMS/messages", form)

    def reference_for(self, sms: Sms) -> str:
        """Return our own id, with the number of the try after a certain non-send.

        Unifonic lists a message that it has refused, which must not be taken for the next try.
        """
        return sms.reference_of_try

    def read_send(self, reply: Reply) -> Result:
        data = as_object(reply.object.get("data"))
        message_id, status = as_code(data.get("MessageID")), as_code(data.get("Status"))
        if not reply.is_success or not _is_yes(reply):
            refusal = self.read_refusal(reply)
            is_live = _success(reply) is True or (message_id and status.lower() not in FAILED)
            if reply.is_success and is_live and refusal.outcome != UNKNOWN:
                return self.contradictory(message_id, code=_code(reply))
            return refusal
        if status.lower() in FAILED:
            said = _said(reply)
            known = self.by_text(said, TEXTS, provider_message_id=message_id)
            return known or self.refused(f"status {status}", said, provider_message_id=message_id)
        cost, currency = _money(data, "Cost")
        return accepted(
            message_id,
            cost=cost,
            currency=currency,
            segment_count=as_count(data.get("NumberOfUnits")),  # 0 until they are counted
        )

    def read_refusal(self, reply: Reply) -> Result:
        status, code, said = str(reply.status), _code(reply), _said(reply)
        table = CLASSIC_ERRORS if self.is_classic else ERRORS
        by_status = STATUSES.get(status)
        # A status that only says "wrong" leaves the word to a code that says what, such as no balance under 400.
        if by_status and not (by_status.fault is Fault.OTHER and code in table):
            return self.by_meaning(by_status, said=said, code=status)
        if code not in ("", SUCCESS):
            return self.by_code(code, reply, said=said, table=table)
        is_no = reply.status >= 400 or (_success(reply) is False and not code)
        if reply.is_fault or not is_no:
            return self.by_status(reply)
        # Words are a guess, good enough to say why it is a no and never whether it is one.
        return self.by_text(said, TEXTS) or self.refused(f"HTTP {status} and no code", said)

    def fetch_balance(self, budget: Budget) -> Balance:
        reply, data = self._question("GetBalance", "balance", budget)
        amount, currency = _money(data, "Balance")
        if amount is None:
            raise self.refuse(reply)
        return Balance(amount, currency=currency)

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        reply, data = self._question("GetSenderIDs", "sender names", budget)
        names = data.get("SenderNames")
        if not isinstance(names, list):
            raise self.refuse(reply)
        return [name for name in map(_usable_sender, names) if name]

    def fetch_outcome(self, sms: Sms, budget: Budget) -> Result | None:
        if self.is_classic:  # which takes a message by Unifonic's own id only
            message = "Unifonic's classic platform does not tell what became of a message by our reference."
            raise NotOffered(rejected(Fault.OTHER, message))
        reference = self.reference_for(sms)
        form = {"CorrelationID": reference}
        reply = self.ask(self._request("/rest/SMS/Messages/GetMessagesDetails", form), budget)
        data = as_object(reply.object.get("data"))
        if not reply.is_success or not _is_yes(reply):
            refusal = self.refuse(reply)
            if refusal.result.outcome == REJECTED and refusal.result.fault is not Fault.AUTH:
                return None  # no page says how it tells that it has none
            raise refusal
        # Ours alone, whatever else is listed.
        ours = [
            entry
            for entry in as_objects(data.get("messages"))
            if as_code(entry.get("CorrelationID")) == reference
            and as_code(entry.get("Recipient")) in ("", msisdn(sms.recipient))
        ]
        return self.found([self._read_details(entry, data, reply) for entry in ours], reply)

    def _read_details(self, entry: dict[str, Any], data: dict[str, Any], reply: Reply) -> Result:
        """Say what one message of a look-up says: by its receipt, when there is one, else by its status."""
        receipt, status = as_code(entry.get("DLR")).lower(), as_code(entry.get("Status")).lower()
        message_id = as_code(entry.get("MessageID"))
        if receipt in UNDELIVERED or (status in UNDELIVERED and not receipt):
            return self.by_meaning(_UNDELIVERED, code=receipt or status, provider_message_id=message_id)
        if receipt == "delivered" or status in TAKEN:
            cost, currency = _money({**entry, "CurrencyCode": data.get("CurrencyCode")}, "Cost")
            parts = as_count(entry.get("NumberOfUnits"))
            return accepted(message_id, cost=cost, currency=currency, segment_count=parts)
        if status in FAILED:
            return self.refused(f"status {status}", provider_message_id=message_id, code=status)
        return self.unreadable(reply)

    def _question(self, call: str, what: str, budget: Budget) -> tuple[Reply, dict[str, Any]]:
        """Return the answer and its data, which is empty when it says no.

        Raises `NotOffered` where the call does not exist: it is a classic one, and only some accounts still have it.
        """
        reply = self.ask(self._request(f"/rest/Account/{call}"), budget)
        if reply.status in (404, 405) or (reply.is_success and reply.json is None):
            message = f"Unifonic does not tell the {what} of this account here: look in its console."
            raise NotOffered(self.refuse(reply, rejected(Fault.OTHER, message)).result)
        return reply, as_object(reply.object.get("data")) if reply.is_success and _is_yes(reply) else {}

    def _request(self, path: str, form: Mapping[str, str] | None = None) -> requests.Request:
        user, password = self.config.get("username"), self.config.get("password")
        auth = basic(user, password) if user and password else None
        data = {"AppSid": self.config["app_sid"], **(form or {})}
        return requests.Request("POST", self.url(path), data=data, auth=auth)


def _success(reply: Reply) -> bool | None:
    """Return what `success` says, as a boolean or as text; None when it says nothing."""
    value = reply.object.get("success")
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(as_code(value).lower())


def _code(reply: Reply) -> str:
    """Return the code as the lists write it, such as ER-04, whether it came so or as a number."""
    code = as_code(reply.object.get("errorCode"))
    match = _CODE.fullmatch(code)
    return f"ER-{int(match[1]):02d}" if match else code


def _is_yes(reply: Reply) -> bool:
    return _success(reply) is True and _code(reply) in ("", SUCCESS)


def _said(reply: Reply) -> str:
    return as_code(reply.object.get("message"))


def _money(data: Mapping[str, Any], key: str) -> tuple[Decimal | None, str]:
    """Return an amount and its currency. Zero of no currency is how Unifonic leaves an amount out."""
    amount, currency = as_decimal(data.get(key)), as_code(data.get("CurrencyCode"))
    return (amount, currency) if amount is not None and (amount or currency) else (None, "")


def _usable_sender(item: Any) -> str:
    """Return the name of one item that may be sent with, else nothing. Some items have no status to look at."""
    if isinstance(item, dict):
        if as_code(item.get("Status")).lower() not in ("", "approved"):
            return ""
        item = item.get("SenderID")
    return as_code(item)
