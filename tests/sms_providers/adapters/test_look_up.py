"""What became of an unknown outcome, asked by our own reference of those providers that tell."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import hypothesis
import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from responses.matchers import header_matcher, query_param_matcher

from sms_providers.adapters.base import NotOffered, ProviderAdapter, ProviderRefused, Sms
from sms_providers.adapters.infobip import InfobipSms
from sms_providers.adapters.masking import MASK
from sms_providers.adapters.unifonic import UnifonicSms
from sms_providers.models import SANDBOX
from sms_providers.results import Fault, Outcome, Result
from sms_providers.transport import Budget
from tests.gateway import Gateway, drop_after, silence
from tests.sms_providers.adapters.examples import ALL

BUDGET = Budget(timedelta(seconds=5))
LOGS = "https://xxxxx.api.infobip.com/sms/3/logs"
DETAILS = "https://el.cloud.unifonic.com/rest/SMS/Messages/GetMessagesDetails"
SMS = Sms("+966500000001", "Hello", reference="app-0001")
URLS = {"infobip-sms": (responses.GET, LOGS), "unifonic-sms": (responses.POST, DETAILS)}
ABLE = [kind for kind in ALL if kind.capabilities.look_up]


@pytest.fixture(params=ABLE, ids=lambda kind: kind.slug)
def adapter(request: pytest.FixtureRequest) -> ProviderAdapter:
    kind: type[ProviderAdapter] = request.param
    return kind(kind.example_credentials())


def infobip() -> InfobipSms:
    return InfobipSms(InfobipSms.example_credentials())


def unifonic(**given: str) -> UnifonicSms:
    return UnifonicSms({**UnifonicSms.example_credentials(), **given})


def log(group: int, status_id: int, **fields: Any) -> dict[str, Any]:
    status = {"groupId": group, "groupName": "", "id": status_id, "name": f"STATUS_{status_id}"}
    return {"messageId": "app-0001", "destination": "966500000001", "status": status, "messageCount": 2, **fields}


def message(status: str, receipt: str = "", **fields: Any) -> dict[str, Any]:
    ours = {"MessageID": 3200017889310, "CorrelationID": "app-0001", "Recipient": "966500000001"}
    return {**ours, "Status": status, "DLR": receipt, "NumberOfUnits": 1, "Cost": 0.052, **fields}


def ask(adapter: ProviderAdapter, entries: list[dict[str, Any]], sms: Sms = SMS) -> Result | None:
    """Look `sms` up at a provider that has these entries."""
    data = {"messages": entries, "CurrencyCode": "SAR", "TotalTextMessages": len(entries)}
    bodies = {
        "infobip-sms": {"results": entries},
        "unifonic-sms": {"success": True, "message": "", "errorCode": "ER-00", "data": data},
    }
    with responses.RequestsMock() as http:
        http.add(*URLS[adapter.slug], json=bodies[adapter.slug])
        return adapter.look_up(sms, BUDGET)


def test_those_tell_whose_page_documents_it():
    """A list by recipient and day (Twilio), or a call by the provider's own id (Cequens, Msegat), is not sure."""
    assert [kind.slug for kind in ABLE] == ["unifonic-sms", "infobip-sms"]
    for kind in ABLE:
        assert kind.capabilities.reference
        assert kind.slug != SANDBOX


# --- Infobip ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("refused", "reference"), [(0, "app-0001"), (2, "app-0001-3")])
def test_infobip_is_asked_for_the_id_that_this_try_had(refused: int, reference: str):
    sms = replace(SMS, times_refused=refused)
    with responses.RequestsMock() as http:
        http.get(
            LOGS,
            json={"results": [log(1, 26, messageId=reference)]},
            match=[
                query_param_matcher({"messageId": reference}),
                header_matcher({"Authorization": "App test-key", "Accept": "application/json"}),
            ],
        )
        found = infobip().look_up(sms, BUDGET)
    assert found is not None
    assert (found.outcome, found.provider_message_id) == (Outcome.ACCEPTED, reference)


@pytest.mark.parametrize(("group", "status_id"), [(1, 3), (1, 7), (1, 26), (3, 2), (3, 5), (0, 0), (4, 29), (4, 4242)])
def test_infobip_has_taken_it(group: int, status_id: int):
    """Also a message of which the carrier never said what became: Infobip had it, which is what was not known."""
    found = ask(infobip(), [log(group, status_id, price={"pricePerMessage": 0.01, "currency": "EUR"})])
    assert found is not None
    assert (found.outcome, found.provider_message_id, found.segment_count) == (Outcome.ACCEPTED, "app-0001", 2)
    assert (found.cost, found.currency) == (Decimal("0.02"), "EUR")
    assert found.raw["results"][0]["messageId"] == "app-0001"


@pytest.mark.parametrize(
    ("group", "status_id", "outcome", "fault", "reason"),
    [
        (5, 12, Outcome.REJECTED, Fault.BALANCE, "insufficient_provider_balance"),
        (5, 11, Outcome.REJECTED, Fault.SENDER, "sender_not_registered"),
        (2, 9, Outcome.REJECTED, Fault.RECIPIENT, "recipient_unreachable"),
        (4, 15, Outcome.REJECTED, Fault.RECIPIENT, "recipient_unreachable"),
        (5, 21, Outcome.UNAVAILABLE, Fault.PROVIDER_DOWN, "provider_unavailable"),
        (5, 4242, Outcome.REJECTED, Fault.OTHER, "refused_by_provider"),
    ],
)
def test_infobip_has_refused_it(group: int, status_id: int, outcome: Outcome, fault: Fault, reason: str):
    found = ask(infobip(), [log(group, status_id)])
    assert found is not None
    assert (found.outcome, found.fault, found.reason) == (outcome, fault, reason)
    assert found.message.endswith("It is not delivered.")


def test_infobip_with_several_entries():
    """One that was taken counts; a repeat that was turned away as such says nothing about the first."""
    repeat = log(5, 23)
    found = ask(infobip(), [repeat, log(3, 5)])
    assert found is not None
    assert found.outcome == Outcome.ACCEPTED
    found = ask(infobip(), [repeat, log(5, 12)])
    assert found is not None
    assert found.outcome == Outcome.UNKNOWN


def test_a_price_that_is_none_is_left_out():
    for price in (None, {}, {"pricePerMessage": "free"}, {"pricePerMessage": 0.01}):
        found = ask(infobip(), [log(3, 5, price=price, messageCount=None)])
        assert found is not None
        assert (found.outcome, found.cost, found.segment_count) == (Outcome.ACCEPTED, None, None)


def test_a_key_without_the_scope_is_told_so():
    with responses.RequestsMock() as http:
        http.get(LOGS, status=403, json={"errorCode": "E403", "description": "Forbidden"})
        with pytest.raises(NotOffered) as refusal:
            infobip().look_up(SMS, BUDGET)
    assert refusal.value.result.reason == "access_denied"


# --- Unifonic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("refused", "reference"), [(0, "app-0001"), (2, "app-0001-3")])
def test_unifonic_is_asked_for_the_id_that_this_try_had(refused: int, reference: str):
    sms = replace(SMS, times_refused=refused)
    request = unifonic().build_send(sms)
    assert request.data["CorrelationID"] == reference
    listed = [message("Rejected"), message("Sent", CorrelationID=reference)] if refused else [message("Sent")]
    with responses.RequestsMock() as http:
        http.post(DETAILS, json={"success": "true", "errorCode": "ER-00", "data": {"messages": listed}})
        found = unifonic().look_up(sms, BUDGET)
        assert parse_qs(str(http.calls[0].request.body))["CorrelationID"] == [reference]
    assert found is not None
    assert found.outcome == Outcome.ACCEPTED


def test_unifonic_is_asked_for_our_correlation_id():
    with responses.RequestsMock() as http:
        http.post(DETAILS, json={"success": "true", "errorCode": "ER-00", "data": {"messages": [message("Sent")]}})
        found = unifonic(username="u", password="p").look_up(SMS, BUDGET)
        request: requests.PreparedRequest = http.calls[0].request
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
    assert parse_qs(body) == {"AppSid": ["test-app-sid"], "CorrelationID": ["app-0001"]}
    assert request.headers["Authorization"].startswith("Basic ")
    assert found is not None
    assert found.outcome == Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("status", "receipt"), [("Queued", ""), ("Scheduled", ""), ("Sent", ""), ("SENT", "Delivered"), ("", "delivered")]
)
def test_unifonic_has_taken_it(status: str, receipt: str):
    found = ask(unifonic(), [message(status, receipt)])
    assert found is not None
    assert (found.outcome, found.provider_message_id, found.segment_count) == (Outcome.ACCEPTED, "3200017889310", 1)
    assert (found.cost, found.currency) == (Decimal("0.052"), "SAR")


@pytest.mark.parametrize(
    ("status", "receipt", "fault"),
    [
        ("Rejected", "", Fault.OTHER),
        ("Failed", "", Fault.OTHER),
        ("Sent", "Undeliverable", Fault.RECIPIENT),
        ("Sent", "Undelivered", Fault.RECIPIENT),
        ("Undelivered", "", Fault.RECIPIENT),
    ],
)
def test_unifonic_has_refused_it(status: str, receipt: str, fault: Fault):
    found = ask(unifonic(), [message(status, receipt)])
    assert found is not None
    assert (found.outcome, found.fault) == (Outcome.REJECTED, fault)
    assert found.message.endswith("It is not delivered.")


def test_a_state_that_nobody_documents_says_nothing():
    found = ask(unifonic(), [message("Pondering")])
    assert found is not None
    assert found.outcome == Outcome.UNKNOWN


def test_the_classic_platform_does_not_tell():
    with pytest.raises(NotOffered):
        unifonic(base_url="https://api.unifonic.com").look_up(SMS, BUDGET)


@pytest.mark.parametrize(
    ("status", "body", "is_nothing"),
    [
        (200, {"success": False, "message": "No messages", "errorCode": "ER-77", "data": []}, True),
        (455, {"success": False, "message": "Not found"}, True),
        (401, {}, False),
        (403, {"success": False}, False),
        (429, {"success": False}, False),
        (599, {"success": False}, False),
    ],
)
def test_a_no_of_unifonic_is_no_answer_about_the_message(status: int, body: Any, is_nothing: bool):
    with responses.RequestsMock() as http:
        http.post(DETAILS, status=status, json=body)
        if is_nothing:
            assert unifonic().look_up(SMS, BUDGET) is None
        else:
            with pytest.raises(ProviderRefused):
                unifonic().look_up(SMS, BUDGET)


# --- both -------------------------------------------------------------------------------------------------------


def taken_by(adapter: ProviderAdapter, **fields: Any) -> dict[str, Any]:
    return log(3, 5, **fields) if adapter.slug == "infobip-sms" else message("Sent", "Delivered", **fields)


def test_nothing_is_found(adapter: ProviderAdapter):
    assert ask(adapter, []) is None


def test_somebody_elses_message_says_nothing(adapter: ProviderAdapter):
    """A filter that a provider does not know, or ignores, must not settle ours by another's."""
    name, number = ("messageId", "destination") if adapter.slug == "infobip-sms" else ("CorrelationID", "Recipient")
    for other in ({name: "app-0002"}, {name: ""}, {name: None}, {number: "966500000002"}):
        assert ask(adapter, [taken_by(adapter, **other)]) is None
    assert ask(adapter, [taken_by(adapter, **{name: "app-0002"}), taken_by(adapter)]) is not None


def test_no_secret_is_kept(adapter: ProviderAdapter):
    secret = adapter.secrets()[0]
    found = ask(adapter, [taken_by(adapter, note=f"key {secret}")])
    assert found is not None
    assert secret not in json.dumps(found.raw)
    assert MASK in json.dumps(found.raw, ensure_ascii=False)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 502, 503])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"results": {}, "success": false}'])
def test_whatever_is_no_answer_settles_nothing(adapter: ProviderAdapter, status: int, body: bytes):
    with responses.RequestsMock() as http:
        http.add(*URLS[adapter.slug], status=status, body=body)
        try:
            found = adapter.look_up(SMS, BUDGET)
        except ProviderRefused:
            return
    assert found is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(
    entry=st.dictionaries(st.sampled_from(["status", "Status", "DLR", "price", "messageCount", "Cost"]), json_values)
)
def test_odd_entries_break_nothing(adapter: ProviderAdapter, entry: dict[str, Any]):
    try:
        found = ask(adapter, [{**taken_by(adapter), **entry}])
    except ProviderRefused:
        return
    assert found is not None
    json.dumps(found.raw, allow_nan=False)


def test_at_the_gateway(adapter: ProviderAdapter, gateway: Gateway):
    """What the gateway took is found by our reference, whatever we were told; what it did not take is not."""
    for number, behaviour in (("+966500000001", silence()), ("+966500000002", drop_after(is_accepted=False))):
        gateway.script(adapter.slug, behaviour, number=number)
    short = Budget(timedelta(seconds=0.5))
    taken, lost = (Sms(f"+96650000000{n}", "Hello", "MyBrand", reference=f"app-000{n}") for n in (1, 2))
    assert {adapter.send(sms, short).outcome for sms in (taken, lost)} == {Outcome.UNKNOWN}
    found = adapter.look_up(taken, BUDGET)
    assert found is not None
    assert found.outcome == Outcome.ACCEPTED
    assert found.cost
    assert adapter.look_up(lost, BUDGET) is None
    verdict = "12" if adapter.slug == "infobip-sms" else "Rejected"
    gateway.providers[adapter.slug].verdicts["app-0002"] = verdict
    found = adapter.look_up(lost, BUDGET)
    assert found is not None
    assert found.outcome == Outcome.REJECTED
    wrong = type(adapter)({**adapter.config, "api_key": "wrong", "app_sid": "wrong"})
    with pytest.raises(ProviderRefused) as refusal:
        wrong.look_up(taken, BUDGET)
    assert refusal.value.result.reason == "bad_credentials"
