"""Msegat, the `/gw/` scripts (msegat.docs.apiary.io, the provider's Postman collections and independent integrations,
read 2026-01).

HTTP 200 nearly always, wrong credentials included: the outcome is a code in the body. It comes as text or as a number,
with the bulk id glued to it (`1-700000001`), or alone without any JSON. The older codes are numbers, the newer ones
begin with M, and both are in use.

Msegat can hold a message, but nobody documents the time zone or a way to cancel: we hold such messages ourselves.
"""

from __future__ import annotations

import re
from typing import ClassVar

import requests
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, Sms
from sms_providers.adapters.credentials import SENDER_ID, SENDER_ID_HELP, CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_decimal, as_objects, bare_sender
from sms_providers.results import REJECTED, ErrorTable, Fault, Meaning, Result, accepted, unknown
from sms_providers.transport import Budget, Reply

ACCEPTED = ("1", "M0000")
NO_SENDER_NAMES = "M0036"

ERRORS: ErrorTable = {
    "1010": Meaning(REJECTED, Fault.OTHER, "invalid_request", "A required field is missing."),
    "M0001": Meaning(REJECTED, Fault.OTHER, "invalid_request", "A required field is missing."),
    "1020": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "M0002": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "M0008": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "No mobile number begins like this one."),
    "M0034": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The call was no POST."),
    "M0037": Meaning(
        REJECTED, Fault.AUTH, "access_denied", "Msegat takes this account's calls from one fixed address only."
    ),
    "M0090": Meaning(REJECTED, Fault.CONTENT, "template_not_approved"),
    "1050": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "1060": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "1061": Meaning(REJECTED, Fault.CONTENT, "duplicate_message"),
    "1064": Meaning(REJECTED, Fault.CONTENT, "content_refused", "The free test sender sends its own fixed texts only."),
    "1110": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted", "The sender name is missing or wrong."),
    "1120": Meaning(
        REJECTED, Fault.RECIPIENT, "invalid_recipient", "The number is wrong, or the account may not send abroad."
    ),
    "1140": Meaning(REJECTED, Fault.CONTENT, "text_too_long"),
    # What registering a sender name may answer. Should one come to a send, it is about the sender all the same.
    "M0022": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The account has too many sender names."),
    "M0023": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "The sender name is active, waiting or refused already."
    ),
    "M0024": Meaning(
        REJECTED, Fault.SENDER, "sender_not_accepted", "A sender name has English letters and digits only."
    ),
    "M0025": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted", "The sender name is too short or too long."),
    "M0026": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "The sender name is active already, or there is none like it."
    ),
    "M0027": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "The code that activates the sender name is wrong."
    ),
    "M0028": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "There are no tries left to activate the sender name."
    ),
    "M0029": Meaning(
        REJECTED, Fault.SENDER, "sender_not_accepted", "A sender name has at most 11 letters and digits, and no signs."
    ),
    "M0030": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted", "A sender name for advertising ends in AD."),
    "M0031": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The sender name's document is over 5 MB."),
    "M0032": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "The sender name's document is of a wrong file type."
    ),
    "M0033": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The sender name is of an unknown type."),
    NO_SENDER_NAMES: Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The account has no sender name."),
}

# Codes that a balance may be as well. Both come as plain text, so nobody can tell.
CODES_OR_POINTS = {"1010": "its code for a missing field", "1020": "its code for wrong credentials"}

# With room for codes to come, and too short for a bulk id that stands alone.
_CODE = re.compile("([Mm]?[0-9]{1,6})(?:-([0-9A-Za-z-]*))?")


class MsegatSms(ProviderAdapter):
    slug: ClassVar[str] = "msegat-sms"
    name: ClassVar[str] = "Msegat"
    origin: ClassVar[str] = "https://www.msegat.com"
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, sender_names=True)
    errors: ClassVar[ErrorTable] = ERRORS
    sender_field: ClassVar[str] = "user_sender"
    # Wider than M0029, which is about registering: Msegat's own test sender `auth-mseg` has a hyphen.
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        CredentialField(
            "user_name",
            noop("User name"),
            help=noop("The login of the Msegat panel."),
            example="demo",
        ),
        secret_key(
            "api_key",
            noop("API key"),
            help=noop("Made in the Msegat panel."),
            example="test-key",
        ),
        CredentialField(
            "user_sender",
            noop("Sender name"),
            is_required=False,
            help=noop("For messages that name none. For advertising, the name that ends in AD."),
            pattern=SENDER_ID,
            pattern_help=SENDER_ID_HELP,
            example="MyBrand",
        ),
    )

    def build_send(self, sms: Sms) -> requests.Request:
        body = {
            **self._account(),
            "numbers": msisdn(sms.recipient),  # text, of several numbers too
            "userSender": bare_sender(self.sender_for(sms)),
            "msg": sms.text,
            "timeToSend": "now",
            "reqBulkId": "true",  # or the answer has no id
            "reqFilter": "true",
        }
        return requests.Request("POST", self.url("/gw/sendsms.php"), json=body)

    def read_send(self, reply: Reply) -> Result:
        code, glued_id = _code_and_id(reply)
        if reply.is_success and code in ACCEPTED:
            body = reply.object
            return accepted(as_code(body.get("bulk_id")) or as_code(body.get("id")) or glued_id)
        return self.read_refusal(reply)

    def read_refusal(self, reply: Reply) -> Result:
        code, glued_id = _code_and_id(reply)
        if reply.is_turned_away or reply.is_fault:
            return self.by_status(reply, code=code)
        if code in ACCEPTED:  # to a question, or under a status that contradicts it
            return self.unreadable(reply)
        if code in ERRORS:
            return self.by_code(code, reply)
        # A number that no page has: beside an id it is no clear no, and alone it may be anything.
        body = reply.object
        message_id = as_code(body.get("bulk_id")) or as_code(body.get("id")) or glued_id
        if code and message_id:
            return self.contradictory(message_id, code=code)
        if code and (body or code.startswith("M")):
            return self.by_code(code, reply, said=body.get("message"))
        return self.by_status(reply)

    def fetch_balance(self, budget: Budget) -> Balance:
        # Msegat takes GET as well, but then the key would be in every log of URLs.
        reply = self.ask(requests.Request("POST", self.url("/gw/Credits.php"), data=self._account()), budget)
        said = _bare_text(reply)
        if reply.is_success and said in CODES_OR_POINTS:
            meaning = f"a balance of {said} points, or {CODES_OR_POINTS[said]}"
            message = f"The balance is uncertain: Msegat answered {said}, {meaning}. See the Msegat panel."
            raise self.refuse(reply, unknown("unreadable_answer", message))
        amount = as_decimal(said)
        if not reply.is_success or amount is None:
            raise self.refuse(reply)
        return Balance(amount, unit=noop("points"))

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        reply = self.ask(requests.Request("POST", self.url("/gw/senders.php"), json=self._account()), budget)
        code, _ = _code_and_id(reply)
        if reply.is_success and code == NO_SENDER_NAMES:
            return []
        items = reply.json if reply.is_success else None
        if not isinstance(items, list):
            raise self.refuse(reply)
        senders = [item for item in as_objects(items) if as_code(item.get("SenderID"))]
        if items and not senders:  # a list of something else
            raise self.refuse(reply)
        return [as_code(sender["SenderID"]) for sender in senders if _is_usable(sender)]

    def _account(self) -> dict[str, str]:
        return {"userName": self.config["user_name"], "apiKey": self.config["api_key"], "msgEncoding": "UTF8"}


def _bare_text(reply: Reply) -> str:
    """Return the trimmed text of an answer, of a JSON string without its quotes."""
    decoded = reply.json
    return (decoded if isinstance(decoded, str) else reply.text).strip()


def _code_and_id(reply: Reply) -> tuple[str, str]:
    """Return the code of an answer, of an object or alone, and the bulk id glued to it; empty where there is none."""
    said = as_code(reply.json.get("code")) if isinstance(reply.json, dict) else _bare_text(reply)
    match = _CODE.fullmatch(said)
    return (match[1].upper(), match[2] or "") if match else ("", "")


def _is_usable(sender: dict[str, object]) -> bool:
    return as_code(sender.get("Status")).lower() == "activated"
