"""A key that queues many messages a second is looked up once in one. What that may change, and what not."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from linkit import tokens
from linkit.models import Membership, Organization, Role, Token, User
from sms_providers.models import OrganizationApp
from tests.conftest import Api

OUTBOX = "/api/v1/sms/outbox"
ME = "/api/v1/auth/me"
GOOD = {"mobile": "0501234567", "message": "Hello"}


@pytest.fixture(autouse=True)
def _sandbox(install: Callable[..., OrganizationApp]) -> None:
    install("mora-sms")


class Clock:
    """The process's clock, as `linkit.tokens` sees it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tokens, "time", clock)
    return clock


def elsewhere(**changes: Any) -> None:
    """Change all tokens as another process does, without a word to this one."""
    Token.objects.update(**changes)


@pytest.mark.parametrize("path", [OUTBOX, f"{OUTBOX}/batch"])
def test_a_key_revoked_elsewhere_queues_for_a_second_more_at_most(api: Api, clock: Clock, path: str) -> None:
    body = {"messages": [GOOD]} if path != OUTBOX else GOOD
    assert api.post(path, body).status_code < 300
    elsewhere(revoked_at=timezone.now())
    assert api.post(path, body).status_code < 300
    clock.now += 1.0
    assert api.post(path, body).status_code == 401
    assert api.post(path, body).status_code == 401


def test_it_is_not_remembered_for_longer_by_being_used(api: Api, clock: Clock) -> None:
    assert api.post(OUTBOX, GOOD).status_code == 201
    elsewhere(revoked_at=timezone.now())
    for _ in range(3):
        clock.now += 0.3
        assert api.post(OUTBOX, GOOD).status_code == 201
    clock.now += 0.3
    assert api.post(OUTBOX, GOOD).status_code == 401


def test_it_does_nothing_else_any_more(api: Api, clock: Clock) -> None:
    message_id = api.post(OUTBOX, GOOD).json()["id"]
    elsewhere(revoked_at=timezone.now())
    for method, path in [
        ("get", ME), ("get", OUTBOX), ("get", f"{OUTBOX}/{message_id}"), ("delete", f"{OUTBOX}/{message_id}"),
        ("post", "/api/v1/sms-providers/mora-sms/send"), ("patch", "/api/v1/apps/mora-sms"),
    ]:  # fmt: skip
        assert getattr(api, method)(path).status_code == 401, path


def test_revoked_here_it_is_forgotten_at_once(api: Api, clock: Clock) -> None:
    assert api.post(OUTBOX, GOOD).status_code == 201
    tokens.revoke(Token.objects.get())
    assert api.post(OUTBOX, GOOD).status_code == 401


def test_a_key_that_expires_is_let_in_for_a_second_more_at_most(api: Api, clock: Clock) -> None:
    assert api.post(OUTBOX, GOOD).status_code == 201
    elsewhere(expires_at=timezone.now() - timedelta(seconds=1))
    clock.now += 1.0
    assert api.post(OUTBOX, GOOD).status_code == 401


def test_an_organization_that_is_switched_off_is_seen_within_a_second(
    api: Api, clock: Clock, organization: Organization
) -> None:
    assert api.post(OUTBOX, GOOD).status_code == 201
    Organization.objects.filter(pk=organization.pk).update(is_active=False)
    clock.now += 1.0
    assert api.post(OUTBOX, GOOD).status_code == 401


def test_a_person_is_looked_up_every_time(
    anonymous: Api, clock: Clock, user: Callable[..., User], organization: Organization
) -> None:
    person = user(role=Role.OPERATOR)
    client = anonymous.using(tokens.open_session(user=person)[1])
    assert client.post(OUTBOX, GOOD).status_code == 201
    Membership.objects.update(role=Role.VIEWER)
    assert client.post(OUTBOX, GOOD).status_code == 403
    elsewhere(revoked_at=timezone.now())
    assert client.post(OUTBOX, GOOD).status_code == 401


def test_scopes_organization_and_kind_are_the_keys_own(
    anonymous: Api, clock: Clock, api_key: Callable[..., str], other_organization: Organization
) -> None:
    reader, tester = anonymous.using(api_key(scopes=("read",))), anonymous.using(api_key(is_test=True))
    stranger, sender = anonymous.using(api_key(organization=other_organization)), anonymous.using(api_key())
    for _ in range(2):
        assert reader.post(OUTBOX, GOOD).status_code == 403
        assert stranger.post(OUTBOX, GOOD).status_code == 400  # has no app
        assert sender.post(OUTBOX, GOOD).status_code == 201
        assert tester.post(OUTBOX, GOOD).status_code == 201
        assert sender.post(OUTBOX, GOOD, HTTP_X_ORGANIZATION_ID=str(uuid.uuid4())).status_code == 403
        assert anonymous.using("lk_live_nobody").post(OUTBOX, GOOD).status_code == 401
    assert [row["is_test"] for row in tester.get(OUTBOX).json()["data"]] == [True, True]


def test_the_last_use_is_noted_while_it_is_remembered(
    api: Api, clock: Clock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    api.post(OUTBOX, GOOD)
    assert Token.objects.get().last_used_at is not None
    elsewhere(last_used_at=timezone.now() - timedelta(minutes=2))
    clock.now += 1.0
    api.post(OUTBOX, GOOD)
    noted = Token.objects.get().last_used_at
    assert noted is not None
    assert timezone.now() - noted < timedelta(minutes=1)
    with django_assert_num_queries(1):
        api.post(OUTBOX, GOOD)


def test_what_is_remembered_is_bounded(
    anonymous: Api, clock: Clock, api_key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_MOST_REMEMBERED", 3)
    for _ in range(10):
        anonymous.using(api_key()).post(OUTBOX, GOOD)
    assert len(tokens._remembered._tokens) <= 3


def test_one_that_is_revoked_between_look_up_and_remembering_is_not_remembered(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_use = tokens._note_use

    def revoke_meanwhile(token: Token) -> None:
        note_use(token)
        tokens.revoke(token)

    monkeypatch.setattr(tokens, "_note_use", revoke_meanwhile)
    assert api.post(OUTBOX, GOOD).status_code == 201, "it was let in before"
    assert api.post(OUTBOX, GOOD).status_code == 401
