"""Vonage SMS API: form fields with a secret or a signature in, HTTP 200 with a status for each part out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time

from tests.gateway.providers.base import UNKNOWN_SENDER, Answer, Call, Provider, Refusal, Send, e164, parts

MESSAGES = {
    "1": "Throughput Rate Exceeded - please wait [ 250 ] and retry",
    "2": "Missing {} param",
    "3": "Invalid value for param {}",
    "4": "Bad Credentials",
    "5": "Internal Error",
    "6": "Unroutable message - rejected",
    "7": "Number barred",
    "8": "Account barred",
    "9": "Quota Exceeded - rejected",
    "10": "Too many existing binds",
    "11": "Account not HTTP enabled",
    "12": "Message too long",
    "14": "Invalid Signature",
    "15": "Illegal Sender Address - rejected",
    "22": "Invalid Network Code",
    "23": "Invalid Callback Url",
    "29": "Non White-listed Destination - rejected",
    "32": "Signature And API Secret Disallowed",
    "33": "Number De-activated",
}
SENDER = re.compile("[0-9]{1,15}|[!-~]{1,11}")
MOST_CHARACTERS = 3200
FRESH = 300  # seconds
# GSM 03.38: the default alphabet, then its extension.
GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
    "^{}\\[~]|€\f"
)


class Vonage(Provider):
    slug = "vonage-sms"
    default_credentials = {
        "api_key": "abcd1234",
        "api_secret": "abcdef0123456789",
        "signature_secret": "my0signature1secret",
    }

    def next_id(self) -> str:
        return f"0A{next(self._ids):015X}"

    def is_send(self, call: Call) -> bool:
        return call.path == "/sms/json" and call.method == "POST"

    def is_authorized(self, call: Call) -> bool:
        # A send with wrong credentials is a status in HTTP 200 as everything else: `read_send` sees to it.
        return self.is_send(call) or self._has_secret(call)

    def unauthorized(self) -> Answer:
        return Answer(401, {"error-code": "401", "error-code-label": "authentication failed"})

    def read_send(self, call: Call) -> Send:
        form = call.form
        self._check_account(call)
        for name in ("from", "to", "text"):
            if not form.get(name):
                raise Refusal(f"2 {name}")
        number = e164(form["to"])
        if number is None:
            raise Refusal("3 to")
        if not SENDER.fullmatch(form["from"]):
            raise Refusal("3 from")
        if form["from"] == UNKNOWN_SENDER:
            raise Refusal(15)
        if len(form["text"]) > MOST_CHARACTERS:
            raise Refusal(12)
        if form.get("type", "text") not in ("text", "unicode"):
            raise Refusal("3 type")
        if len(form.get("client-ref", "")) > 40:
            raise Refusal("3 client-ref")
        text = form["text"]
        if form.get("type") != "unicode":
            text = "".join(character if character in GSM7 else "?" for character in text)
        return Send([number], text, form["from"], fields=dict(form))

    def accepted(self, send: Send, message_id: str) -> Answer:
        count = parts(send.text)
        ids = [message_id, *(self.next_id() for _ in range(count - 1))]
        entry = {
            "to": send.numbers[0].removeprefix("+"),
            "status": "0",
            "remaining-balance": "3.14159265",
            "message-price": "0.03330000",
            "network": "42001",
        }
        if send.fields.get("client-ref"):
            entry["client-ref"] = send.fields["client-ref"]
        messages = [{"message-id": part_id, **entry} for part_id in ids]
        return Answer(200, {"message-count": str(count), "messages": messages})

    def refused(self, code: str) -> Answer:
        """Answer no with a status; a 2 or 3 may name its parameter, such as `2 from`."""
        status, _, parameter = code.partition(" ")
        said = MESSAGES.get(status, "Refused").format(parameter)
        return Answer(200, {"message-count": "1", "messages": [{"status": status, "error-text": said}]})

    def question(self, call: Call) -> Answer:
        if call.method == "GET" and call.path == "/account/get-balance":
            return Answer(200, {"value": 10.28, "autoReload": False})
        if call.method == "GET" and call.path == "/account/numbers":
            if call.query.get("index", "1") != "1":
                return Answer(200, {})
            numbers = [_owned("447700900000", "VOICE", "SMS", "MMS"), _owned("447700900001", "VOICE")]
            return Answer(200, {"count": len(numbers), "numbers": numbers})
        return super().question(call)

    def _has_secret(self, call: Call) -> bool:
        """Whether key and secret come along, as fields or as Basic authentication."""
        account = (self.credentials["api_key"], self.credentials["api_secret"])
        fields = call.form if call.method == "POST" else call.query
        basic = base64.b64encode(":".join(account).encode()).decode()
        given = (fields.get("api_key"), fields.get("api_secret"))
        return given == account or call.headers.get("authorization") == f"Basic {basic}"

    def _check_account(self, call: Call) -> None:
        form = call.form
        if "sig" not in form:
            if not self._has_secret(call):
                raise Refusal(4)
            return
        if "api_secret" in form:
            raise Refusal(32)
        if form.get("api_key") != self.credentials["api_key"]:
            raise Refusal(4)
        stamp = form.get("timestamp", "")
        is_fresh = stamp.isdigit() and abs(time.time() - int(stamp)) < FRESH
        is_on = bool(self.credentials.get("signature_secret"))
        if not is_on or not is_fresh or form["sig"].lower() != self._signature(form):
            raise Refusal(14)

    def _signature(self, form: dict[str, str]) -> str:
        """Sign as documented, in words of its own: the adapter is what is tested with it."""
        signed = b""
        for name in sorted(form):
            if name != "sig":
                signed += f"&{name}={form[name].replace('&', '_').replace('=', '_')}".encode()
        secret = self.credentials.get("signature_secret", "").encode()
        method = self.credentials.get("signature_method", "md5hash")
        if method == "md5hash":
            return hashlib.md5(signed + secret).hexdigest()
        return hmac.new(secret, signed, method).hexdigest()


def _owned(number: str, *features: str) -> dict[str, object]:
    return {"country": "GB", "msisdn": number, "type": "mobile-lvn", "features": list(features)}
