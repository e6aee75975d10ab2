"""Cequens SMS: a bearer token, of the console or from a sign-in, and `replyCode` in every JSON answer."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

from tests.gateway.providers.base import UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164, parts

SIGN_IN = ("/auth/v1/tokens/", "/auth/v1/tokens", "/auth/v1/signin")  # the last one is Deewan's
MESSAGES = {
    "-1": "Request failed",
    "-6": "No valid recipients",
    "-8": "Invalid message type",
    "-9": "Empty message text",
    "-12": "Invalid sender name",
    "-13": "Invalid flashing",
    "-14": "Invalid acknowledgement",
    "-15": "Invalid validity period",
    "-16": "Invalid delivery time",
    "-17": "Not enough credits",
    "-41": "Message exceeds 20 parts",
}
# What `text` can carry; anything else has to be sent as `unicode`.
GSM7 = re.compile(r"[ -_a-~\n\r\f£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà€]*")


class Cequens(Provider):
    """`tokens` are those that it lets in: the console's, and one for each sign-in until the test takes it out."""

    slug = "cequens-sms"
    default_credentials = {"access_token": "test-token", "api_key": "test-key", "username": "test-user"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.tokens = {self.credentials["access_token"]}
        self.token_lifetime = 3600  # seconds
        self.sign_ins = 0

    def next_id(self) -> str:
        return f"7a1b0000-0000-0000-0000-{next(self._ids):012x}"

    def is_send(self, call: Call) -> bool:
        return call.path == "/sms/v1/messages" and call.method == "POST"

    def is_authorized(self, call: Call) -> bool:
        if self._is_sign_in(call):
            return True  # it says itself who is not
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and token in self.tokens

    def unauthorized(self) -> Answer:
        return _failure(401, -1, "Unauthorized", "Invalid or expired token")

    def read_send(self, call: Call) -> Send:
        fields = call.json
        text, sender, kind = fields.get("messageText"), fields.get("senderName"), fields.get("messageType")
        if not isinstance(text, str) or not text:
            raise Refusal(-9)
        if not isinstance(sender, str) or not sender or sender == UNKNOWN_SENDER:
            raise Refusal(-12)
        if kind not in ("text", "unicode") or (kind == "text" and not GSM7.fullmatch(text)):
            raise Refusal(-8)
        if parts(text) > 20:
            raise Refusal(-41)
        reference = fields.get("clientMessageId", 0)
        if type(reference) is not int or not 0 <= reference < 2**31:
            raise Refusal(-1)
        numbers = [number for digits in _given(fields) if (number := e164(digits))]
        if not numbers:
            raise Refusal(-6)
        return Send(numbers, text, sender, str(fields.get("deliveryTime") or ""), dict(fields))

    def accepted(self, send: Send, message_id: str) -> Answer:
        taken = {number.removeprefix("+") for number in send.numbers}
        data = {
            "SentSMSIDs": [{"SMSId": message_id}],
            "InvalidRecipients": ",".join(digits for digits in _given(send.fields) if digits not in taken),
            "Errors": [],
        }
        return _success(data, send.fields.get("clientMessageId", 0))

    def refused(self, code: str) -> Answer:
        return _failure(400, int(code), MESSAGES.get(code, "Refused"))

    def question(self, call: Call) -> Answer:
        if self._is_sign_in(call):
            return self._signed_in(call)
        if call.method == "GET" and call.path == "/sms/v1/account/balance":
            account = {"UserName": self.credentials["username"], "Credit": 1250.5}
            return _success({"Account": account, "SubAccounts": []})
        return super().question(call)

    @staticmethod
    def _is_sign_in(call: Call) -> bool:
        return call.method == "POST" and call.path in SIGN_IN

    def _signed_in(self, call: Call) -> Answer:
        self.sign_ins += 1
        if (call.json.get("apiKey"), call.json.get("userName")) != (
            self.credentials["api_key"],
            self.credentials["username"],
        ):
            return _failure(400, -1, "Authentication failed", "Invalid API key or user name")
        token = _jwt({"sub": self.credentials["username"], "jti": self.sign_ins, "exp": self._end_of_a_token()})
        self.tokens.add(token)
        return _success({"access_token": token})

    def _end_of_a_token(self) -> int:
        return int(time.time()) + self.token_lifetime


def _given(fields: dict[str, Any]) -> list[str]:
    """Return the recipients as they were given, in a text; a list is not taken."""
    recipients = fields.get("recipients")
    return recipients.split(",") if isinstance(recipients, str) else []


def _success(data: dict[str, Any], reference: int = 0) -> Answer:
    return Answer(200, {"replyCode": 0, "replyMessage": "OK", **_envelope(reference), "data": data})


def _failure(status: int, code: int, message: str, description: str = "") -> Answer:
    description = description or message
    inner = [{"code": code, "details": description}] if code != -1 else []
    error = {"status": status, "description": description, "internalErrors": inner}
    return Answer(status, {"replyCode": code, "replyMessage": message, **_envelope(0), "error": error})


def _envelope(reference: int) -> dict[str, Any]:
    return {
        "requestId": "2e7f6d0a-0000-0000-0000-000000000001",
        "clientRequestId": reference,
        "requestTime": "2026-01-02T03:04:05Z",
    }


def _jwt(claims: dict[str, Any]) -> str:
    """Return an unsigned token, whose third part is empty."""
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "none"}, claims)]
    return ".".join(part.rstrip("=") for part in [*encoded, ""])
