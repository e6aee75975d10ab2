"""4Jawaly SMS, API v1 (the provider's sample set and packages at github.com/4jawalycom and independent integrations,
read 2026-01).

There are no codes. A refusal is an HTTP status, a key that is there only then, or a short Arabic text, and it comes
inside HTTP 200 too: a message that was not taken has an `err_text` or its number in one of three lists. An expired
token is a 400. A firewall stands in front of the API and answers in HTML.

Scheduled times come back in the answer, but nobody documents how to ask for one: we hold such messages ourselves.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, Sms
from sms_providers.adapters.credentials import CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_count, as_decimal, as_its_body_says, as_objects, bare_sender, basic
from sms_providers.results import REJECTED, UNAVAILABLE, ErrorTable, Fault, Meaning, Result, TextTable, accepted
from sms_providers.transport import Budget, Reply

_BAD_TOKEN = Meaning(REJECTED, Fault.AUTH, "bad_credentials", "The API token has expired or is switched off.")
_NO_PACKAGE = Meaning(REJECTED, Fault.BALANCE, "package_expired")
_NO_SENDER = Meaning(REJECTED, Fault.SENDER, "sender_not_registered")
_NO_NUMBER = Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient")

# Keys that say by being there, and filled, why nothing was sent.
ERRORS: ErrorTable = {
    "not_senders": _NO_SENDER,
    "is_token_expired": _BAD_TOKEN,
    "error_numbers": _NO_NUMBER,
    "no_package": _NO_PACKAGE,
    "has_more_iso_code": Meaning(
        REJECTED, Fault.RECIPIENT, "invalid_recipient", "The number's country could not be determined."
    ),
}
REFUSALS_OF_THE_WHOLE = ("not_senders", "is_token_expired")  # of the request: no job can come with them
REFUSED_NUMBERS = ("error_numbers", "no_package", "has_more_iso_code")

# The field that a 422 complains of. When it complains of several, the first here counts.
WRONG_FIELDS: ErrorTable = {
    "text": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "numbers": _NO_NUMBER,
    "sender": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted"),
}
MISSING_FIELDS: ErrorTable = {
    "text": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "numbers": Meaning(REJECTED, Fault.RECIPIENT, "recipient_missing"),
    "sender": Meaning(REJECTED, Fault.SENDER, "sender_missing"),
}

# What a refusal's text is about, in the order in which it counts. Parts of words, since Arabic writes "the", "your" and
# "for" onto them; hamza and the two dots are often left out.
TEXTS: TextTable = (
    (re.compile("توكن"), _BAD_TOKEN),  # token
    (re.compile("رصيد"), Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance")),  # balance
    (re.compile("باق[ةه]|باقات"), _NO_PACKAGE),  # package
    (re.compile("[اأإ]سم المرسل"), _NO_SENDER),  # the sender's name; one word alone is also "sent"
    (re.compile("[اأ]رقام|الرقم"), _NO_NUMBER),  # numbers, the number; without "the" it may count the error
)

_FIREWALL = Meaning(UNAVAILABLE, Fault.PROVIDER_DOWN, "blocked_by_firewall")

BALANCE_QUERY = {
    "is_active": 1,
    "order_by": "id",
    "order_by_type": "desc",
    "page": 1,
    "page_size": 10,
    "return_collection": 1,
}
SENDERS_A_PAGE = 50

_IS_MISSING = re.compile("مطلوب|required", re.IGNORECASE)


class FourJawalySms(ProviderAdapter):
    slug: ClassVar[str] = "fourjawaly-sms"
    name: ClassVar[str] = "4Jawaly"
    origin: ClassVar[str] = "https://api-sms.4jawaly.com"
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, sender_names=True)
    errors: ClassVar[ErrorTable] = ERRORS
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        secret_key(
            "api_key",
            noop("API key"),
            help=noop("Made in the 4Jawaly panel, under personal data, API token."),
            example="test-key",
        ),
        secret_key(
            "api_secret",
            noop("API secret"),
            help=noop("Made together with the key. The pair can expire or be switched off."),
            example="test-secret",
        ),
        CredentialField(
            "sender",
            noop("Sender name"),
            is_required=False,
            help=noop("For messages that name none."),
            example="MyBrand",
        ),
    )

    @classmethod
    def error_tables(cls) -> dict[str, ErrorTable]:
        return {"Key": ERRORS, "Wrong field": WRONG_FIELDS, "Missing field": MISSING_FIELDS}

    def build_send(self, sms: Sms) -> requests.Request:
        message = {
            "text": sms.text,
            "numbers": [msisdn(sms.recipient)],
            "sender": bare_sender(self.sender_for(sms)),
        }
        return self._request("POST", "account/area/sms/send", json={"messages": [message]})

    def read_send(self, reply: Reply) -> Result:
        if not reply.is_success:
            return self.read_refusal(reply)
        messages = _messages(reply)
        details = [item["message"] for item in messages if isinstance(item.get("message"), dict)]
        job_id = next((found for holder in (reply.object, *details) if (found := as_code(holder.get("job_id")))), "")
        counts = [count for item in messages if (count := as_decimal(item.get("inserted_numbers"))) is not None]
        is_taken = any(count > 0 for count in counts)
        is_yes = _is_yes(reply)
        refusal = self._by_key(reply) if is_yes else self.read_refusal(reply)
        is_of_the_whole = not is_yes or (refusal is not None and refusal.code in REFUSALS_OF_THE_WHOLE)
        if refusal is not None and (is_taken or (job_id and is_of_the_whole)):
            return self.contradictory(job_id)
        if refusal is None and counts and not is_taken:
            refusal = self.refused("0 numbers taken and no reason")
        if refusal is not None:
            return replace(refusal, provider_message_id=job_id)
        if not job_id:
            return self.unreadable(reply)
        parts = next((holder.get("messages") for holder in details), None)
        return accepted(job_id, segment_count=as_count(parts))

    def read_refusal(self, reply: Reply) -> Result:
        reply = as_its_body_says(reply, "code")
        if reply.status == 403 and _is_page(reply):
            return self.by_meaning(_FIREWALL)
        if reply.is_turned_away or reply.is_fault:
            return self.by_status(reply)
        named = (self._by_field(reply) if reply.status == 422 else None) or self._by_key(reply)
        if named is not None:
            return named
        if reply.status < 400:
            return self.unreadable(reply)
        said = _words(reply.object.get("message"))
        reason = "invalid_request" if reply.status == 422 else ""
        return self.by_text(said, TEXTS) or self.refused(f"HTTP {reply.status}", said, reason=reason)

    def fetch_balance(self, budget: Budget) -> Balance:
        reply = self.ask(self._request("GET", "account/area/me/packages", params=BALANCE_QUERY), budget)
        amount = as_decimal(reply.object.get("total_balance"))
        if amount is not None and _is_yes(reply):
            return Balance(amount, unit=noop("points"))
        packages = _items(reply) or []
        points = [as_decimal(item.get("current_points")) for item in as_objects(packages)]
        known = [amount for amount in points if amount is not None]
        if not known or len(known) < len(packages):
            raise self.refuse(reply)
        note = noop("4Jawaly named no total: this is what its latest packages hold together.")
        return Balance(sum(known, Decimal(0)), unit=noop("points"), note=note)

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        pages: list[list[Any] | None] = []

        def request(page: int) -> requests.Request:
            query = {"page_size": SENDERS_A_PAGE, "page": page + 1, "status": 1, "return_collection": 1}
            return self._request("GET", "account/area/senders", params=query)

        def read(reply: Reply) -> list[Any] | None:
            items = _items(reply)
            if items in pages:  # a plain list may be the whole one, whatever page was asked for
                return []
            pages.append(items)
            return items

        return [name for item in self.paged(request, read, budget, size=SENDERS_A_PAGE) if (name := _usable_name(item))]

    def _by_key(self, reply: Reply) -> Result | None:
        """Return the refusal that a key of the answer stands for; None when there is none."""
        body = reply.object
        if body.get("not_senders"):
            return self.by_meaning(ERRORS["not_senders"], said=_words(body.get("message")), code="not_senders")
        if body.get("is_token_expired") in (True, "1", "true"):
            return self.by_meaning(ERRORS["is_token_expired"], code="is_token_expired")
        for item in _messages(reply):
            if item.get("err_text"):
                said = _words(item["err_text"])
                return self.by_text(said, TEXTS) or self.refused("err_text", said)
            for key in REFUSED_NUMBERS:
                if item.get(key):  # with the one number that was sent
                    return self.by_meaning(ERRORS[key], said=_error_of_number(item[key]), code=key)
        return None

    def _by_field(self, reply: Reply) -> Result | None:
        """Return the refusal that a validation failure stands for; None when it names no field of ours."""
        wrong = _wrong_fields(reply)
        field = next((field for field in WRONG_FIELDS if field in wrong), None)
        if field is None:
            return None
        table = MISSING_FIELDS if _IS_MISSING.search(wrong[field]) else WRONG_FIELDS
        return self.by_meaning(table[field], said=wrong[field], code=field)

    def _request(self, method: str, path: str, **given: Any) -> requests.Request:
        auth = basic(self.config["api_key"], self.config["api_secret"])
        headers = {"Content-Type": "application/json"}  # wanted on every call, also without a body
        return requests.Request(method, self.url(f"/api/v1/{path}"), auth=auth, headers=headers, **given)


def _is_yes(reply: Reply) -> bool:
    return as_its_body_says(reply, "code").is_success


def _is_page(reply: Reply) -> bool:
    """Whether something else than the API has answered, which speaks JSON or says nothing."""
    return reply.json is None and reply.text.strip() not in ("", "null")


def _messages(reply: Reply) -> list[dict[str, Any]]:
    """Return the objects of `messages`: one, since one is sent."""
    messages = reply.object.get("messages")
    return [item for item in (messages if isinstance(messages, list) else [messages]) if isinstance(item, dict)]


def _wrong_fields(reply: Reply) -> dict[str, str]:
    """Return what a validation failure says, by field: of `text`, and of `messages.0.text` as well.

    It is a list of objects under `messages`, the key of a success too; one object, and `errors`, are read as well.
    """
    wrong: dict[str, str] = {}
    for complaints in (reply.object.get("messages"), reply.object.get("errors")):
        for item in complaints if isinstance(complaints, list) else [complaints]:
            for path, texts in item.items() if isinstance(item, dict) else ():
                for field in path.split("."):
                    wrong.setdefault(field, _words(texts))
    return wrong


def _words(value: Any) -> str:
    """Return a text, or a list of texts, as one; empty for anything else."""
    return "; ".join(text for item in (value if isinstance(value, list) else [value]) if (text := as_code(item)))


def _error_of_number(numbers: Any) -> str:
    """Return what is said about a refused number; only one of the lists says anything."""
    first = numbers[0] if isinstance(numbers, list) else numbers
    return _words(first.get("error")) if isinstance(first, dict) else ""


def _items(reply: Reply) -> list[Any] | None:
    """Return the items of a list, None when it is none: a plain one, or one of two kinds of pages."""
    if not _is_yes(reply):
        return None
    items = reply.object.get("items", reply.object)
    if isinstance(items, dict):
        items = next((items[key] for key in ("data", "collection") if isinstance(items.get(key), list)), None)
    return items if isinstance(items, list) else None


def _usable_name(item: Any) -> str:
    """Return the name of one sender that may be sent with, else nothing."""
    is_usable = isinstance(item, dict) and item.get("status") in (1, "1")
    return as_code(item.get("sender_name")) if is_usable else ""
