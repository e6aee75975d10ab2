"""Msegat: credentials in every body, HTTP 200 with a code in the body out; the balance is plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.gateway.providers.base import SENDERS, UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164

MESSAGES = {
    "M0001": "Variables missing",
    "M0002": "Invalid login info",
    "M0034": "Request must be POST",
    "1050": "Message body is empty",
    "1060": "Balance is not enough",
    "1061": "Message duplicated",
    "1064": "Free OTP, invalid message content",
    "1110": "Sender name is missing or incorrect",
    "1120": "Mobile number is not correct",
    "1140": "Message length is too long",
}
# The senders that everybody may test with, for texts such as these only.
FREE_SENDERS = ("auth-mseg", "OTP")
FREE_TEXT = re.compile("(Pin Code is|Verification Code|رمز التحقق): [0-9]+")


class Msegat(Provider):
    slug = "msegat-sms"
    default_credentials = {"user_name": "demo", "api_key": "test-key"}

    def next_id(self) -> str:
        return str(700_000_000 + next(self._ids))

    def is_send(self, call: Call) -> bool:
        return call.path == "/gw/sendsms.php" and call.method == "POST"

    def is_authorized(self, call: Call) -> bool:
        fields = self._fields(call)
        return (fields.get("userName"), fields.get("apiKey")) == (
            self.credentials["user_name"],
            self.credentials["api_key"],
        )

    def unauthorized(self) -> Answer:
        return self.refused("M0002")

    def read_send(self, call: Call) -> Send:
        fields = self._fields(call)
        # `numbers` is text as well: the list belongs to `sendVars.php`.
        if not all(isinstance(fields.get(name), str) for name in ("numbers", "userSender", "msg")):
            raise Refusal("M0001")
        text, sender = fields["msg"], fields["userSender"]
        if not text:
            raise Refusal(1050)
        if not sender or sender == UNKNOWN_SENDER:
            raise Refusal(1110)
        if sender in FREE_SENDERS and not FREE_TEXT.fullmatch(text):
            raise Refusal(1064)
        numbers = [number for digits in fields["numbers"].split(",") if (number := e164(digits))]
        if not numbers:
            raise Refusal(1120)
        if fields.get("reqFilter") not in ("false", False):
            numbers = list(dict.fromkeys(numbers))
        scheduled = fields.get("exactTime", "") if fields.get("timeToSend") == "later" else ""
        return Send(numbers, text, sender, scheduled, dict(fields))

    def accepted(self, send: Send, message_id: str) -> Answer:
        body = {"code": "1", "message": "Success"}
        if send.fields.get("reqBulkId") in ("true", True):
            body["bulk_id"] = message_id
        return Answer(200, body)

    def refused(self, code: str) -> Answer:
        return Answer(200, {"code": code, "message": MESSAGES.get(code, "")})

    def question(self, call: Call) -> Answer:
        if call.path == "/gw/Credits.php" and call.method == "POST":
            return Answer(200, "3042.00", {"Content-Type": "text/html; charset=UTF-8"})
        if call.path == "/gw/senders.php" and call.method == "POST":
            senders = [{"SenderID": name, "Status": "Activated"} for name in SENDERS]
            return Answer(200, [*senders, {"SenderID": "OldName", "Status": "Refused"}])
        if call.path == "/gw/sendsms.php":
            return self.refused("M0034")
        return super().question(call)

    @staticmethod
    def _fields(call: Call) -> Mapping[str, Any]:
        return call.json or call.form or call.query
