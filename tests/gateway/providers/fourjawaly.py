"""4Jawaly SMS: JSON and Basic authentication in, HTTP statuses, keys and Arabic texts out."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.gateway.providers.base import SENDERS, UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164, parts

DONE = "تمت العملية بنجاح"
NUMBER = "966500000001"
PAGE = "<!doctype html><title>403 Forbidden</title>"

# 4Jawaly publishes no codes: these names are ours, for scripts. HTTP status and body are what it answers, the text of
# a 401 or 403 excepted, which nobody has published.
REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "recipient": (200, {"messages": [{"err_text": "لا يوجد ارقام متاحة"}]}),
    "balance": (200, {"messages": [{"err_text": "لا يوجد رصيد كافي"}]}),
    "package": (200, {"messages": [{"err_text": "لا يوجد باقة فعالة"}]}),
    "other": (200, {"messages": [{"err_text": "حدث خطأ"}]}),
    "sender": (
        400,
        {"code": 400, "message": "اسم المرسل غير موجود او لا تملك صلاحية", "not_senders": [UNKNOWN_SENDER]},
    ),
    "token": (400, {"code": 400, "message": "التوكن منتهى او انة غير مفعل"}),
    "400": (400, {"code": 400, "message": "طلب غير صالح"}),
    "401": (401, {"code": 401, "message": "Unauthenticated."}),
    "403": (403, {"code": 403, "message": "Forbidden"}),
    "422 text": (422, {"messages": [{"text": ["حقل messages.0.text مطلوب."]}]}),
    "422 numbers": (422, {"messages": [{"numbers": ["حقل messages.0.numbers مطلوب."]}]}),
    "422 messages": (422, {"messages": [{"messages": ["حقل messages مطلوب."]}]}),
}
# The lists that a number may be in instead of being sent to.
LISTS: dict[str, Any] = {
    "error_numbers": {"number": NUMBER, "country": "SA", "error": "رقم غير صحيح"},
    "no_package": NUMBER,
    "has_more_iso_code": NUMBER,
}


class FourJawaly(Provider):
    slug = "fourjawaly-sms"
    default_credentials = {"api_key": "test-key", "api_secret": "test-secret"}

    def next_id(self) -> str:
        return f"3f0c1a52-0000-11ef-8000-{next(self._ids):012d}"

    def is_send(self, call: Call) -> bool:
        return call.path == "/api/v1/account/area/sms/send" and call.method == "POST"

    def is_authorized(self, call: Call) -> bool:
        pair = f"{self.credentials['api_key']}:{self.credentials['api_secret']}"
        return call.headers.get("authorization") == f"Basic {base64.b64encode(pair.encode()).decode()}"

    def unauthorized(self) -> Answer:
        return self.refused("401")

    def read_send(self, call: Call) -> Send:
        messages, shared = call.json.get("messages"), call.json.get("globals")
        # Several messages in one call are documented, and more than the journal can tell apart.
        if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
            raise Refusal("422 messages")
        fields = {**(shared if isinstance(shared, dict) else {}), **messages[0]}
        if not isinstance(fields.get("text"), str) or not fields["text"].strip():
            raise Refusal("422 text")
        if not isinstance(fields.get("numbers"), list) or not fields["numbers"]:
            raise Refusal("422 numbers")
        if not fields.get("sender") or fields["sender"] == UNKNOWN_SENDER:
            raise Refusal("sender")
        numbers = [number for digits in fields["numbers"] if (number := e164(str(digits)))]
        if not numbers:
            raise Refusal("recipient")
        return Send(numbers, fields["text"], fields["sender"], fields=dict(call.json))

    def accepted(self, send: Send, message_id: str) -> Answer:
        taken = [number.removeprefix("+") for number in send.numbers]
        given = [str(number) for number in send.fields["messages"][0]["numbers"]]
        wrong = [LISTS["error_numbers"] | {"number": number} for number in given if number not in taken]
        return _done(**_inserted(message_id, len(taken), send.text, send.sender, error_numbers=wrong))

    def refused(self, code: str) -> Answer:
        if code == "firewall":
            return Answer(403, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        if code in LISTS:
            return _done(**_inserted(self.next_id(), 0, "Hello", SENDERS[0], **{code: [LISTS[code]]}))
        status, body = REFUSALS.get(code, (400, {"code": 400, "message": code}))
        return _escaped(status, body)

    def throttled(self) -> Answer:
        return Answer(429, {"code": 429, "message": "Too Many Attempts."})

    def question(self, call: Call) -> Answer:
        if call.method == "GET" and call.path == "/api/v1/account/area/me/packages":
            package = {
                "id": 1,
                "package_points": 1000,
                "current_points": 985,
                "expire_at": "2027-01-29T21:00:00.000000Z",
            }
            return _done(total_balance=985, items=_listed(call, [package]))
        if call.method == "GET" and call.path == "/api/v1/account/area/senders":
            senders = [_sender(id, name, status=1) for id, name in enumerate(SENDERS, 2000)]
            senders.append(_sender(2900, "NewOne", status=0))
            if call.query.get("status") == "1":
                senders = [sender for sender in senders if sender["status"] == 1]
            return _done(items=_listed(call, senders))
        return super().question(call)


def _escaped(status: int, body: dict[str, Any]) -> Answer:
    """Return an answer whose Arabic is written in escapes, so that it is the same in any charset."""
    return Answer(status, json.dumps(body), {"Content-Type": "application/json"})


def _done(**fields: Any) -> Answer:
    return _escaped(200, {**fields, "code": 200, "message": DONE})


def _inserted(job_id: str, count: int, text: str, sender: str, **lists: Any) -> dict[str, Any]:
    """Return the body of a send that was read, with the numbers that were not taken in `lists`."""
    message = {
        "id": 50_000_000 + int(job_id[-12:]),
        "job_id": job_id,
        "account_id": 1000,
        "approve_status": 3,
        "webhook": None,
        "text": text,
        "sender_id": 2000,
        "sender_name": sender,
        "encoding": "GSM_7BIT" if text.isascii() else "UCS2",
        "length": len(text),
        "messages": parts(text),
        "send_at": None,
        "created_at": "2026-01-18T10:45:30.000000Z",
        "updated_at": "2026-01-18T10:45:30.000000Z",
    }
    named = {"no_package": [], "has_more_iso_code": [], **{key: numbers for key, numbers in lists.items() if numbers}}
    return {"job_id": job_id, "messages": [{"inserted_numbers": count, "message": message, **named}]}


def _sender(id: int, name: str, *, status: int) -> dict[str, Any]:
    return {"id": id, "sender_name": name, "status": status, "is_default": 0, "is_ad": int(name.endswith("-AD"))}


def _listed(call: Call, items: list[Any]) -> Any:
    """Return the page that was asked for: a plain list with `return_collection=1`, else an object around it."""
    page, size = int(call.query.get("page") or 1), int(call.query.get("page_size") or 15)
    found = items[(page - 1) * size : page * size]
    if call.query.get("return_collection") == "1":
        return found
    return {"current_page": page, "data": found, "last_page": max(-(-len(items) // size), 1)}
