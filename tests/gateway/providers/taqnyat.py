"""Taqnyat SMS: JSON and a bearer token; the HTTP status and a short text are the outcome."""

from __future__ import annotations

from tests.gateway.providers.base import SENDERS, UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164, parts

# Taqnyat publishes no codes: these names are ours, for scripts. HTTP status and text are what it answers.
REFUSALS = {
    "balance": (400, "your balance is not enough"),
    "sender": (400, "sender name is not active"),
    "recipient": (400, "mobile number is not valid"),
    "account": (400, "account restriction"),
    "content": (400, "message body is required"),
    "other": (400, "bad request"),
    "401": (401, "invalid credentials information"),
    "403": (403, "your IP is not allowed"),
    "405": (405, "method not allowed"),
}


class Taqnyat(Provider):
    slug = "taqnyat-sms"
    default_credentials = {"bearer_token": "test-token"}

    def next_id(self) -> str:
        return str(5_400_000_000 + next(self._ids))

    def is_send(self, call: Call) -> bool:
        return call.path == "/v1/messages" and call.method == "POST"

    def is_authorized(self, call: Call) -> bool:
        return call.headers.get("authorization") == f"Bearer {self.credentials['bearer_token']}"

    def unauthorized(self) -> Answer:
        return self.refused("401")

    def read_send(self, call: Call) -> Send:
        fields = call.json
        recipients = fields.get("recipients")
        if isinstance(recipients, str):
            recipients = recipients.split(",")
        if not isinstance(recipients, list) or not recipients:
            raise Refusal("recipient")
        if not fields.get("body"):
            raise Refusal("content")
        if not fields.get("sender") or fields["sender"] == UNKNOWN_SENDER:
            raise Refusal("sender")
        numbers = [number for digits in recipients if (number := e164(str(digits)))]
        if not numbers:
            raise Refusal("recipient")
        return Send(numbers, fields["body"], fields["sender"], str(fields.get("scheduledDatetime") or ""), dict(fields))

    def accepted(self, send: Send, message_id: str) -> Answer:
        given = send.fields["recipients"]
        given = given.split(",") if isinstance(given, str) else [str(number) for number in given]
        taken = [number.removeprefix("+") for number in send.numbers]
        body = {
            "statusCode": 201,
            "messageId": int(message_id),
            "cost": 0.026,
            "currency": "SAR",
            "totalCount": len(taken),
            "msgLength": parts(send.text),
            "accepted": _list(taken),
            "rejected": _list([number for number in given if number not in taken]),
        }
        return Answer(201, body)

    def refused(self, code: str) -> Answer:
        status, message = REFUSALS.get(code, (400, code))
        return Answer(status, {"statusCode": status, "message": message})

    def throttled(self) -> Answer:
        return Answer(429, {"statusCode": 429, "message": "too many requests"})

    def question(self, call: Call) -> Answer:
        if call.method == "GET" and call.path == "/account/balance":
            body = {
                "statusCode": 200,
                "accountStatus": "active",
                "accountExpiryDate": "31-12-2026",
                "balance": "1250.500",
                "currency": "SAR",
            }
            return Answer(200, body)
        if call.method == "GET" and call.path == "/v1/messages/senders":
            senders = [{"senderName": name, "status": "active", "destination": "SA"} for name in SENDERS]
            senders.append({"senderName": "Old", "status": "inactive", "destination": "SA"})
            return Answer(200, {"statusCode": 201, "senders": senders})
        if call.method == "GET" and call.path == "/system/status":
            return Answer(200, {"statusCode": 200, "status": {"service": "none", "description": ""}})
        if call.path == "/v1/messages":
            return self.refused("405")
        return super().question(call)


def _list(numbers: list[str]) -> str:
    """A list as Taqnyat writes it: a string that looks like an array, with a comma too many."""
    return "[" + "".join(f"{number}," for number in numbers) + "]"
