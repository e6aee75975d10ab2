"""What every provider adapter shares: credentials, one call, the four results, and no secret anywhere.

A provider's module says how a request is built and what an answer means. This base sends it once, names transport
failures, looks codes up, refuses to guess about answers nobody can read, and masks secrets in whatever is kept.
"""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import requests
from django.conf import settings

from linkit import encoding, faults
from linkit.encoding import Encoding
from sms_providers import reasons
from sms_providers.adapters import credentials, masking
from sms_providers.adapters.credentials import CredentialField
from sms_providers.results import (
    ErrorTable,
    Fault,
    Meaning,
    Outcome,
    Result,
    TextTable,
    rejected,
    unavailable,
    unknown,
)
from sms_providers.transport import Budget, MaybeSent, NotSent, Reply, exchange

logger = logging.getLogger(__name__)

MAX_PAGES = 20  # of a list of senders; nobody chooses from a longer one
MAX_COST = Decimal(10) ** 6  # what a price column holds, and more than any SMS costs
COST_GRAIN = Decimal("0.00001")  # its smallest step
# What every failed send says at the end. A question (balance, senders) has sent nothing anyhow.
_PROMISES = {
    Outcome.REJECTED: "Nothing was sent.",
    Outcome.UNAVAILABLE: "Nothing was sent.",
    Outcome.UNKNOWN: "The message may have been sent.",
}

T = TypeVar("T")


class Unicode(enum.StrEnum):
    """Who tells the gateway that a text needs UCS-2. Never the operator."""

    AUTOMATIC = "automatic"  # the provider looks at the text
    FLAG = "flag"  # the adapter looks, and says so in the request


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do through its adapter."""

    balance: bool = False
    sender_names: bool = False
    scheduling: bool = False
    receipts: bool = False
    batch_size: int = 1  # recipients of one text in one call
    reference: bool = False  # takes our own id, `ProviderAdapter.reference_for`
    look_up: bool = False  # says by that id what became of a message
    unicode: Unicode = Unicode.AUTOMATIC


@dataclass(frozen=True)
class Sms:
    """One message for an adapter.

    `reference` is our own id, for providers that take a client reference. It is the same for every try, as
    `times_refused` tells those apart that a provider has certainly not sent.
    """

    recipient: str  # E.164
    text: str
    sender_id: str = ""
    send_at: datetime | None = None  # only when the adapter `can_schedule` it
    reference: str = ""
    times_refused: int = 0

    @property
    def reference_of_try(self) -> str:
        """Our own id with the number of the try after a certain non-send, for providers that know a refused one too."""
        return f"{self.reference}-{self.times_refused + 1}" if self.reference and self.times_refused else self.reference

    @property
    def is_ucs2(self) -> bool:
        """Whether the text has a character that GSM-7 lacks, for providers that have to be told."""
        return encoding.detect(self.text) is Encoding.UCS2


@dataclass(frozen=True)
class Balance:
    """What is left at the provider: `currency` for money, `unit` for points or messages."""

    amount: Decimal
    currency: str = ""
    unit: str = ""
    note: str = ""  # a warning for the operator, such as an account that is not active


class ProviderRefused(Exception):
    """A question (balance, senders, sign-in) that got no usable answer. `result` says how it failed."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.message)
        self.result = result


class NotOffered(ProviderRefused):
    """The provider does not answer this question for this account: no fault of anybody's."""


class ProviderAdapter:
    """One provider's API for one installation.

    A subclass sets the class attributes and implements `build_send`, `read_send` and `read_refusal`, and for its
    capabilities `fetch_balance`, `fetch_sender_names` and `fetch_outcome`. It is made anew for each batch and shared
    between threads: keep it free of state.
    """

    slug: ClassVar[str]
    name: ClassVar[str]
    origin: ClassVar[str]  # https://host, which SMS_PROVIDER_BASE_URLS may replace
    credential_fields: ClassVar[tuple[CredentialField, ...]] = ()
    capabilities: ClassVar[Capabilities] = Capabilities()
    errors: ClassVar[ErrorTable] = {}
    sender_field: ClassVar[str] = "sender"  # the credential with the sender ID of last resort; its pattern is for all
    needs_sender: ClassVar[bool] = True

    def __init__(self, credentials: Mapping[str, str], *, default_sender: str = "") -> None:
        self.config = credentials
        self.default_sender = default_sender

    # --- for the provider's module to fill ---------------------------------------------------------------

    def build_send(self, sms: Sms) -> requests.Request:
        """Return the provider call that sends `sms`."""
        raise NotImplementedError

    def read_send(self, reply: Reply) -> Result:
        """Say what the answer to a send means: accepted, or what `read_refusal` makes of it."""
        raise NotImplementedError

    def read_refusal(self, reply: Reply) -> Result:
        """Say why an answer, to a send or to a question, is not the one hoped for."""
        return self.by_status(reply)

    def fetch_balance(self, budget: Budget) -> Balance:
        """Ask for the balance. Raises `ProviderRefused`."""
        raise NotImplementedError

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        """Ask for the usable sender IDs. Raises `ProviderRefused`."""
        raise NotImplementedError

    def fetch_outcome(self, sms: Sms, budget: Budget) -> Result | None:
        """Ask what became of `sms`, by `reference_for(sms)`; made with `found`. Raises `ProviderRefused`.

        None when the provider has nothing under that reference.
        """
        raise NotImplementedError

    def can_schedule(self, send_at: datetime, *, now: datetime) -> bool:
        """Whether the provider itself holds a message until `send_at`; if not, we do."""
        return False

    def reference_for(self, sms: Sms) -> str | int:
        """Return our own id as this provider takes it."""
        return sms.reference

    def call(self, request: requests.Request, budget: Budget) -> Reply:
        """Make one provider call. A provider that has to be signed in to first overrides this.

        Raises `NotSent` and `MaybeSent`, of this request, and `ProviderRefused` when signing in fails.
        """
        return exchange(self._prepared(request), budget)

    @classmethod
    def error_tables(cls) -> dict[str, ErrorTable]:
        """Return every table of codes by what the codes are called, for the documentation and the tests."""
        return {"Code": cls.errors} if cls.errors else {}

    @classmethod
    def sender_rule(cls) -> CredentialField | None:
        """Return the credential whose pattern every sender ID has to fit, None where no rule is documented."""
        return next(
            (field for field in cls.credential_fields if field.name == cls.sender_field and field.pattern), None
        )

    @classmethod
    def check_credentials(cls, credentials: Mapping[str, str]) -> dict[str, list[str]]:
        """Return what is wrong beyond single fields, such as "one of these two", by field name."""
        return {}

    # --- what the rest of the product calls ----------------------------------------------------------------

    def send(self, sms: Sms, budget: Budget) -> Result:
        """Send once and say how it ended. Never raises; what is kept of the answer holds no secret."""
        result = self._send(sms, budget)
        promise = _PROMISES.get(result.outcome, "")
        if result.outcome == Outcome.REJECTED and result.provider_message_id:
            promise = "It is not delivered."  # the provider had taken it by then, or has at least given it an id
        message = f"{result.message} {promise}".strip()
        return result if message == result.message else replace(result, message=message)

    def balance(self, budget: Budget) -> Balance:
        """Return the balance. Raises `ProviderRefused`, whatever the provider answers."""
        left = self._asked("balance", lambda: self.fetch_balance(budget))
        mask = self._mask()
        return replace(left, currency=mask(left.currency), unit=mask(left.unit), note=mask(left.note))

    def sender_names(self, budget: Budget) -> list[str]:
        """Return the usable sender IDs. Raises `ProviderRefused`, whatever the provider answers."""
        names = self._asked("sender names", lambda: self.fetch_sender_names(budget))
        mask = self._mask()
        return [mask(name) for name in names]

    def look_up(self, sms: Sms, budget: Budget) -> Result | None:
        """Ask what became of a message whose outcome is unknown, `sms` as it was sent. Raises `ProviderRefused`.

        None: the provider has nothing under our reference. That is no proof that it was not sent, since an answer may
        come from a log that lags behind. Only *accepted* and a certain non-send say how it ended.
        """
        result = self._asked("message", lambda: self.fetch_outcome(sms, budget))
        if result is not None and result.outcome in (Outcome.REJECTED, Outcome.UNAVAILABLE):
            return replace(result, message=f"{result.message} It is not delivered.".strip())
        return result

    # --- building requests ---------------------------------------------------------------------------------

    def sender_for(self, sms: Sms) -> str:
        """Return the sender ID to use: the message's own, else the installation's, else the credentials'."""
        return sms.sender_id or self.default_sender or self.config.get(self.sender_field, "")

    def url(self, path: str) -> str:
        """Return the URL of a documented path at this installation's host."""
        override = settings.SMS_PROVIDER_BASE_URLS.get(self.slug)
        return (override.rstrip("/") if override else self.host()) + path

    def host(self) -> str:
        """Return `https://host` for this installation: the `base_url` of its credentials, if it has one."""
        return (self.config.get("base_url") or self.origin).rstrip("/")

    def ask(self, request: requests.Request, budget: Budget) -> Reply:
        """Ask the provider something that changes nothing. Raises `ProviderRefused` when no answer comes."""
        try:
            return self.call(request, budget)
        except (NotSent, MaybeSent) as error:
            message = f"{self.name} could not be reached ({error.reason.replace('_', ' ')})."
            raise ProviderRefused(unavailable(message=message, reason=error.reason)) from None

    def paged(
        self,
        request: Callable[[int], requests.Request],
        read: Callable[[Reply], list[Any] | None],
        budget: Budget,
        *,
        size: int,
    ) -> Iterator[Any]:
        """Yield the items of every page of a list, within one limit for all: somebody is waiting for it.

        `request` takes a page's number from 0. `read` returns its items, or None for an answer that is no list; a
        page of fewer than `size` is the last. Raises `ProviderRefused`.
        """
        ends_at = budget.ends_at
        for page in range(MAX_PAGES):
            reply = self.ask(request(page), budget.until(ends_at))
            items = read(reply) if reply.is_success else None
            if items is None:
                raise self.refuse(reply)
            yield from items
            if len(items) < size:
                return

    # --- reading answers -----------------------------------------------------------------------------------

    def by_code(
        self, code: str, reply: Reply, *, said: object = "", table: ErrorTable | None = None, **details: Any
    ) -> Result:
        """Say what one of the provider's own codes means, by `table` or else `errors`.

        A code that nobody documents is a refusal with the provider's own words, unless the HTTP status says more.
        """
        meaning = (self.errors if table is None else table).get(code)
        if reply.is_fault:  # whoever has a fault is not believed when it says no
            return self.by_status(reply, code=code, **details)
        if meaning and (reply.status != 429 or meaning.outcome == Outcome.UNAVAILABLE):
            return self.by_meaning(meaning, code=code, **details)
        if reply.is_turned_away:  # a 429 promises that nothing was processed, whatever the code
            return self.by_status(reply, code=code, **details)
        return self.refused(f"code {code}", said, code=code, **details)

    def by_text(self, said: str, texts: TextTable, **details: Any) -> Result | None:
        """Say what the provider's words are about; None when they fit no row of `texts`."""
        meaning = next((meaning for pattern, meaning in texts if pattern.search(said)), None)
        return self.by_meaning(meaning, said=said, **details) if meaning else None

    def by_meaning(self, meaning: Meaning, *, said: str = "", **details: Any) -> Result:
        """Return the result that a row of a table stands for, with the provider's words where there are any."""
        sentence = meaning.message or reasons.text(meaning.reason)
        words = f" ({said})" if said else ""
        return Result(
            meaning.outcome,
            meaning.fault,
            meaning.reason,
            f"{self.name}: {sentence}{words}",
            retry_after=meaning.retry_after,
            **details,
        )

    def refused(self, what: str, said: object = "", *, reason: str = "", **details: Any) -> Result:
        """Return a refusal that no table explains; `what` names the code or status, `said` has the provider's words."""
        words = f": {said.rstrip('.')}." if isinstance(said, str) and said else "."
        return rejected(Fault.OTHER, f"{self.name} refused with {what}{words}", reason=reason, **details)

    def by_status(self, reply: Reply, **details: Any) -> Result:
        """Say what an answer means whose body says nothing: by HTTP status, in doubt unknown."""
        status = f"HTTP {reply.status}"
        if reply.status == 401:
            return rejected(Fault.AUTH, f"{self.name} does not accept the credentials.", **details)
        if reply.status == 403:
            message = f"{self.name} denies access to this account or from this address."
            return rejected(Fault.AUTH, message, reason="access_denied", **details)
        if reply.status == 429:
            return unavailable(Fault.THROTTLED, f"{self.name} is throttling.", **details)
        if reply.is_fault:
            fault = Fault.PROVIDER_DOWN
            return unknown(fault.value, f"{self.name} had a fault ({status}).", fault=fault, **details)
        if reply.status >= 400:
            return rejected(Fault.OTHER, f"{self.name} refused ({status}).", **details)
        return self.unreadable(reply)

    def contradictory(self, message_id: str = "", **details: Any) -> Result:
        """The result for a yes and a no in one answer. There was one recipient: a part may have gone, or nothing."""
        code = f" (code {details['code']})" if details.get("code") else ""
        message = f"{self.name} answered yes and no at once{code}."
        return unknown("partly_accepted", message, provider_message_id=message_id, **details)

    def unreadable(self, reply: Reply) -> Result:
        """The result for an answer that cannot be understood."""
        return unknown("unreadable_answer", f"{self.name} answered something unexpected (HTTP {reply.status}).")

    def refuse(self, reply: Reply, result: Result | None = None) -> ProviderRefused:
        """Return the exception for a question that `reply` does not answer."""
        return ProviderRefused(self._complete(result or self.read_refusal(reply), reply))

    def found(self, results: Iterable[Result], reply: Reply) -> Result | None:
        """Return what a provider's entries for one reference say together: None when there is no entry.

        One that was taken counts for all. Nothing was sent only when every entry says so.
        """
        said = list(results)
        for outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
            if (first := next((result for result in said if result.outcome == outcome), None)) is not None:
                return self._complete(first, reply)
        return self._complete(said[0], reply) if said else None

    # --- credentials ---------------------------------------------------------------------------------------

    @classmethod
    def clean_credentials(cls, given: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Return the credentials to store and what is wrong, by field name. No message repeats a value."""
        cleaned, wrong = credentials.clean(cls.credential_fields, given, app=cls.name)
        return cleaned, wrong or cls.check_credentials(cleaned)

    @classmethod
    def example_credentials(cls) -> dict[str, str]:
        """Return invented credentials that `clean_credentials` takes, for tests."""
        return {field.name: field.example for field in cls.credential_fields if field.example}

    def secrets(self) -> list[str]:
        """Return the secret values in every spelling in which a request or an answer may carry them."""
        values = [self.config.get(field.name, "") for field in self.credential_fields if field.is_secret]
        return masking.spellings(filter(None, values), users=self.config.values())

    # --- inside --------------------------------------------------------------------------------------------

    def _mask(self) -> masking.Masker:
        return masking.masker(tuple(self.secrets()))

    def _send(self, sms: Sms, budget: Budget) -> Result:
        sender = self.sender_for(sms)
        if self.needs_sender and not sender:
            message = "There is no sender ID: name one in the message or in the app."
            return rejected(Fault.SENDER, message, reason="sender_missing")
        rule = self.sender_rule()
        if sender and rule is not None and not re.fullmatch(rule.pattern, sender):
            return rejected(Fault.SENDER, f"{self.name} takes another kind of sender ID: {rule.pattern_help}")
        if sms.send_at is not None and not self.capabilities.scheduling:
            # Whoever calls holds such a message back. Sent now it would be early.
            return rejected(Fault.OTHER, f"{self.name} cannot hold a message until later.")
        try:
            request = self.build_send(sms)
        except Exception as error:
            self._log("the request could not be built", error)
            message = f"The request to {self.name} could not be built."
            return rejected(Fault.OTHER, message, reason="request_not_built")
        try:
            reply = self.call(request, budget)
        except ProviderRefused as refusal:  # signing in: the message was never handed over
            return refusal.result
        except NotSent as error:
            if error.reason == "request_not_built":  # it would be as bad the next time
                message = f"The request to {self.name} could not be built."
                return rejected(Fault.OTHER, message, reason=error.reason)
            return unavailable(message=f"{self.name} could not be reached.", reason=error.reason)
        except MaybeSent as error:
            return unknown(error.reason, f"{self.name} gave no clear answer.")
        try:
            result = self._read(reply)
        except Exception as error:
            # Whatever is in the body, the request left: only an unknown outcome is safe.
            self._log("the answer could not be read", error)
            result = self.unreadable(reply)
        try:
            return self._complete(result, reply)
        except Exception as error:
            # What is known about the message counts; what cannot be kept of the answer does not.
            self._log("the answer could not be kept", error)
            return Result(result.outcome, result.fault, result.reason, http_status=reply.status)

    def _read(self, reply: Reply) -> Result:
        """Read the answer to a send. A body that may say yes under a status that says no is no answer."""
        result = self.read_send(reply)
        if reply.is_success or result.outcome not in (Outcome.REJECTED, Outcome.UNAVAILABLE):
            return result
        if 300 <= reply.status < 400:  # of whoever sends us elsewhere, nobody knows what it has done
            return self.unreadable(reply)
        by_body = self.read_send(replace(reply, status=200))
        may_be_taken = by_body.outcome == Outcome.UNKNOWN and by_body.reason != "unreadable_answer"
        if may_be_taken or by_body.outcome == Outcome.ACCEPTED:
            return self.contradictory(by_body.provider_message_id, code=result.code)
        return result

    def _prepared(self, request: requests.Request) -> requests.Request:
        headers = {"User-Agent": f"linkit-sms/{settings.VERSION}", "Accept": "application/json"}
        request.headers = {**headers, **(request.headers or {})}
        return request

    def _asked(self, what: str, question: Callable[[], T]) -> T:
        try:
            return question()
        except ProviderRefused:
            raise
        except Exception as error:
            self._log(f"the answer about its {what} could not be read", error)
            message = f"{self.name} answered something unexpected about its {what}."
            raise ProviderRefused(unknown("unreadable_answer", message)) from None

    def _log(self, what: str, error: Exception) -> None:
        logger.error("%s: %s: %s", self.slug, what, faults.describe(error))

    def _complete(self, result: Result, reply: Reply) -> Result:
        """Add what every result keeps of the answer, and take every secret out of it."""
        mask = self._mask()
        wait = result.retry_after
        if result.outcome == Outcome.UNAVAILABLE and reply.retry_after is not None:
            wait = reply.retry_after
        cost = result.cost
        return replace(
            result,
            raw=masking.kept(reply, mask),
            message=mask(result.message)[:500],
            code=mask(result.code)[:64],
            provider_message_id=mask(result.provider_message_id)[:128],
            currency=mask(result.currency)[:8],
            cost=cost.quantize(COST_GRAIN) if cost is not None and abs(cost) < MAX_COST else None,
            http_status=reply.status,
            retry_after=wait,
        )
