"""Mora SMS, API v1 (the "Mora SMS API" page at home.mora-sa.com, read 2026-01).

HTTP 200 does not mean accepted: the envelope's `status.code` (200) and the outcome in `data.code` (100) have to agree.
The official page stops at the parameters; the codes and the shapes of answers are those on which independent
integrations agree, so reading is lenient.

The API takes a `datetime`, but nobody documents its time zone or a way to cancel: we hold such messages ourselves.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, Sms
from sms_providers.adapters.credentials import CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_decimal, as_object, bare_sender
from sms_providers.results import REJECTED, ErrorTable, Fault, Meaning, Result, accepted, rejected
from sms_providers.transport import Budget, Reply

ACCEPTED = "100"

ERRORS: ErrorTable = {
    "105": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "106": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "107": Meaning(REJECTED, Fault.SENDER, "sender_blocked"),
    "108": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "112": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "114": Meaning(REJECTED, Fault.AUTH, "account_suspended"),
    "115": Meaning(REJECTED, Fault.AUTH, "account_not_activated", "The Mora account's mobile number is not activated."),
    "116": Meaning(
        REJECTED, Fault.AUTH, "account_not_activated", "The Mora account's e-mail address is not activated."
    ),
    "117": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "118": Meaning(REJECTED, Fault.SENDER, "sender_missing"),
    "119": Meaning(REJECTED, Fault.RECIPIENT, "recipient_missing"),
}

# What a sibling panel with the same numbering says. Not confirmed for Mora: only a hint to people.
HINTS = {
    "101": "incomplete data",
    "102": "wrong user",
    "103": "wrong password",
    "104": "database fault",
    "109": "more than 8 parts",
    "110": "saving failed",
    "111": "sending closed",
    "113": "inactive account",
}


class MoraSms(ProviderAdapter):
    slug: ClassVar[str] = "mora-sms"
    name: ClassVar[str] = "Mora SMS"
    origin: ClassVar[str] = "https://mora-sa.com"
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, sender_names=True)
    errors: ClassVar[ErrorTable] = ERRORS
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        secret_key(
            "api_key",
            noop("API key"),
            help=noop("Made in the Mora panel."),
            example="test-key",
        ),
        CredentialField(
            "username",
            noop("User name"),
            help=noop("The panel's login, often a number such as 966501234567."),
            example="966500000000",
        ),
        CredentialField(
            "sender",
            noop("Sender name"),
            is_required=False,
            help=noop("For messages that name none."),
            example="MyBrand",
        ),
    )

    def build_send(self, sms: Sms) -> requests.Request:
        # Mora takes GET as well, but then the key would be in every log of URLs.
        form = {
            **self._account(),
            "message": sms.text,
            "sender": bare_sender(self.sender_for(sms)),
            "numbers": msisdn(sms.recipient),
            "return": "json",  # an account's own default may be text
        }
        return requests.Request("POST", self.url("/api/v1/sendsms"), data=form)

    def read_send(self, reply: Reply) -> Result:
        envelope, data = _parts(reply)
        if reply.is_success:
            if as_code(envelope.get("code")) == "200" and as_code(data.get("code")) == ACCEPTED:
                return accepted(as_code(data.get("ref_id")))
            if _bare_code(reply) == ACCEPTED:  # without an id
                return accepted()
        return self.read_refusal(reply)

    def read_refusal(self, reply: Reply) -> Result:
        envelope, data = _parts(reply)
        status, code = as_code(envelope.get("code")), as_code(data.get("code")) or _bare_code(reply)
        if reply.is_fault:
            return self.by_status(reply, code=code or status)
        if code == ACCEPTED and status not in ("", "200"):  # an "accepted" that its envelope contradicts
            return self.contradictory(as_code(data.get("ref_id")), code=status)
        if reply.is_turned_away:
            return self.by_status(reply, code=code or status)
        if status in ("401", "403"):
            return rejected(Fault.AUTH, "Mora SMS does not accept the user name and API key.", code=status)
        if code not in ("", ACCEPTED, *ERRORS) and (ref_id := as_code(data.get("ref_id"))):
            return self.contradictory(ref_id, code=code)
        if code and code != ACCEPTED:
            return self.by_code(code, reply, said=HINTS.get(code) or data.get("message"))
        wrong = envelope.get("validation_errors")
        if status != "200" and wrong:
            message = f"Mora SMS refused the request: {_joined(wrong)}."
            return rejected(Fault.OTHER, message, code=status, reason="invalid_request")
        return self.unreadable(reply) if code else self.by_status(reply, code=status)

    def fetch_balance(self, budget: Budget) -> Balance:
        reply, data = self._question("/api/v1/balance", budget)
        amount = as_decimal(data.get("balance"))
        if amount is None:
            raise self.refuse(reply)
        return Balance(amount, unit=noop("points"))

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        reply, data = self._question("/api/v1/sender_names", budget)
        names = data.get("sender_names")
        if not isinstance(names, list):
            raise self.refuse(reply)
        return [name for name in map(_sender_name, names) if name]

    def _account(self) -> dict[str, str]:
        return {"api_key": self.config["api_key"], "username": self.config["username"]}

    def _question(self, path: str, budget: Budget) -> tuple[Reply, dict[str, Any]]:
        """Return the answer and its data, which is empty when the envelope says no."""
        reply = self.ask(requests.Request("GET", self.url(path), params=self._account()), budget)
        envelope, data = _parts(reply)
        is_good = reply.is_success and as_code(envelope.get("code")) == "200"
        return reply, data if is_good else {}


def _parts(reply: Reply) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `status` and `data`, empty where they are missing, null or something else."""
    return as_object(reply.object.get("status")), as_object(reply.object.get("data"))


def _bare_code(reply: Reply) -> str:
    """Return the code of an answer that is nothing but an integer, as an account with `return=text` gets it."""
    text = as_code(reply.json)
    return text if re.fullmatch("-?[0-9]{1,9}", text) else ""


def _joined(errors: Any) -> str:
    return "; ".join(str(error) for error in errors) if isinstance(errors, list) else str(errors)


def _sender_name(item: Any) -> str:
    """Return the name of one item, whose shape nobody documents: a string, or an object under one of three keys."""
    if isinstance(item, dict):
        item = next((item[key] for key in ("name", "sender_name", "sender") if item.get(key)), "")
    return item.strip() if isinstance(item, str) else ""
