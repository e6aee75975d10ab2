"""Infobip SMS: JSON and a key in; entries with a status in HTTP 200, or errors with an HTTP status, out.

A `messageId` may come again here, or the journal could not show what was sent twice. The logs show what was taken, as
delivered, and what `verdicts` names with the id of a status.
"""

from __future__ import annotations

import re
from typing import Any

from tests.gateway.journal import Entry
from tests.gateway.providers.base import UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164, parts

# Status id: group, the group's name and the status's.
STATUSES = {
    "26": (1, "PENDING", "PENDING_ACCEPTED"),
    "2": (3, "DELIVERED", "DELIVERED_TO_OPERATOR"),
    "5": (3, "DELIVERED", "DELIVERED_TO_HANDSET"),
    "4": (2, "UNDELIVERABLE", "UNDELIVERABLE_REJECTED_OPERATOR"),
    "9": (2, "UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED"),
    "31": (2, "UNDELIVERABLE", "UNDELIVERABLE_NOT_SENT"),
    "15": (4, "EXPIRED", "EXPIRED_EXPIRED"),
    "29": (4, "EXPIRED", "EXPIRED_DLR_UNKNOWN"),
    "6": (5, "REJECTED", "REJECTED_NETWORK"),
    "8": (5, "REJECTED", "REJECTED_PREFIX_MISSING"),
    "10": (5, "REJECTED", "REJECTED_DND"),
    "11": (5, "REJECTED", "REJECTED_SOURCE"),
    "12": (5, "REJECTED", "REJECTED_NOT_ENOUGH_CREDITS"),
    "13": (5, "REJECTED", "REJECTED_SENDER"),
    "14": (5, "REJECTED", "REJECTED_DESTINATION"),
    "17": (5, "REJECTED", "REJECTED_PREPAID_PACKAGE_EXPIRED"),
    "18": (5, "REJECTED", "REJECTED_DESTINATION_NOT_REGISTERED"),
    "19": (5, "REJECTED", "REJECTED_ROUTE_NOT_AVAILABLE"),
    "20": (5, "REJECTED", "REJECTED_FLOODING_FILTER"),
    "21": (5, "REJECTED", "REJECTED_SYSTEM_ERROR"),
    "23": (5, "REJECTED", "REJECTED_DUPLICATE_MESSAGE_ID"),
    "24": (5, "REJECTED", "REJECTED_INVALID_UDH"),
    "25": (5, "REJECTED", "REJECTED_MESSAGE_TOO_LONG"),
    "51": (5, "REJECTED", "MISSING_TO"),
    "52": (5, "REJECTED", "REJECTED_DESTINATION"),
    "87": (5, "REJECTED", "SIGNALS_BLOCKED"),
    "100": (5, "REJECTED", "UNDELIVERABLE_REJECTED_PLATFORM"),
}
# Error code: HTTP status and description.
ERRORS = {
    "E400": (400, "Request cannot be processed."),
    "E401": (401, "The request lacks valid authentication credentials for the requested resource."),
    "E403": (403, "The request may not be made with this key."),
    "E404": (404, "There is no such resource."),
    "E429": (429, "Too many requests sent."),
    "E500": (500, "Something went wrong."),
}
# The older shape: HTTP status and text.
OLDER = {
    "BAD_REQUEST": (400, "Bad request"),
    "UNAUTHORIZED": (401, "Invalid login details"),
    "FORBIDDEN": (403, "Forbidden"),
    "NOT_FOUND": (404, "Not found"),
    "TOO_MANY_REQUESTS": (429, "Too many requests"),
    "GENERAL_ERROR": (500, "Something went wrong"),
}
# What is wrong with a request that gets E400, by a name of ours for scripts.
VIOLATIONS = {
    "messages": ("messages", "must not be empty"),
    "destinations": ("messages[0].destinations", "must not be empty"),
    "to": ("messages[0].destinations[0].to", "size must be between 0 and 64"),
    "messageId": ("messages[0].destinations[0].messageId", "size must be between 0 and 200"),
    "sender": ("messages[0].sender", "must not be blank"),
    "content": ("messages[0].content", "must not be null"),
    "schedule": ("options.schedule.sendAt", "must match yyyy-MM-dd'T'HH:mm:ss.SSSZ"),
    "bulkId": ("options.schedule.bulkId", "size must be between 0 and 100"),
}

_SENDER = re.compile(r"[0-9]+|.{1,11}")
_SEND_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}")
_NUMBERS = [("447860041117", ["SMS", "VOICE"]), ("447860041118", ["VOICE"]), ("447860041119", ["SMS"])]


class Infobip(Provider):
    slug = "infobip-sms"
    default_credentials = {"api_key": "test-key"}

    def next_id(self) -> str:
        return f"2250be2d4219-3af1-78856-aabe-{next(self._ids):012x}"

    def id_for(self, send: Send) -> str:
        """Return the caller's own id if there is one: Infobip takes it for the message's."""
        return str(_destination(send.fields).get("messageId") or self.next_id())

    def is_send(self, call: Call) -> bool:
        return call.path == "/sms/3/messages" and call.method == "POST"

    def is_authorized(self, call: Call) -> bool:
        return call.headers.get("authorization") == f"App {self.credentials['api_key']}"

    def unauthorized(self) -> Answer:
        return self.refused("E401")

    def read_send(self, call: Call) -> Send:
        message = _first(call.json.get("messages"), "messages")
        destination = _first(message.get("destinations"), "destinations")
        to, sender = str(destination.get("to") or ""), str(message.get("sender") or "")
        if len(to) > 64:
            raise Refusal("to")
        if len(str(destination.get("messageId") or "")) > 200:
            raise Refusal("messageId")
        if not sender:
            raise Refusal("sender")
        text = _object(message.get("content")).get("text")
        if not isinstance(text, str) or not text:
            raise Refusal("content")
        options = _object(call.json.get("options"))
        schedule = _object(options.get("schedule"))
        scheduled = str(schedule.get("sendAt") or "")
        if schedule and not _SEND_AT.fullmatch(scheduled):
            raise Refusal("schedule")
        if len(str(schedule.get("bulkId") or "")) > 100:
            raise Refusal("bulkId")
        # From here on the request is good, and the message itself is refused.
        if not to:
            raise Refusal(51)
        number = e164(to)
        if number is None:
            raise Refusal(52)
        if sender == UNKNOWN_SENDER or not _SENDER.fullmatch(sender):
            raise Refusal(11)
        if parts(text) > 25:
            raise Refusal(25)
        return Send([number], text, sender, scheduled, dict(call.json))

    def accepted(self, send: Send, message_id: str) -> Answer:
        options = _object(send.fields.get("options"))
        entry = _entry(message_id, 1, "PENDING", 26, "PENDING_ACCEPTED", _destination(send.fields)["to"])
        if options.get("includeSmsCountInResponse") is True:
            entry["details"] = {"messageCount": parts(send.text)}
        bulk_id = _object(options.get("schedule")).get("bulkId") or "2034072219640523072"
        return Answer(200, {"bulkId": bulk_id, "messages": [entry]})

    def refused(self, code: str) -> Answer:
        if code in OLDER:
            status, text = OLDER[code]
            return Answer(status, {"requestError": {"serviceException": {"messageId": code, "text": text}}})
        if code in VIOLATIONS:
            broken, rule = VIOLATIONS[code]
            return _error("E400", violations=[{"property": broken, "violation": rule}])
        if code in ERRORS or not code.isdigit():
            return _error(code)
        group, group_name, name = STATUSES.get(code, (5, "REJECTED", "REJECTED"))
        entry = _entry(self.next_id(), group, group_name, int(code), name)
        return Answer(200, {"bulkId": "2034072219640523073", "messages": [entry]})

    def throttled(self) -> Answer:
        return self.refused("E429")

    def question(self, call: Call) -> Answer:
        if call.method == "GET" and call.path == "/account/1/balance":
            return Answer(200, {"balance": 47.79134, "currency": "EUR"})
        if call.method == "GET" and call.path == "/numbers/1/numbers":
            size, page = int(call.query.get("limit", 50)), int(call.query.get("page", 0))
            numbers = [_owned(*number) for number in _NUMBERS[page * size :][:size]]
            return Answer(200, {"numbers": numbers, "numberCount": len(_NUMBERS)})
        if call.method == "GET" and call.path == "/sms/3/logs":
            return Answer(200, {"results": self._logged(call)})
        return self.refused("E404")

    def _logged(self, call: Call) -> list[dict[str, Any]]:
        """Return the entries of the logs that the query asks for, the latest first."""
        wanted = call.query.get("messageId")
        found = []
        for entry in self.journal.of(self.slug):
            message_id = str(_destination(entry.fields).get("messageId") or entry.provider_id)
            status = self.verdicts.get(message_id, "5" if entry.is_accepted else "")
            if status and wanted in (None, message_id):
                found.append(_log(entry, message_id, status))
        return found[::-1][: int(call.query.get("limit", 50))]


def _entry(
    message_id: str, group: int, group_name: str, status_id: int, name: str, destination: str = ""
) -> dict[str, Any]:
    description = name.replace("_", " ").capitalize()
    status = {"groupId": group, "groupName": group_name, "id": status_id, "name": name, "description": description}
    return {"messageId": message_id, "status": status, "destination": destination}


def _log(entry: Entry, message_id: str, status_id: str) -> dict[str, Any]:
    group, group_name, name = STATUSES[status_id]
    logged = _entry(message_id, group, group_name, int(status_id), name, entry.number.removeprefix("+"))
    at = "2026-01-02T03:04:05.000+0000"
    error = {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR", "description": "No Error"}
    return {
        **logged,
        "bulkId": "2034072219640523072",
        "sender": entry.sender,
        "sentAt": at,
        "doneAt": at,
        "messageCount": parts(entry.text),
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "error": {**error, "permanent": False},
        "content": {"text": entry.text},
    }


def _destination(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the first recipient of a send that has been read."""
    found: dict[str, Any] = fields["messages"][0]["destinations"][0]
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: Any, name: str) -> dict[str, Any]:
    """Return the first object of a list that must not be empty."""
    if not isinstance(value, list) or not value:
        raise Refusal(name)
    return _object(value[0])


def _error(code: str, violations: list[dict[str, str]] | None = None) -> Answer:
    status, description = ERRORS.get(code, (400, "Refused."))
    body = {"errorCode": code, "description": description, "action": "See the documentation."}
    return Answer(status, {**body, "violations": violations or [], "resources": []})


def _owned(number: str, capabilities: list[str]) -> dict[str, Any]:
    return {
        "numberKey": f"{int(number):032X}",
        "number": number,
        "country": "GB",
        "type": "VIRTUAL_LONG_NUMBER",
        "capabilities": capabilities,
        "shared": False,
    }
