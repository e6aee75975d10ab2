"""Twilio Programmable Messaging, API 2010-04-01 (twilio.com/docs and the OpenAPI document in twilio/twilio-oai, read
2026-04).

Twilio can hold a message only for a Messaging Service: with `From` alone it ignores the time and sends at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

from sms_providers.adapters.base import (
    MAX_PAGES,
    Balance,
    Capabilities,
    NotOffered,
    ProviderAdapter,
    ProviderRefused,
    Sms,
)
from sms_providers.adapters.credentials import SENDER_ID, SENDER_ID_HELP, CredentialField, secret_key
from sms_providers.adapters.wire import as_code, as_count, as_decimal, as_object, as_objects, basic, round_up
from sms_providers.results import (
    REJECTED,
    UNAVAILABLE,
    UNKNOWN,
    ErrorTable,
    Fault,
    Meaning,
    Result,
    accepted,
    rejected,
    unknown,
)
from sms_providers.transport import Budget, Reply

SOONEST, LATEST = timedelta(minutes=15), timedelta(days=35)

CARRIER_ERROR = "30008"
_NO_SERVICE = Meaning(
    REJECTED, Fault.SENDER, "sender_not_registered", "The Messaging Service is missing, empty or not valid."
)

# What Twilio answers at once, and from 30001 on what it may have found out about a message that failed at once.
ERRORS: ErrorTable = {
    "20003": Meaning(REJECTED, Fault.AUTH, "bad_credentials"),
    "20005": Meaning(REJECTED, Fault.AUTH, "account_suspended", "The account is not active. Check its balance."),
    "90010": Meaning(REJECTED, Fault.AUTH, "account_suspended", "The account is not active. Check its balance."),
    "20006": Meaning(REJECTED, Fault.AUTH, "access_denied"),
    "20403": Meaning(REJECTED, Fault.AUTH, "access_denied"),
    "20008": Meaning(REJECTED, Fault.AUTH, "access_denied", "Twilio's test credentials cannot be used for this."),
    "20404": Meaning(REJECTED, Fault.OTHER, "account_not_found", "There is no such account: check SID and region."),
    "20429": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled"),
    "20500": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
    "20503": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down"),
    "21211": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "21421": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient"),
    "21604": Meaning(REJECTED, Fault.RECIPIENT, "recipient_missing"),
    "21612": Meaning(
        REJECTED, Fault.RECIPIENT, "recipient_unreachable", "The number cannot be reached from this sender."
    ),
    "21614": Meaning(REJECTED, Fault.RECIPIENT, "recipient_not_mobile"),
    "21635": Meaning(REJECTED, Fault.RECIPIENT, "recipient_not_mobile"),
    "21608": Meaning(REJECTED, Fault.RECIPIENT, "recipient_not_verified"),
    "21219": Meaning(REJECTED, Fault.RECIPIENT, "recipient_not_verified"),
    "21408": Meaning(REJECTED, Fault.RECIPIENT, "region_not_enabled"),
    "21610": Meaning(REJECTED, Fault.RECIPIENT, "recipient_opted_out"),
    "21653": Meaning(REJECTED, Fault.RECIPIENT, "too_many_recipients"),
    "21212": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted"),
    "21601": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The sender's number cannot send SMS."),
    "21606": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "It is not this account's, or cannot send SMS."),
    "21603": Meaning(REJECTED, Fault.SENDER, "sender_missing", "There is neither a sender ID nor a Messaging Service."),
    "21607": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "A trial account may not use this sender ID."),
    "21659": Meaning(
        REJECTED, Fault.SENDER, "sender_not_registered", "It is no Twilio number, or not for this country."
    ),
    "21701": _NO_SERVICE,
    "21702": _NO_SERVICE,
    "21703": _NO_SERVICE,
    "21704": _NO_SERVICE,
    "21705": _NO_SERVICE,
    "21709": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted", "The Messaging Service or the name is not valid."),
    "21712": Meaning(REJECTED, Fault.SENDER, "sender_not_accepted", "The Messaging Service or the name is not valid."),
    "21602": Meaning(REJECTED, Fault.CONTENT, "empty_text"),
    "21617": Meaning(REJECTED, Fault.CONTENT, "text_too_long"),
    "21605": Meaning(REJECTED, Fault.CONTENT, "text_too_long"),
    "21618": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    "21654": Meaning(REJECTED, Fault.CONTENT, "content_refused", "The content template is wrong."),
    "21655": Meaning(REJECTED, Fault.CONTENT, "content_refused", "The content template is wrong."),
    "21656": Meaning(REJECTED, Fault.CONTENT, "content_refused", "The content template's variables are wrong."),
    "21609": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The address for delivery reports is not valid."),
    "21624": Meaning(REJECTED, Fault.OTHER, "invalid_request", "The validity period is out of range."),
    "21611": Meaning(UNAVAILABLE, Fault.THROTTLED, "sender_queue_full"),
    "14107": Meaning(UNAVAILABLE, Fault.THROTTLED, "recipient_limit_reached", retry_after=timedelta(seconds=30)),
    "63017": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "The limit of the account or channel is reached."),
    "63018": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "The limit of the account or channel is reached."),
    "63038": Meaning(UNAVAILABLE, Fault.THROTTLED, "daily_limit_reached"),
    "35111": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "35114": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "35115": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "35116": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "35118": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "35119": Meaning(REJECTED, Fault.OTHER, "invalid_schedule"),
    "35125": Meaning(UNAVAILABLE, Fault.THROTTLED, "schedule_full"),
    "30001": Meaning(UNAVAILABLE, Fault.THROTTLED, "sender_queue_full"),
    "30002": Meaning(REJECTED, Fault.AUTH, "account_suspended"),
    "30003": Meaning(REJECTED, Fault.RECIPIENT, "recipient_unreachable", "The handset is off or out of range."),
    "30004": Meaning(REJECTED, Fault.RECIPIENT, "recipient_blocked"),
    "30005": Meaning(REJECTED, Fault.RECIPIENT, "invalid_recipient", "The handset is unknown."),
    "30006": Meaning(
        REJECTED, Fault.RECIPIENT, "recipient_not_mobile", "It is a landline, or its carrier is unreachable."
    ),
    "30007": Meaning(REJECTED, Fault.CONTENT, "content_refused"),
    CARRIER_ERROR: Meaning(REJECTED, Fault.OTHER, "carrier_error"),
    "30010": Meaning(REJECTED, Fault.OTHER, "price_limit"),
    "30017": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "The carrier's network is congested."),
    "30018": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "30024": Meaning(REJECTED, Fault.SENDER, "sender_not_registered"),
    "30032": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The toll-free number is not verified."),
    "30034": Meaning(REJECTED, Fault.SENDER, "sender_not_registered", "The US number is not registered."),
    "30022": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "A limit of the US registration is reached."),
    "30023": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "A limit of the US registration is reached."),
    "30027": Meaning(UNAVAILABLE, Fault.THROTTLED, "throttled", "A limit of the US registration is reached."),
    "30410": Meaning(UNKNOWN, Fault.PROVIDER_DOWN, "provider_down", "The carrier did not answer Twilio in time."),
}

_SID = "[0-9a-fA-F]{32}"


class TwilioSms(ProviderAdapter):
    slug: ClassVar[str] = "twilio-sms"
    name: ClassVar[str] = "Twilio"
    origin: ClassVar[str] = "https://api.twilio.com"
    capabilities: ClassVar[Capabilities] = Capabilities(balance=True, sender_names=True, scheduling=True)
    errors: ClassVar[ErrorTable] = ERRORS
    sender_field: ClassVar[str] = "from"
    needs_sender: ClassVar[bool] = False  # a Messaging Service chooses one
    credential_fields: ClassVar[tuple[CredentialField, ...]] = (
        CredentialField(
            "account_sid",
            noop("Account SID"),
            pattern=f"AC{_SID}",
            pattern_help=noop("AC and 32 hexadecimal digits."),
            example="AC00000000000000000000000000000001",
        ),
        secret_key(
            "auth_token",
            noop("Auth token"),
            is_required=False,
            help=noop("Needed unless there is an API key."),
            example="0123456789abcdef0123456789abcdef",
        ),
        CredentialField(
            "api_key_sid",
            noop("API key SID"),
            is_required=False,
            help=noop("To send with an API key instead of the auth token."),
            pattern=f"SK{_SID}",
            pattern_help=noop("SK and 32 hexadecimal digits."),
        ),
        secret_key(
            "api_key_secret",
            noop("API key secret"),
            is_required=False,
        ),
        CredentialField(
            "from",
            noop("From"),
            is_required=False,
            help=noop("A number such as +15005550006, a short code or a name, for messages that name no sender."),
            pattern=SENDER_ID,
            pattern_help=SENDER_ID_HELP,
            example="+15005550006",
        ),
        CredentialField(
            "messaging_service_sid",
            noop("Messaging Service SID"),
            is_required=False,
            help=noop("A pool of senders. Needed for Twilio to hold scheduled messages."),
            pattern=f"MG{_SID}",
            pattern_help=noop("MG and 32 hexadecimal digits."),
        ),
        CredentialField(
            "base_url",
            noop("Base URL"),
            is_required=False,
            help=noop("For an account in another region, such as https://api.dublin.ie1.twilio.com."),
            # Twilio's own hosts only: the credentials go wherever this points.
            pattern=r"https://api(\.[a-z0-9-]{1,63}){0,2}\.twilio\.com/?",
            pattern_help=noop("https://api.twilio.com or https://api.<edge>.<region>.twilio.com."),
        ),
    )

    @classmethod
    def check_credentials(cls, credentials: Any) -> dict[str, list[str]]:
        wrong: dict[str, list[str]] = {}
        if bool(credentials.get("api_key_sid")) != bool(credentials.get("api_key_secret")):
            missing = "api_key_secret" if credentials.get("api_key_sid") else "api_key_sid"
            wrong[missing] = [_("An API key has a SID and a secret: give both or neither.")]
        elif not (credentials.get("auth_token") or credentials.get("api_key_sid")):
            wrong["auth_token"] = [_("Auth token is required, unless there is an API key.")]
        if not (credentials.get("from") or credentials.get("messaging_service_sid")):
            wrong["from"] = [_("Give From, a Messaging Service SID, or both.")]
        return wrong

    def can_schedule(self, send_at: datetime, *, now: datetime) -> bool:
        return bool(self.config.get("messaging_service_sid")) and SOONEST <= send_at - now <= LATEST

    def build_send(self, sms: Sms) -> requests.Request:
        service = self.config.get("messaging_service_sid", "")
        form = {
            "To": sms.recipient,
            "From": _as_from(self.sender_for(sms)),
            "MessagingServiceSid": service,
            "Body": sms.text,
        }
        if sms.send_at is not None:
            if not service:
                raise ValueError("without a Messaging Service it would be sent at once")
            form |= {"ScheduleType": "fixed", "SendAt": utc_second(sms.send_at)}
        form = {name: value for name, value in form.items() if value}
        return self._request("POST", self._path("Messages.json"), data=form)

    def read_send(self, reply: Reply) -> Result:
        body = reply.object
        sid = as_code(body.get("sid"))
        if not reply.is_success or not sid:
            return self.read_refusal(reply)
        if body.get("status") in ("failed", "undelivered"):
            return self._failed(body, reply, sid)
        cost = as_decimal(body.get("price"))  # negative for a charge, and null until the message is priced
        return accepted(
            sid,
            cost=abs(cost) if cost is not None else None,
            currency=as_code(body.get("price_unit")) if cost is not None else "",
            segment_count=as_count(body.get("num_segments")),  # "0" while a service has yet to choose the sender
        )

    def read_refusal(self, reply: Reply) -> Result:
        code = as_code(reply.object.get("code"))
        if not code:
            return self.by_status(reply)
        return self.by_code(code, reply, said=reply.object.get("message"))

    def fetch_balance(self, budget: Budget) -> Balance:
        reply = self.ask(self._request("GET", self._path("Balance.json")), budget)
        amount = as_decimal(reply.object.get("balance"))
        if reply.status == 404:
            # A sub-account has none of its own. Should the SID be wrong, the list of senders says so.
            message = "Twilio tells no balance of this account, as of any sub-account."
            raise NotOffered(self.refuse(reply, rejected(Fault.OTHER, message)).result)
        if not reply.is_success or amount is None:
            raise self.refuse(reply)
        return Balance(amount, currency=as_code(reply.object.get("currency")))

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        ends_at = budget.ends_at
        names = [
            as_code(item.get("phone_number"))
            for item in self._listed("IncomingPhoneNumbers.json?PageSize=50", "incoming_phone_numbers", budget, ends_at)
            if as_object(item.get("capabilities")).get("sms") is True
        ]
        try:
            codes = [
                as_code(item.get("short_code"))
                for item in self._listed("SMS/ShortCodes.json", "short_codes", budget, ends_at)
            ]
        except ProviderRefused:
            codes = []  # not every account may ask; the numbers are the answer
        return [name for name in names + codes if name]

    def _failed(self, body: dict[str, Any], reply: Reply, sid: str) -> Result:
        """Say why a message that Twilio took has failed at once."""
        code = as_code(body.get("error_code"))
        said = body.get("error_message")
        if code:
            result = self.by_code(code, reply, said=said, provider_message_id=sid)
            if body.get("status") == "undelivered" and (result.outcome == UNAVAILABLE or code == CARRIER_ERROR):
                # It was with the carrier, which does not say that it is not on its way.
                return unknown("no_carrier_report", result.message, code=code, provider_message_id=sid)
            return result
        return rejected(Fault.OTHER, "Twilio took the message and could not send it.", provider_message_id=sid)

    def _listed(self, path: str, key: str, budget: Budget, ends_at: float) -> Iterator[dict[str, Any]]:
        """Yield the items of every page of a list. Raises `ProviderRefused`."""
        next_path: Any = self._path(path)
        for _page in range(MAX_PAGES):
            # One limit for all pages: somebody is waiting for the list.
            reply = self.ask(self._request("GET", next_path), budget.until(ends_at))
            items = reply.object.get(key)
            if not reply.is_success or not isinstance(items, list):
                raise self.refuse(reply)
            yield from as_objects(items)
            next_path = reply.object.get("next_page_uri")
            # A path of this account's on the same host, or the credentials would go elsewhere.
            if not isinstance(next_path, str) or not next_path.startswith(self._path("")):
                return

    def _path(self, rest: str) -> str:
        return f"/2010-04-01/Accounts/{self.config['account_sid']}/{rest}"

    def _request(self, method: str, path: str, **given: Any) -> requests.Request:
        user, password = self.config["account_sid"], self.config.get("auth_token", "")
        if self.config.get("api_key_sid"):
            user, password = self.config["api_key_sid"], self.config["api_key_secret"]
        return requests.Request(method, self.url(path), auth=basic(user, password), **given)


def _as_from(sender: str) -> str:
    """Return a sender that is a whole number with its plus; a short code and a name as they are."""
    return f"+{sender}" if re.fullmatch("[1-9][0-9]{7,14}", sender) else sender


def utc_second(moment: datetime) -> str:
    """Return `moment` as Twilio takes it, rounded up to the second: a message may be late, never early."""
    return round_up(moment, timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
