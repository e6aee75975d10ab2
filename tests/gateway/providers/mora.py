"""Mora SMS: form fields in, HTTP 200 with codes in the body out."""

from __future__ import annotations

from typing import Any

from tests.gateway.providers.base import SENDERS, UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164

MESSAGES = {
    "100": "accepted",
    "105": "insufficient balance",
    "106": "sender not available",
    "107": "sender blocked",
    "108": "no valid number",
    "112": "prohibited word",
    "114": "account suspended",
    "115": "mobile not activated",
    "116": "e-mail not activated",
    "117": "empty message",
    "118": "empty sender",
    "119": "no numbers",
}


class Mora(Provider):
    slug = "mora-sms"
    default_credentials = {"api_key": "test-key", "username": "966500000000"}

    def next_id(self) -> str:
        return f"mr-{100_000 + next(self._ids)}"

    def is_send(self, call: Call) -> bool:
        return call.path == "/api/v1/sendsms" and call.method in ("GET", "POST")

    def is_authorized(self, call: Call) -> bool:
        fields = self._fields(call)
        return all(fields.get(name) == self.credentials[name] for name in ("api_key", "username"))

    def unauthorized(self) -> Answer:
        status = {"code": 401, "message": "Unauthorized", "error": "invalid credentials", "validation_errors": []}
        return Answer(401, {"status": status, "data": None})

    def read_send(self, call: Call) -> Send:
        fields = self._fields(call)
        if not fields.get("message"):
            raise Refusal(117)
        if not fields.get("sender"):
            raise Refusal(118)
        if not fields.get("numbers"):
            raise Refusal(119)
        if fields["sender"] == UNKNOWN_SENDER:
            raise Refusal(106)
        # Numbers with a plus, a local zero or spaces are dropped; with none left the whole is refused.
        numbers = [number for digits in fields["numbers"].split(",") if (number := e164(digits))]
        if not numbers:
            raise Refusal(108)
        return Send(numbers, fields["message"], fields["sender"], fields.get("datetime", ""), dict(fields))

    def accepted(self, send: Send, message_id: str) -> Answer:
        if send.fields.get("return") == "text":
            return Answer(200, "100")
        return self._envelope("100", ref_id=message_id, timestamp="2026-01-18T10:45:30Z")

    def refused(self, code: str) -> Answer:
        return self._envelope(code)

    def question(self, call: Call) -> Answer:
        if call.method == "GET" and call.path == "/api/v1/balance":
            return Answer(200, {"status": {"code": 200, "message": "Success"}, "data": {"balance": "1520"}})
        if call.method == "GET" and call.path == "/api/v1/sender_names":
            return Answer(200, {"status": {"code": 200}, "data": {"sender_names": SENDERS}})
        return super().question(call)

    @staticmethod
    def _fields(call: Call) -> dict[str, str]:
        return dict(call.form if call.method == "POST" else call.query)

    @staticmethod
    def _envelope(code: str, **data: Any) -> Answer:
        status = {"code": 200, "message": "Success", "error": None, "validation_errors": []}
        return Answer(200, {"status": status, "data": {"code": int(code), "message": MESSAGES.get(code, ""), **data}})
