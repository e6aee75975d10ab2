"""The outbox over HTTP: queue, repeat, read, list, cancel, many at once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connections
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from linkit.models import Organization
from outbox import tasks
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Status
from tests import factories
from tests.conftest import Api

OUTBOX = "/api/v1/sms/outbox"
BATCH = f"{OUTBOX}/batch"
GOOD = {"mobile": "0501234567", "message": "Your order is ready"}
FULL = {
    "mobile": "966501234567",
    "message": "Your order is ready",
    "sender": "MyBrand",
    "datetime": "",
    "preferred_provider_slug": "",
    "idempotency_key": "order-123-notify",
    "meta": {"order_id": "123", "nested": {"list": [1, 2.5, None, True, "مرحبا", "😀"]}},
}


@pytest.fixture(autouse=True)
def sandbox(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("sandbox-sms")


def assert_error(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert set(body) == {"code", "error", "details"}
    assert body["code"] == status
    return body


def queued(api: Api, **fields: Any) -> str:
    response = api.post(OUTBOX, {**GOOD, **fields})
    assert response.status_code == 201, response.content
    return str(response.json()["id"])


def read(api: Api, message_id: str) -> dict[str, Any]:
    response = api.get(f"{OUTBOX}/{message_id}")
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


# --- queueing -----------------------------------------------------------------------------------------------------


def test_a_message_is_queued(api: Api, organization: Organization):
    before = timezone.now()
    response = api.post(OUTBOX, FULL)
    assert response.status_code == 201
    body = response.json()
    assert body == {"id": body["id"], "dispatch_status": "pending", "idempotent_replay": False}
    assert re.fullmatch("r[a-z0-9]{14}", body["id"])
    message = Message.objects.get()
    assert (message.pk, message.organization, message.is_test) == (body["id"], organization, False)
    assert message.next_attempt_at >= before - timedelta(seconds=5)
    assert not SmsLog.objects.exists()


def test_the_request_is_read_as_it_was_queued(api: Api):
    message_id = queued(api, **FULL)
    body = read(api, message_id)
    assert {
        name: body[name] for name in ("message", "sender", "preferred_provider_slug", "idempotency_key", "meta")
    } == {name: FULL[name] for name in ("message", "sender", "preferred_provider_slug", "idempotency_key", "meta")}
    assert (body["id"], body["mobile"], body["datetime"]) == (message_id, "+966501234567", None)
    assert (body["dispatch_status"], body["provider_slug"], body["claimed_organization_app_id"]) == (
        "pending",
        "",
        None,
    )
    assert (body["response"], body["error_message"], body["reason"], body["attempts"]) == (None, "", "", [])
    assert (body["claimed_at"], body["sent_at"]) == (None, None)
    assert (body["sms_parts"], body["encoding"]) == (1, "GSM-7")
    for name in ("created", "updated", "expires_at"):
        assert datetime.fromisoformat(body[name]).tzinfo
    assert set(body) == {
        "id", "mobile", "message", "sender", "datetime", "preferred_provider_slug", "idempotency_key", "meta",
        "bulk_job_id",
        "dispatch_status", "provider_slug", "claimed_organization_app_id", "response", "error_message", "created",
        "updated", "claimed_at", "sent_at", "reason", "attempts", "sms_parts", "encoding", "expires_at", "is_test",
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sender": "", "datetime": "", "preferred_provider_slug": "", "idempotency_key": "", "meta": {}},
        {"sender": None, "datetime": None, "preferred_provider_slug": None, "idempotency_key": None, "meta": None},
        {"ttl_seconds": None},
    ],
    ids=str,
)
def test_what_is_empty_is_not_set(api: Api, fields: dict[str, Any]):
    first, second = queued(api, **fields), queued(api, **fields)
    assert first != second
    body = read(api, first)
    assert (body["sender"], body["datetime"], body["preferred_provider_slug"]) == ("", None, "")
    assert (body["idempotency_key"], body["meta"]) == (None, {})


def test_ids_are_ordered_by_time(api: Api):
    found = []
    for _ in range(20):
        found.append(queued(api))
        before = datetime.now()
        while datetime.now() - before < timedelta(milliseconds=1):
            pass  # ids of one millisecond have no order
    assert found == sorted(found)
    assert len(set(found)) == 20


def test_a_message_after_the_drain(api: Api, sandbox: OrganizationApp):
    message_id = queued(api)
    Drain().run()
    body = read(api, message_id)
    assert (body["dispatch_status"], body["provider_slug"]) == ("sent", "sandbox-sms")
    assert body["claimed_organization_app_id"] == sandbox.pk
    assert body["response"]["sandbox"] is True
    (attempt,) = body["attempts"]
    assert set(attempt) == {"provider_slug", "outcome", "reason", "explanation", "started_at", "finished_at"}
    assert (attempt["provider_slug"], attempt["outcome"]) == ("sandbox-sms", "accepted")
    assert (attempt["reason"], attempt["explanation"]) == ("", None)
    assert body["sent_at"]
    assert body["claimed_at"]
    log = api.get("/api/v1/sms/logs").json()["data"][0]
    assert (log["outbox_id"], log["source"], log["status"]) == (message_id, "outbox", "sent")


@pytest.mark.django_db(transaction=True)
def test_a_refused_attempt_explains_its_reason_in_two_languages(api: Api, sandbox: OrganizationApp):
    message_id = queued(api, mobile="+966555555502")
    Drain().run()
    (attempt,) = read(api, message_id)["attempts"]
    assert attempt["reason"] == "insufficient_provider_balance"
    assert attempt["explanation"]["side"] == "account"
    assert attempt["explanation"]["text"]["en"] == "The account at the provider has not enough balance."
    assert attempt["explanation"]["next_step"]["ar"] == "اشحن الرصيد لدى المزوّد."
    log = api.get("/api/v1/sms/logs").json()["data"][0]
    (same,) = api.get(f"/api/v1/sms/logs/{log['id']}").json()["attempts"]
    assert same["explanation"] == attempt["explanation"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_is_woken_and_needs_not_be(api: Api, monkeypatch: pytest.MonkeyPatch):
    woken: list[bool] = []
    monkeypatch.setattr(tasks.drain, "apply_async", lambda **_: woken.append(True))
    queued(api)
    assert woken == [True]

    def down(**_: Any) -> None:
        raise redis.ConnectionError("down")

    monkeypatch.setattr(tasks.drain, "apply_async", down)
    monkeypatch.setitem(tasks._broker, "next_ring", 0.0)
    assert api.post(OUTBOX, GOOD).status_code == 201
    assert api.post(OUTBOX, GOOD).status_code == 201


def test_no_worker_is_woken_for_later(
    api: Api, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
):
    woken: list[bool] = []
    monkeypatch.setattr(tasks, "wake", lambda: woken.append(True))
    with django_capture_on_commit_callbacks(execute=True):
        queued(api, datetime=(timezone.now() + timedelta(hours=1)).isoformat())
    assert woken == []


# --- what cannot be queued ----------------------------------------------------------------------------------------


def test_missing_fields_are_named(api: Api):
    assert set(assert_error(api.post(OUTBOX, {}), 400)["details"]) == {"mobile", "message"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mobile", "123"),
        ("mobile", "+966112345678"),
        ("message", "x" * 1601),
        ("message", "x" * 1531),
        ("message", ""),
        ("sender", "x" * 21),
        ("datetime", "2020-01-01T00:00:00Z"),
        ("datetime", "soon"),
        ("idempotency_key", "x" * 129),
        ("preferred_provider_slug", "x" * 41),
        ("ttl_seconds", 0),
        ("ttl_seconds", -5),
        ("ttl_seconds", 30 * 86400 + 1),
        ("ttl_seconds", "soon"),
        ("ttl_seconds", 1.5),
        ("meta", "text"),
        ("meta", ["list"]),
        ("meta", 5),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_bad_field_is_400_and_nothing_is_stored(api: Api, field: str, value: Any):
    body = assert_error(api.post(OUTBOX, {**FULL, field: value}), 400)
    assert field in body["details"]
    assert field in body["error"]
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "meta",
    [
        '{"x": "\\u0000"}',
        '{"\\u0000": 1}',
        '{"x": ["a\\u0000b"]}',
        '{"x": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"x": 1e999}',
        '{"x": [-1e999]}',
        '{"x": ' + "[" * 30 + "]" * 30 + "}",
        '{"x": "' + "y" * 8192 + '"}',
        '{"x": "' + "م" * 4100 + '"}',
    ],
    ids=lambda meta: meta[:20],
)
def test_meta_that_no_column_can_hold_is_400(api: Api, meta: str):
    body = json.dumps({**GOOD, "meta": "META"}).replace('"META"', meta)
    response = api.generic("POST", OUTBOX, body, content_type="application/json")
    assert "meta" in assert_error(response, 400)["details"]
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "meta",
    [
        {"x": "y" * 8000},
        {"x": [[[[[[[[[[1]]]]]]]]]]},
        {"": ""},
        {"a b": None, "é": {"😀": [True, False]}},
        {"big": 2**70, "small": -1.5e-300, "zero": 0, "negative": -0.5},
        {"$where": "1", "__proto__": {}, "a.b": 1, "a'b\"c": "\\"},
        {str(number): number for number in range(500)},
    ],
    ids=lambda meta: str(meta)[:20],
)
def test_meta_comes_back_as_it_was(api: Api, meta: dict[str, Any]):
    assert read(api, queued(api, meta=meta))["meta"] == meta


def test_without_an_app_nothing_is_stored(api: Api):
    OrganizationApp.objects.update(is_enabled=False)
    body = assert_error(api.post(OUTBOX, GOOD), 400)
    assert "installed" in body["error"]
    OrganizationApp.objects.all().delete()
    assert_error(api.post(OUTBOX, {**GOOD, "idempotency_key": "k"}), 400)
    assert not Message.objects.exists()


def test_a_strangers_app_is_no_app(api: Api, install: Callable[..., OrganizationApp], other_organization: Organization):
    OrganizationApp.objects.all().delete()
    install(other_organization, "mora-sms")
    assert_error(api.post(OUTBOX, GOOD), 400)
    assert_error(api.post(OUTBOX, {**GOOD, "preferred_provider_slug": "mora-sms"}), 400)
    assert not Message.objects.exists()


@pytest.mark.parametrize("slug", ["nobody-sms", "MORA-SMS", "mora-sms", "taqnyat-sms", "twilio-sms"])
def test_a_preferred_app_that_cannot_send_is_400(api: Api, install: Callable[..., OrganizationApp], slug: str):
    install("taqnyat-sms", is_enabled=False)
    gone = install("twilio-sms")
    gone.uninstalled_at = timezone.now()
    gone.save()
    body = assert_error(api.post(OUTBOX, {**GOOD, "preferred_provider_slug": slug}), 400)
    assert slug in body["error"]
    assert not Message.objects.exists()


def test_a_preferred_app_is_pinned(api: Api, install: Callable[..., OrganizationApp]):
    mora = install("mora-sms")
    message_id = queued(api, preferred_provider_slug="mora-sms")
    assert Message.objects.get().pinned_app == mora
    assert read(api, message_id)["preferred_provider_slug"] == "mora-sms"


# --- repeats ------------------------------------------------------------------------------------------------------


def test_a_repeat_is_the_first_message(api: Api):
    first = api.post(OUTBOX, FULL).json()
    response = api.post(OUTBOX, FULL)
    assert response.status_code == 200
    assert response.json() == {"id": first["id"], "dispatch_status": "pending", "idempotent_replay": True}
    assert Message.objects.count() == 1


def test_a_repeat_tells_the_present_status(api: Api):
    api.post(OUTBOX, FULL)
    for status in ("sent", "failed", "dispatch_timeout"):
        Message.objects.update(status=status)
        assert api.post(OUTBOX, FULL).json()["dispatch_status"] == status


@pytest.mark.parametrize(
    "change",
    [
        {"message": "Something else"},
        {"mobile": "0501234568"},
        {"sender": "Other"},
        {"datetime": "2099-01-01T00:00:00Z"},
        {"datetime": "2020-01-01T00:00:00Z"},  # no state check: the key is known
        {"preferred_provider_slug": "sandbox-sms"},
        {"preferred_provider_slug": "nobody-sms"},
        {"meta": {"order_id": "124"}},
        {"ttl_seconds": 60},
    ],
    ids=str,
)
def test_a_repeat_with_another_body_says_so(api: Api, change: dict[str, Any]):
    first = api.post(OUTBOX, FULL).json()
    response = api.post(OUTBOX, {**FULL, **change})
    assert response.status_code == 200
    assert response.json() == {
        "id": first["id"],
        "dispatch_status": "pending",
        "idempotent_replay": True,
        "payload_mismatch": True,
    }
    assert read(api, first["id"])["message"] == FULL["message"]
    assert Message.objects.count() == 1


@pytest.mark.parametrize(
    "same",
    [
        {"mobile": "+966 50 123 4567"},
        {"mobile": "٠٥٠١٢٣٤٥٦٧"},
        {"datetime": None},
        {"preferred_provider_slug": None},
        {"sender": " MyBrand "},
        {"unknown": "field"},
        {"ttl_seconds": None},
    ],
    ids=ascii,
)
def test_the_same_message_in_other_words_is_no_mismatch(api: Api, same: dict[str, Any]):
    api.post(OUTBOX, FULL)
    assert "payload_mismatch" not in api.post(OUTBOX, {**FULL, **same}).json()


def test_the_same_moment_in_another_zone_is_no_mismatch(api: Api):
    api.post(OUTBOX, {**FULL, "datetime": "2027-11-01T09:00:00Z"})
    for written in ("2027-11-01 12:00", "2027-11-01T12:00:00+03:00", "2027-11-01t09:00:00.000z"):
        response = api.post(OUTBOX, {**FULL, "datetime": written})
        assert response.json().keys() == {"id", "dispatch_status", "idempotent_replay"}, written


def test_a_malformed_repeat_is_still_malformed(api: Api):
    api.post(OUTBOX, FULL)
    assert_error(api.post(OUTBOX, {"idempotency_key": FULL["idempotency_key"]}), 400)


def test_a_known_key_answers_when_nothing_could_be_queued_any_more(api: Api, install: Callable[..., OrganizationApp]):
    install("mora-sms")
    moment = (timezone.now() + timedelta(hours=1)).isoformat()
    body = {**FULL, "preferred_provider_slug": "mora-sms", "datetime": moment}
    first = api.post(OUTBOX, body).json()
    OrganizationApp.objects.update(is_enabled=False, uninstalled_at=timezone.now())
    assert api.post(OUTBOX, body).json() == {**first, "idempotent_replay": True}
    past = (timezone.now() - timedelta(hours=1)).isoformat()
    response = api.post(OUTBOX, {**body, "datetime": past})
    assert (response.status_code, response.json()["id"]) == (200, first["id"])
    assert_error(api.post(OUTBOX, {**body, "idempotency_key": "new"}), 400)
    assert Message.objects.count() == 1


def test_a_key_that_could_not_be_queued_is_free(api: Api):
    OrganizationApp.objects.update(is_enabled=False)
    assert_error(api.post(OUTBOX, FULL), 400)
    OrganizationApp.objects.update(is_enabled=True)
    response = api.post(OUTBOX, {**FULL, "message": "Other"})
    assert (response.status_code, response.json()["idempotent_replay"]) == (201, False)


def test_keys_are_told_apart_to_the_letter(api: Api):
    keys = ["order-1", "ORDER-1", "order-1.", "طلب", "x" * 128, "0"]
    assert len({queued(api, idempotency_key=key) for key in keys}) == len(keys)
    assert len({queued(api) for _ in range(3)}) == 3


def test_keys_are_each_organizations_own_and_each_kind_of_keys(
    api: Api,
    anonymous: Api,
    api_key: Callable[..., str],
    install: Callable[..., OrganizationApp],
    other_organization: Organization,
):
    install(other_organization, "sandbox-sms")
    stranger = anonymous.using(api_key(organization=other_organization))
    rehearsal = anonymous.using(api_key(is_test=True))
    found = {client.post(OUTBOX, FULL).json()["id"] for client in (api, stranger, rehearsal)}
    assert len(found) == 3
    for client in (api, stranger, rehearsal):
        response = client.post(OUTBOX, FULL)
        assert response.status_code == 200
        assert response.json()["id"] in found
    # Two keys of one organization share the namespace.
    assert anonymous.using(api_key()).post(OUTBOX, FULL).json() == api.post(OUTBOX, FULL).json()
    assert Message.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_many_repeats_at_once_one_is_queued(anonymous: Api, sandbox: OrganizationApp):
    secret = factories.make_api_key(sandbox.organization)
    answers: list[Any] = []
    start = threading.Barrier(6)

    def post() -> None:
        client = anonymous.using(secret)
        start.wait()
        try:
            answers.append(client.post(OUTBOX, FULL))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Message.objects.count() == 1


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_message_for_later_waits(api: Api):
    moment = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    body = read(api, queued(api, datetime=moment.isoformat()))
    assert datetime.fromisoformat(body["datetime"]) == moment
    assert datetime.fromisoformat(body["expires_at"]) == moment + timedelta(hours=72)
    assert not Drain().run()
    assert Message.objects.get().status == Status.PENDING


def test_a_moment_just_past_is_now(api: Api):
    body = read(api, queued(api, datetime=(timezone.now() - timedelta(minutes=4)).isoformat()))
    assert datetime.fromisoformat(body["expires_at"]) > timezone.now() + timedelta(hours=71)
    Drain().run()
    assert Message.objects.get().status == Status.SENT


def test_a_moment_without_an_offset_is_in_the_organizations_time(api: Api, organization: Organization):
    year = timezone.now().year + 1
    body = read(api, queued(api, datetime=f"{year}-01-01 10:00"))
    assert datetime.fromisoformat(body["datetime"]) == datetime.fromisoformat(f"{year}-01-01T07:00:00Z")


@pytest.mark.parametrize("seconds", [1, 3600, 30 * 86400, "60"])
def test_a_message_may_expire_sooner_or_later(api: Api, seconds: int | str):
    body = read(api, queued(api, ttl_seconds=seconds))
    lifetime = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(body["created"])
    assert abs(lifetime - timedelta(seconds=int(seconds))) < timedelta(seconds=5)


def test_a_lifetime_begins_when_the_message_is_due(api: Api):
    moment = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    body = read(api, queued(api, datetime=moment.isoformat(), ttl_seconds=60))
    assert datetime.fromisoformat(body["expires_at"]) == moment + timedelta(seconds=60)


# --- test keys ----------------------------------------------------------------------------------------------------


def test_a_test_key_needs_no_app_and_sends_nothing(anonymous: Api, api_key: Callable[..., str], settings: Settings):
    OrganizationApp.objects.all().delete()
    rehearsal = anonymous.using(api_key(is_test=True))
    message_id = queued(rehearsal)
    assert read(rehearsal, message_id)["is_test"] is True
    Drain().run()
    body = read(rehearsal, message_id)
    assert (body["dispatch_status"], body["provider_slug"]) == ("sent", "sandbox-sms")
    assert body["claimed_organization_app_id"] is None


def test_a_test_key_with_a_real_app_sends_nothing(
    anonymous: Api, api_key: Callable[..., str], install: Callable[..., OrganizationApp], settings: Settings
):
    install("mora-sms")
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:1"}
    rehearsal = anonymous.using(api_key(is_test=True))
    message_id = queued(rehearsal, preferred_provider_slug="mora-sms")
    Drain().run()
    assert read(rehearsal, message_id)["response"]["sandbox"] is True


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_strangers_message_is_missing_like_any_other(
    api: Api, anonymous: Api, api_key: Callable[..., str], other_organization: Organization
):
    theirs = queued(api)
    stranger = anonymous.using(api_key(organization=other_organization))
    for method in ("get", "delete"):
        seen = getattr(stranger, method)(f"{OUTBOX}/{theirs}")
        missing = getattr(stranger, method)(f"{OUTBOX}/r00000000000000")
        assert_error(seen, 404)
        assert seen.content == missing.content
    assert stranger.get(OUTBOX).json()["data"] == []
    assert read(api, theirs)["dispatch_status"] == "pending"


@pytest.mark.parametrize(
    "message_id", ["r", "x" * 15, "R00000000000000", "r00000000000000 ", "1", "%00", "null", "batch2"]
)
def test_a_malformed_id_is_404(api: Api, message_id: str):
    assert_error(api.get(f"{OUTBOX}/{message_id}"), 404)
    assert_error(api.delete(f"{OUTBOX}/{message_id}"), 404)


# --- the list -----------------------------------------------------------------------------------------------------


def listed(api: Api, **query: Any) -> list[str]:
    response = api.get(OUTBOX, query)
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["data"]]


def test_the_list_is_newest_first_and_filtered(api: Api, sandbox: OrganizationApp):
    first = queued(api)
    Drain().run()
    second = queued(api, mobile="0555555504")
    Drain().run()
    third = queued(api)
    day = timedelta(days=1)
    for days, message_id in enumerate((third, second, first)):
        Message.objects.filter(pk=message_id).update(created_at=timezone.now() - day * days)
    assert listed(api) == [third, second, first]
    assert listed(api, dispatch_status="pending") == [third]
    assert listed(api, dispatch_status="sent") == [first]
    assert listed(api, dispatch_status="failed") == [second]
    assert listed(api, dispatch_status="dispatch_timeout") == []
    assert listed(api, provider_slug="sandbox-sms") == [second, first]
    assert listed(api, provider_slug="mora-sms") == []
    for written in ("0501234567", "+966501234567", "966501234567", "050 123 4567", "٠٥٠١٢٣٤٥٦٧"):
        assert listed(api, mobile=written) == [third, first]
    assert listed(api, mobile="0555555504", dispatch_status="failed") == [second]
    moment = (timezone.now() - day * 1.5).isoformat()
    assert listed(api, created_after=moment) == [third, second]
    assert listed(api, created_before=moment) == [first]
    assert listed(api, created_after=moment, created_before=moment) == []
    assert listed(api, sort="created") == [first, second, third]
    rows = api.get(OUTBOX).json()["data"]
    assert "attempts" not in rows[0]
    assert {"id", "mobile", "dispatch_status", "created"} <= set(rows[0])


def test_an_empty_filter_is_none(api: Api):
    message_id = queued(api)
    assert listed(api, dispatch_status="", provider_slug="", mobile="", created_after="", created_before="") == [
        message_id
    ]


@pytest.mark.parametrize(
    "query", [{"dispatch_status": "nothing"}, {"mobile": "x"}, {"created_after": "x"}, {"created_before": "2026-02-30"}]
)
def test_a_bad_filter_is_400_and_named(api: Api, query: dict[str, str]):
    body = assert_error(api.get(OUTBOX, query), 400)
    assert set(body["details"]) == set(query)


def test_a_list_costs_the_same_however_long_it_is(api: Api, django_assert_max_num_queries: Any):
    for _ in range(10):
        queued(api)
    Drain().run()
    api.get(OUTBOX)
    with django_assert_max_num_queries(6):
        assert len(listed(api)) == 10


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_a_pending_message_can_be_cancelled(api: Api):
    message_id = queued(api, idempotency_key="k")
    response = api.delete(f"{OUTBOX}/{message_id}")
    assert (response.status_code, response.content) == (204, b"")
    body = read(api, message_id)
    assert (body["dispatch_status"], body["reason"]) == ("failed", "cancelled")
    assert body["error_message"]
    assert not Drain().run()
    # Its key still answers.
    repeat = api.post(OUTBOX, {**GOOD, "idempotency_key": "k"})
    assert (repeat.status_code, repeat.json()["id"], repeat.json()["dispatch_status"]) == (200, message_id, "failed")
    assert_error(api.delete(f"{OUTBOX}/{message_id}"), 409)


@pytest.mark.parametrize("mobile", ["0501234567", "0555555504", "0555555509"])
def test_a_finished_message_cannot_be_cancelled(api: Api, mobile: str):
    message_id = queued(api, mobile=mobile)
    Drain().run()
    before = read(api, message_id)
    body = assert_error(api.delete(f"{OUTBOX}/{message_id}"), 409)
    assert before["dispatch_status"] in body["error"]
    assert read(api, message_id) == before


def test_a_message_under_way_cannot_be_cancelled(api: Api):
    message_id = queued(api)
    Message.objects.update(
        status=Status.SENDING,
        lease_expires_at=timezone.now() + timedelta(minutes=1),
        claim_token="0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10",
    )
    assert assert_error(api.delete(f"{OUTBOX}/{message_id}"), 409)["details"]["reason"] == "not_pending"


def test_a_message_that_comes_back_can_be_cancelled(api: Api):
    message_id = queued(api, mobile="0555555508")
    Drain().run()
    assert read(api, message_id)["dispatch_status"] == "pending"
    assert api.delete(f"{OUTBOX}/{message_id}").status_code == 204
    log = api.get("/api/v1/sms/logs").json()["data"][0]
    assert (log["status"], log["reason"]) == ("failed", "cancelled")


# --- many at once -------------------------------------------------------------------------------------------------


def batch(api: Api, *messages: Any) -> list[dict[str, Any]]:
    response = api.post(BATCH, {"messages": list(messages)})
    assert response.status_code == 200, response.content
    body = response.json()
    assert set(body) == {"results"}
    assert len(body["results"]) == len(messages)
    results: list[dict[str, Any]] = body["results"]
    return results


def test_each_message_of_a_batch_is_for_itself(api: Api):
    results = batch(
        api,
        GOOD,
        {**GOOD, "idempotency_key": "k"},
        {**GOOD, "mobile": "123"},
        {**GOOD, "idempotency_key": "k"},
        {**GOOD, "idempotency_key": "k", "message": "Other"},
        {**GOOD, "preferred_provider_slug": "nobody-sms"},
        {},
        GOOD,
    )
    assert [result["status"] for result in results] == [201, 201, 400, 200, 200, 400, 400, 201]
    assert results[0] == {
        "status": 201,
        "id": results[0]["id"],
        "dispatch_status": "pending",
        "idempotent_replay": False,
    }
    assert results[3] == {**results[1], "status": 200, "idempotent_replay": True}
    assert results[4] == {**results[3], "payload_mismatch": True}
    assert set(results[2]) == {"status", "error", "details"}
    assert "mobile" in results[2]["details"]
    assert set(results[6]["details"]) == {"mobile", "message"}
    assert results[0]["id"] != results[7]["id"]
    assert Message.objects.count() == 3


@pytest.mark.parametrize(
    "bad",
    [
        "null",
        "[]",
        '"text"',
        "5",
        "1e999",
        "true",
        '{"mobile": 1e999}',
        '{"mobile": "0501234567", "message": "a", "meta": {"x": 1e999}}',
        '{"mobile": "0501234567", "message": "\\ud800"}',
        '{"mobile": "0501234567", "message": "a", "meta": {"\\ud800": "\\u0000"}}',
        '{"mobile": "\\u0000", "message": "a"}',
        '{"mobile": ' + "[" * 150 + "]" * 150 + ', "message": "a"}',
        '{"mobile": "0501234567", "message": "a", "datetime": "2020-01-01T00:00:00Z"}',
    ],
    ids=lambda bad: bad[:40],
)
def test_a_bad_message_stops_no_other(api: Api, bad: str):
    good = json.dumps(GOOD)
    body = f'{{"messages": [{good}, {bad}, {good}]}}'
    response = api.generic("POST", BATCH, body, content_type="application/json")
    assert response.status_code == 200, response.content
    assert [result["status"] for result in response.json()["results"]] == [201, 400, 201]
    assert Message.objects.count() == 2


@pytest.mark.parametrize(
    "body",
    [{}, {"messages": []}, {"messages": None}, {"messages": {}}, {"messages": "x"}, {"messages": GOOD}, [GOOD]],
    ids=str,
)
def test_a_batch_without_a_list_is_400(api: Api, body: Any):
    assert_error(api.post(BATCH, body), 400)
    assert not Message.objects.exists()


def test_a_batch_repeats_as_a_whole(api: Api):
    messages = [{**GOOD, "idempotency_key": f"k{number}"} for number in range(5)]
    first, second = batch(api, *messages), batch(api, *messages)
    assert [result["id"] for result in first] == [result["id"] for result in second]
    assert {result["status"] for result in second} == {200}
    assert Message.objects.count() == 5


def test_over_a_thousand_messages_are_413_and_nothing_is_stored(api: Api):
    assert_error(api.post(BATCH, {"messages": [GOOD] * 1001}), 413)
    assert not Message.objects.exists()


def test_a_thousand_bad_messages_are_answered(api: Api):
    assert {result["status"] for result in batch(api, *([{}] * 1000))} == {400}


def test_without_an_app_every_message_of_a_batch_is_400(api: Api):
    OrganizationApp.objects.all().delete()
    assert [result["status"] for result in batch(api, GOOD, GOOD)] == [400, 400]
    assert not Message.objects.exists()
