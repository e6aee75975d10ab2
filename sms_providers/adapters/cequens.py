"""Cequens SMS, API v1 (developer.cequens.com, the official Java client and independent integrations, read 2026-01).

An outcome is the `replyCode` in the body, 0 for accepted. A refusal's cause may stand in an inner list only, below a
general -1, and the spelling of keys varies in letter case. `recipients` is text, and our own reference an integer.

There are two ways in: a token made in the console, or an API key and a user name that are exchanged for a token. Such
tokens are kept in this process until they end. Deewan, the twin brand, has the same API at a host of its own.

Cequens can delay a message, but what its `deliveryTime` means is hardly documented: we hold such messages ourselves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from linkit.phone import msisdn
from sms_providers.adapters.base import Balance, Capabilities, ProviderAdapter, ProviderRefused, Sms, Unicode
from sms_providers.adapters.credentials import CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_decimal, as_list, bare_sender, words
from sms_providers.results import (
    REJECTED,
    ErrorTable,
    Fault,
    Meaning,
    Result,
    TextTable,
    accepted,
    rejected,
    unavailable,
)
from sms_providers.transport import Budget, MaybeSent, NotSent, Reply

ACCEPTED, GENERAL = "0", "-1"
DEEWAN = "https://apis.deewan.sa"

ERRORS: ErrorTable = {
    GENERAL: Meaning(REJECTED, Fault.OTHER, "refused_by_provider"),  # unless its text says more: see TEXTS
    "-6": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "-8": Meaning(REJECTED, Fault.CONTENT, "invalid_request", "The message type is neither text nor unicode."),
    "-9": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "-12": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted"),
    "-13": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The mark for a flash message is wrong."),
    "-14": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The mark that asks for a report is wrong."),
    "-15": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The validity period is wrong."),
    "-16": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "-17": Meaning(REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
    "-41": Meaning(REJECTED, Fault.CONTENT, "text_too_long", "The text takes more than 20 parts."),
}

SIGN_IN_ERRORS: ErrorTable = {
    GENERAL: Meaning(REJECTED, Fault.AUTH, "bad_credentials", "The API key and the user name are not accepted."),
}

# What the text of a general -1 is about, in the order in which it counts.
TEXTS: TextTable = (
    (words("balance|credits?"), ERRORS["-17"]),
    (words("senders?|sendername"), ERRORS["-12"]),
    (words("recipients?|numbers?"), ERRORS["-6"]),
    (words("unauthori[sz]ed|authentication|credentials|tokens?"), Meaning(REJECTED, Fault.AUTH, "bad_credentials")),
    (words("text|messagetext|length|parts"), Meaning(REJECTED, Fault.CONTENT, "content_refused")),
)

RENEW_BEFORE = 60.0  # seconds before a token ends
MAX_SESSIONS = 500  # accounts whose tokens this process keeps
_MAX_REFERENCE = 2**31 - 1  # the official client's integer
_TOKEN = re.compile("[!-~]{1,8000}")  # what a header can carry


class CequensSms(ProviderAdapter):
    slug: ClassVar[str] = "cequens-sms"
    name: ClassVar[str] = "Cequens"
    origin: ClassVar[str] = "https://apis.cequens.com"
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, reference=True, unicode=Unicode.FLAG)
    errors: ClassVar[ErrorTable] = ERRORS
    sender_field: ClassVar[str] = "sender_name"
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        secret_key(
            "access_token",
            noop("Access token"),
            is_required=False,
            help=noop("Made in the Cequens console. Needed unless there are an API key and a user name."),
            example="test-token",
        ),
        secret_key(
            "api_key",
            noop("API key"),
            is_required=False,
            help=noop("To sign in with the user name instead. An access token goes first."),
        ),
        CredentialField(
            "username", noop("User name"), is_required=False, help=noop("The account's, to sign in with the API key.")
        ),
        CredentialField(
            "sender_name",
            noop("Sender name"),
            is_required=False,
            help=noop("For messages that name none."),
            example="MyBrand",
        ),
        CredentialField(
            "base_url",
            noop("Base URL"),
            is_required=False,
            help=noop("For an account at Deewan, the Saudi twin: https://apis.deewan.sa."),
            # The two brands' own hosts only: the credentials go wherever this points.
            pattern=r"https://apis\.(cequens\.com|deewan\.sa)/?",
            pattern_help=noop("https://apis.cequens.com or https://apis.deewan.sa."),
        ),
    )

    @classmethod
    def error_tables(cls) -> dict[str, ErrorTable]:
        return {"Code": ERRORS, "Code of a sign-in": SIGN_IN_ERRORS}

    @classmethod
    def check_credentials(cls, credentials: Mapping[str, str]) -> dict[str, list[str]]:
        if credentials.get("access_token"):
            return {}
        has_key, has_user = bool(credentials.get("api_key")), bool(credentials.get("username"))
        if has_key and has_user:
            return {}
        if has_key:
            return {"username": [_("The API key needs its user name.")]}
        if has_user:
            return {"api_key": [_("The user name needs an API key, unless there is an access token.")]}
        return {"access_token": [_("Access token is required, unless there are an API key and a user name.")]}

    def reference_for(self, sms: Sms) -> int:
        """Return our own id as a positive integer of 31 bits.

        The low 31 bits of a UUID's 128, or of the SHA-256 of any other text; 1 should all of them be 0.
        """
        try:
            number = uuid.UUID(sms.reference).int
        except ValueError:
            number = int.from_bytes(hashlib.sha256(sms.reference.encode()).digest(), "big")
        return number & _MAX_REFERENCE or 1

    # --- signing in ----------------------------------------------------------------------------------------

    def call(self, request: requests.Request, budget: Budget) -> Reply:
        """Make one call with a token. One that was exchanged is renewed once should the call be answered with 401."""
        token = self.config.get("access_token", "")
        if token:
            return super().call(_bearing(token, request), budget)
        session = self._session()
        if session is None:
            raise NotSent("request_not_built")
        ends_at = budget.ends_at
        token = session.usable() or self._sign_in(session, budget)
        reply = super().call(_bearing(token, request), budget.until(ends_at))
        if reply.status != 401 or _ids(_member(reply.object, "data")):
            return reply
        # Nobody was let in, nor does the answer name a message, so nothing was sent, and the call may be made again.
        token = self._sign_in(session, budget.until(ends_at), refused=token)
        return super().call(_bearing(token, request), budget.until(ends_at))

    def secrets(self) -> list[str]:
        session = self._session()
        known = set(super().secrets())
        for token in session.tokens if session else ():
            known.update(type(self)({"access_token": token}).secrets())
        return sorted(known, key=len, reverse=True)

    def _session(self) -> _Session | None:
        """Return the tokens of this account; None when there is nothing to sign in with, or no need to."""
        key, user = self.config.get("api_key"), self.config.get("username")
        if self.config.get("access_token") or not key or not user:
            return None
        account = json.dumps([self.url(""), key, user])
        return _session_of(hashlib.sha256(account.encode()).hexdigest())

    def _sign_in(self, session: _Session, budget: Budget, *, refused: str = "") -> str:
        """Return a token other than the one that was `refused`. Raises `NotSent` and `ProviderRefused`."""
        ends_at = budget.ends_at
        useless = refused or session.newest()
        # One thread signs in and those that wait take its token; none waits for longer than its call may last.
        wait = min(ends_at, budget.start_by) - time.monotonic()
        if not session.lock.acquire(timeout=max(wait, 0.0)):
            if time.monotonic() >= budget.start_by:
                raise NotSent("no_time_left")
            message = "Cequens could not be reached to sign in (another call waits for its answer)."
            raise ProviderRefused(unavailable(message=message, reason="sign_in_failed"))
        try:
            # Another one will do, though it may be short-lived: whoever has waited would only get one of the kind.
            token = session.newest()
            if token in ("", useless):
                token = self._new_token(budget.until(ends_at))
                session.keep(token)
            return token
        finally:
            session.lock.release()

    def _new_token(self, budget: Budget) -> str:
        path = "/auth/v1/signin" if self.host() == DEEWAN else "/auth/v1/tokens/"
        account = {"apiKey": self.config["api_key"], "userName": self.config["username"]}
        try:
            reply = super().call(requests.Request("POST", self.url(path), json=account), budget)
        except (NotSent, MaybeSent) as error:
            if error.reason == "no_time_left":
                raise
            # Even when the sign-in may have left: the message was not in it.
            message = f"Cequens could not be reached to sign in ({error.reason.replace('_', ' ')})."
            raise ProviderRefused(unavailable(message=message, reason="sign_in_failed")) from None
        token = _member(_member(reply.object, "data"), "access_token")
        is_usable = isinstance(token, str) and _TOKEN.fullmatch(token)
        if not reply.is_success or _code(reply) or not is_usable:
            raise self.refuse(_without_token(reply), self._read_no_token(reply))
        return str(token)

    def _read_no_token(self, reply: Reply) -> Result:
        """Say why there is no token. Whatever it is, the message was not handed over."""
        code = _code(reply)
        if reply.status in (403, 429):
            return self.by_status(reply, code=code)
        if (400 <= reply.status < 500 and not reply.is_fault) or (reply.is_success and code):
            # Not for the message, whatever the code: another app may well send it.
            return self.by_meaning(SIGN_IN_ERRORS[GENERAL], said=_said(reply), code=code)
        message = f"Signing in to Cequens failed (HTTP {reply.status})."
        return unavailable(message=message, reason="sign_in_failed", code=code)

    # --- sending and asking --------------------------------------------------------------------------------

    def build_send(self, sms: Sms) -> requests.Request:
        body: dict[str, Any] = {
            "messageText": sms.text,
            "senderName": bare_sender(self.sender_for(sms)),
            "messageType": "unicode" if sms.is_ucs2 else "text",
            "recipients": msisdn(sms.recipient),  # text, of several numbers too
        }
        if sms.reference:
            body["clientMessageId"] = self.reference_for(sms)
        return requests.Request("POST", self.url("/sms/v1/messages"), json=body)

    def read_send(self, reply: Reply) -> Result:
        body = reply.object
        data = _member(body, "data")
        code, ids, is_refused = as_code(_member(body, "replyCode")), _ids(data), _has_invalid_recipients(data)
        if reply.is_success and ids and (is_refused or code not in ("", ACCEPTED) or _code(reply)):
            return self.contradictory(ids[0], code=_code(reply))
        if not reply.is_success or code != ACCEPTED:
            return self.read_refusal(reply)
        if ids:
            return accepted(ids[0])
        if is_refused:
            return rejected(Fault.RECIPIENT, "Cequens does not accept the number.")
        twins_id = as_code(_member(_member(body, "requestStatus"), "RequestID"))
        if twins_id and _member(data, "SentSMSIDs") is None and not _code(reply):
            return accepted(twins_id)  # as one plug-in for Deewan has it
        return self.unreadable(reply)

    def read_refusal(self, reply: Reply) -> Result:
        code, said = _code(reply), _said(reply)
        if reply.is_turned_away or reply.is_fault:
            return self.by_status(reply, code=code)
        if code == GENERAL:
            return self.by_text(said, TEXTS, code=code) or self.by_meaning(ERRORS[code], said=said, code=code)
        if code:
            return self.by_code(code, reply, said=said)
        if as_code(_member(reply.object, "replyCode")) == ACCEPTED:  # to a question, or under a contrary status
            return self.unreadable(reply)
        return self.by_status(reply)

    def fetch_balance(self, budget: Budget) -> Balance:
        reply = self.ask(requests.Request("GET", self.url("/sms/v1/account/balance")), budget)
        account = _member(_member(reply.object, "data"), "Account")
        amount = as_decimal(_member(account, "Credit"))
        if not reply.is_success or _code(reply) or amount is None:
            raise self.refuse(reply)
        return Balance(amount, unit=noop("credits"))  # whose currency is in the contract only


# --- tokens --------------------------------------------------------------------------------------------------------


class _Session:
    """The tokens of one account, the newest first. Those before it are still masked in what calls under way keep."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # of the thread that signs in
        self.tokens: tuple[str, ...] = ()

    def newest(self) -> str:
        """Return the newest token, empty when there is none."""
        return next(iter(self.tokens), "")

    def usable(self) -> str:
        """Return the newest token, empty when there is none or it ends soon."""
        token = self.newest()
        return token if token and time.time() < expires_at(token) - RENEW_BEFORE else ""

    def keep(self, token: str) -> None:
        self.tokens = (token, *self.tokens)[:3]


# By a digest of the account, in this process and nowhere else. The one that was used last stands last.
_sessions: dict[str, _Session] = {}
_sessions_lock = threading.Lock()


def _session_of(account: str) -> _Session:
    with _sessions_lock:
        _sessions[account] = session = _sessions.pop(account, None) or _Session()
        while len(_sessions) > MAX_SESSIONS:
            del _sessions[next(iter(_sessions))]
        return session


def expires_at(token: str) -> float:
    """Return when a token ends, in seconds since 1970, by its own word; infinity when it is no JWT or says nothing."""
    try:
        claims = token.split(".")[1]
        decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except (IndexError, ValueError, RecursionError):
        return math.inf
    ends = as_decimal(_member(decoded, "exp"))
    return math.inf if ends is None else float(ends)


def _bearing(token: str, request: requests.Request) -> requests.Request:
    request.headers = {**(request.headers or {}), "Authorization": f"Bearer {token}"}
    return request


def _without_token(reply: Reply) -> Reply:
    """Return what may be kept of the answer to a sign-in: of a success, which may hold a token, only code and words."""
    if not reply.is_success:
        return reply
    kept = json.dumps({"replyCode": _code(reply), "error": {"description": _said(reply)}})
    return replace(reply, body=kept.encode(), is_cut=False, charset=None)


# --- reading answers -----------------------------------------------------------------------------------------------


def _member(value: Any, name: str) -> Any:
    """Return a member of a JSON object by its name in any case; None when there is none, or it is no object."""
    if not isinstance(value, dict):
        return None
    return next((item for key, item in value.items() if key.lower() == name.lower() and item is not None), None)


def _code(reply: Reply) -> str:
    """Return the code that says why, empty when there is none: of several, one that is known, and at last -1."""
    body = reply.object
    found = [_member(body, "replyCode")]
    found += map(_inner_code, as_list(_member(_member(body, "error"), "internalErrors")))
    found += map(_inner_code, as_list(_member(body, "errors")))  # as one plug-in for Deewan has it
    codes = [code for code in map(as_code, found) if code not in ("", ACCEPTED)]
    known = [code for code in codes if code in ERRORS and code != GENERAL]
    general = [code for code in codes if code == GENERAL]
    return next(iter(known + general + codes), "")


def _inner_code(item: Any) -> Any:
    """Return the code of one inner error: an object, or a pair of code and text."""
    return next(iter(item), None) if isinstance(item, list) else _member(item, "code")


def _said(reply: Reply) -> str:
    """Return the provider's words."""
    body = reply.object
    for text in (_member(_member(body, "error"), "description"), _member(body, "replyMessage")):
        if isinstance(text, str) and text.strip():
            return text.strip()
    return ""


def _ids(data: Any) -> list[str]:
    """Return the ids of `SentSMSIDs`: of objects, as documented, or bare."""
    items = as_list(_member(data, "SentSMSIDs"))
    ids = [as_code(_member(item, "SMSId") if isinstance(item, dict) else item) for item in items]
    return [message_id for message_id in ids if message_id]


def _has_invalid_recipients(data: Any) -> bool:
    """Whether `InvalidRecipients`, a text of numbers or a list, is filled."""
    given = _member(data, "InvalidRecipients")
    return any(str(item or "").strip() for item in as_list(given) or as_code(given or "").split(","))
