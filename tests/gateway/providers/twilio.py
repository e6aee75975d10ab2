"""Twilio Programmable Messaging: form fields and Basic authentication in, JSON resources out."""

from __future__ import annotations

import base64
import re

from tests.gateway.providers.base import Answer, Call, Provider, Refusal, Send, parts

_TO = re.compile(r"\+[1-9][0-9]{7,14}")
_ACCOUNT = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]+)/(?P<rest>.+)")

# The HTTP status of codes that do not come with 400.
STATUSES = {
    "20003": 401, "20005": 401, "90010": 403, "20006": 403, "20403": 403, "20008": 403, "20404": 404, "20429": 429,
    "20500": 500, "20503": 503, "63017": 429, "63018": 429, "63038": 429,
}  # fmt: skip
MESSAGES = {
    "20003": "Authenticate",
    "20404": "The requested resource was not found",
    "20429": "Too Many Requests",
    "21211": "Invalid 'To' Phone Number",
    "21212": "Invalid 'From' Phone Number",
    "21602": "Message body is required",
    "21603": "A 'From' or 'MessagingServiceSid' is required",
    "21604": "A 'To' phone number is required",
    "21610": "Attempt to send to unsubscribed recipient",
    "21617": "The message body exceeds the 1600 character limit",
}
# Twilio's fixed test numbers.
FROM_CODES = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
TO_CODES = {
    "+15005550001": 21211, "+15005550002": 21612, "+15005550003": 21408, "+15005550004": 21610, "+15005550009": 21614,
}  # fmt: skip


class Twilio(Provider):
    slug = "twilio-sms"
    default_credentials = {
        "account_sid": "AC00000000000000000000000000000001",
        "auth_token": "0123456789abcdef0123456789abcdef",
        "api_key_sid": "SK00000000000000000000000000000001",
        "api_key_secret": "test-key-secret",
    }

    def next_id(self) -> str:
        return f"SM{next(self._ids):032x}"

    def is_send(self, call: Call) -> bool:
        match = _ACCOUNT.fullmatch(call.path)
        return call.method == "POST" and match is not None and match["rest"] == "Messages.json"

    def is_authorized(self, call: Call) -> bool:
        pairs = [("account_sid", "auth_token"), ("api_key_sid", "api_key_secret")]
        known = [
            base64.b64encode(f"{self.credentials[user]}:{self.credentials[password]}".encode()).decode()
            for user, password in pairs
            if self.credentials.get(user) and self.credentials.get(password)
        ]
        return call.headers.get("authorization", "").removeprefix("Basic ") in known

    def unauthorized(self) -> Answer:
        return self.refused("20003")

    def read_send(self, call: Call) -> Send:
        self._check_account(call)
        form = call.form
        to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
        if not to:
            raise Refusal(21604)
        if not sender and not service:
            raise Refusal(21603)
        if not form.get("Body"):
            raise Refusal(21602)
        if len(form["Body"]) > 1600:
            raise Refusal(21617)
        if sender in FROM_CODES:
            raise Refusal(FROM_CODES[sender])
        if to in TO_CODES:
            raise Refusal(TO_CODES[to])
        if not _TO.fullmatch(to):
            raise Refusal(21211)
        scheduled = ""
        if service and form.get("ScheduleType"):  # without a service both parameters are ignored
            if form["ScheduleType"] != "fixed" or not form.get("SendAt"):
                raise Refusal(35111)
            scheduled = form["SendAt"]
        return Send([to], form["Body"], sender or service, scheduled, dict(form))

    def accepted(self, send: Send, message_id: str) -> Answer:
        account, service = self.credentials["account_sid"], send.fields.get("MessagingServiceSid")
        uri = f"/2010-04-01/Accounts/{account}/Messages/{message_id}"
        status = "scheduled" if send.scheduled else "accepted" if service else "queued"
        body = {
            "account_sid": account,
            "api_version": "2010-04-01",
            "body": send.text,
            "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
            "date_sent": None,
            "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000",
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": send.fields.get("From") or None,
            "messaging_service_sid": service or None,
            "num_media": "0",
            "num_segments": "0" if service else str(parts(send.text)),
            "price": None,
            "price_unit": None if service else "USD",
            "sid": message_id,
            "status": status,
            "to": send.numbers[0],
            "uri": f"{uri}.json",
            "subresource_uris": {"media": f"{uri}/Media.json"},
        }
        return Answer(201, body)

    def refused(self, code: str) -> Answer:
        status = STATUSES.get(code, 400)
        more = f"https://www.twilio.com/docs/errors/{code}"
        body = {"code": int(code), "message": MESSAGES.get(code, "Refused"), "more_info": more, "status": status}
        return Answer(status, body)

    def throttled(self) -> Answer:
        refused = self.refused("20429")
        return Answer(429, refused.body, {"Twilio-Concurrent-Requests": "100"})

    def question(self, call: Call) -> Answer:
        if call.method != "GET":
            return super().question(call)
        if call.path == "/v1/Services":
            services = [{"sid": "MG00000000000000000000000000000001", "friendly_name": "MyBrand"}]
            return Answer(200, {"services": services, "meta": {"key": "services", "next_page_url": None}})
        match = _ACCOUNT.fullmatch(call.path)
        if match is None or match["account"] != self.credentials["account_sid"]:
            return self.refused("20404")
        account = match["account"]
        if match["rest"] == "Balance.json":
            return Answer(200, {"account_sid": account, "balance": "12.3400", "currency": "USD"})
        if match["rest"] == "IncomingPhoneNumbers.json":
            numbers = [_owned("+15005550006", sms=True), _owned("+15005550010", sms=False)]
            return Answer(200, {"incoming_phone_numbers": numbers, "next_page_uri": None})
        if match["rest"] == "SMS/ShortCodes.json":
            codes = [{"short_code": "12345", "friendly_name": "12345"}]
            return Answer(200, {"short_codes": codes, "next_page_uri": None})
        return self.refused("20404")

    def _check_account(self, call: Call) -> None:
        match = _ACCOUNT.fullmatch(call.path)
        if match is None or match["account"] != self.credentials["account_sid"]:
            raise Refusal(20404)


def _owned(number: str, *, sms: bool) -> dict[str, object]:
    capabilities = {"voice": True, "sms": sms, "mms": False, "fax": False}
    sid = f"PN{int(number[1:]):032x}"
    return {"sid": sid, "phone_number": number, "friendly_name": number, "capabilities": capabilities}
