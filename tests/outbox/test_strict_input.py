"""What a careless client sends: wrong types, keys of blanks, hidden characters. Nothing is queued on a guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from outbox.models import Message
from sms_providers.models import OrganizationApp, SmsLog, Status
from tests.conftest import Api

OUTBOX = "/api/v1/sms/outbox"
SEND = "/api/v1/sms-providers/sandbox-sms/send"
GOOD = {"mobile": "0501234567", "message": "Hello"}


@pytest.fixture(autouse=True)
def _sandbox(install: Callable[..., OrganizationApp]) -> None:
    install("sandbox-sms")


@pytest.mark.parametrize("path", [OUTBOX, SEND])
@pytest.mark.parametrize(
    "wrong", [{"message": 5}, {"message": ["Hello"]}, {"sender": 5}, {"sender": "A\r\nB"}, {"sender": "A\x7f"}]
)
def test_what_is_not_text_is_refused_by_the_name_of_its_field(api: Api, path: str, wrong: dict[str, Any]) -> None:
    response = api.post(path, {**GOOD, **wrong})
    assert response.status_code == 400
    assert list(response.json()["details"]) == list(wrong)
    assert not Message.objects.exists()
    assert not SmsLog.objects.exists()


@pytest.mark.parametrize("key", [5, "   ", "\t", ["a"], "k" * 129])
def test_a_key_that_names_nothing_is_refused(api: Api, key: Any) -> None:
    response = api.post(OUTBOX, {**GOOD, "idempotency_key": key})
    assert response.status_code == 400
    assert "idempotency_key" in response.json()["details"]
    assert not Message.objects.exists()


def test_keys_are_kept_to_the_letter(api: Api) -> None:
    ids = {api.post(OUTBOX, {**GOOD, "idempotency_key": key}).json()["id"] for key in ("k", " k", "k ", "K")}
    assert len(ids) == 4


def test_a_test_key_neither_sees_nor_cancels_live_messages(api: Api, api_key: Callable[..., str]) -> None:
    live = api.post(OUTBOX, GOOD).json()["id"]
    api.post(SEND, GOOD)
    log = SmsLog.objects.get()
    tester = api.using(api_key(is_test=True))
    simulated = tester.post(OUTBOX, GOOD).json()["id"]

    assert tester.get(f"{OUTBOX}/{live}").status_code == 404
    assert tester.delete(f"{OUTBOX}/{live}").status_code == 404
    assert tester.get(f"/api/v1/sms/logs/{log.pk}").status_code == 404
    assert tester.get("/api/v1/sms/logs").json()["data"] == []
    assert [row["id"] for row in tester.get(OUTBOX).json()["data"]] == [simulated]
    assert Message.objects.get(pk=live).status == Status.PENDING
    assert api.get(f"{OUTBOX}/{simulated}").status_code == 200, "a live key sees both"


@pytest.mark.parametrize("name", ["created_after", "created_before"])
def test_a_filter_that_is_off_the_calendar_is_named_as_it_was_given(api: Api, name: str) -> None:
    moment = "0001-01-01T00:00:00+14:00" if name == "created_after" else "9999-12-31T23:59:59-14:00"
    response = api.get(OUTBOX, {name: moment})
    assert response.status_code == 400
    assert list(response.json()["details"]) == [name]
