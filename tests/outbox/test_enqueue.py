"""Queueing: what the one statement writes and decides, and what becomes of many messages that come together."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import DataError, OperationalError, connection, connections, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from linkit import tokens
from linkit.errors import Conflict
from linkit.models import Organization
from outbox import entries, services, tasks
from outbox.dispatch import Drain
from outbox.models import Message
from outbox.services import Enqueued, Wanted
from sms_providers import installing
from sms_providers.models import OrganizationApp, SmsLog
from tests import factories
from tests.conftest import Api
from tests.outbox.conftest import Script
from tests.stack import eventually

OUTBOX = "/api/v1/sms/outbox"
BATCH = f"{OUTBOX}/batch"
GOOD = {"mobile": "0501234567", "message": "Your order is ready"}


def wanted(**fields: Any) -> Wanted:
    return Wanted(**{"recipient": factories.mobile(), "text": "Hello", **fields})


@pytest.fixture
def many(organization: Organization) -> Callable[..., list[Any]]:
    """Return `services.enqueue_many` for the organization: `many(wanted(), wanted(), is_test=True)`."""

    def enqueue(*messages: Wanted, **fields: Any) -> list[Any]:
        return services.enqueue_many(messages, organization=organization, **fields)

    return enqueue


def statuses(fates: list[Any]) -> list[str]:
    """Return `new`, `repeat` or the name of the error of each."""
    names = {False: "new", True: "repeat"}
    return [names[fate.is_replay] if isinstance(fate, Enqueued) else type(fate).__name__ for fate in fates]


# --- the statement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 2], ids=["alone", "together"])
def test_a_row_is_as_the_model_would_make_it(
    organization: Organization, first: OrganizationApp, user: Any, together: int
) -> None:
    """Also in columns that nobody gives, whichever there will be."""
    token, _ = tokens.issue_api_key(organization=organization, name="k", scopes=["send"])
    person = user()
    one = wanted(sender_id="MyBrand", idempotency_key="k", meta={"a": [1, None, {"b": "مرحبا"}]}, text="[Hello]")
    others = [wanted() for _ in range(together - 1)]
    services.enqueue_many([one, *others], organization=organization, token=token, user=person)
    row = Message.objects.get(idempotency_key="k")
    assert (row.organization, row.token, row.user, row.is_test) == (organization, token, person, False)
    assert (row.recipient, row.text, row.sender_id, row.meta) == (one.recipient, one.text, one.sender_id, one.meta)
    assert (row.encoding, row.segment_count, row.idempotency_key) == ("GSM-7 Extended", 1, "k")
    assert (row.scheduled_at, row.pinned_app, row.preferred_slug) == (None, None, "")
    assert len(row.request_digest) == 64
    assert row.expires_at is not None
    assert row.expires_at - row.next_attempt_at == timedelta(hours=72)
    assert abs(row.created_at - row.next_attempt_at) < timedelta(seconds=1)
    assert abs(row.updated_at - row.next_attempt_at) < timedelta(seconds=1)
    assert abs(timezone.now() - row.next_attempt_at) < timedelta(seconds=5)
    given = {*entries._GIVEN, *entries._OF_ALL, *entries._MOMENTS, "pinned_app_id", "created_at"}
    made, fresh = Message(), {field.attname for field in Message._meta.concrete_fields} - given
    assert {name: getattr(row, name) for name in fresh} == {name: getattr(made, name) for name in fresh}


def test_a_new_message_takes_one_statement(
    organization: Organization, first: OrganizationApp, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        services.enqueue(organization=organization, recipient=factories.mobile(), text="Hello", idempotency_key="k")
    with django_assert_num_queries(1):
        services.enqueue(
            organization=organization, recipient=factories.mobile(), text="Hello", preferred_slug="first-sms"
        )
    with django_assert_num_queries(1):
        services.enqueue(organization=organization, recipient=factories.mobile(), text="Hello", is_test=True)
    with django_assert_num_queries(2):
        services.enqueue(organization=organization, recipient=factories.mobile(), text="Hello", idempotency_key="k")


@pytest.mark.usefixtures("first")
def test_over_http_it_is_one_statement_too(api: Api, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    assert api.post(OUTBOX, GOOD).status_code == 201  # finds the key
    with django_assert_num_queries(1):
        assert api.post(OUTBOX, GOOD).status_code == 201


@pytest.mark.usefixtures("first")
def test_a_thousand_take_few(api: Api, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    messages = [{**GOOD, "idempotency_key": f"k{number}", "meta": {"number": number}} for number in range(1000)]
    assert api.post(OUTBOX, GOOD).status_code == 201
    with django_assert_max_num_queries(8):
        results = api.post(BATCH, {"messages": messages}).json()["results"]
    assert {result["status"] for result in results} == {201}
    ids = [result["id"] for result in results]
    assert ids == sorted(set(ids))  # they are sent in this order
    rows = dict(Message.objects.exclude(idempotency_key=None).values_list("pk", "meta"))
    assert [rows[pk]["number"] for pk in ids] == list(range(1000))


def test_a_site_that_has_taken_the_app_out_of_its_catalogue_cannot_send(
    organization: Organization, script: Script
) -> None:
    OrganizationApp.objects.create(organization=organization, slug="mora-sms")  # not in the catalogue of `script`
    with pytest.raises(services.NoApp):
        services.enqueue(organization=organization, recipient=factories.mobile(), text="Hello")
    assert not Message.objects.exists()


# --- many together ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("first")
def test_a_key_that_could_not_be_queued_is_free_for_the_next_with_it(many: Callable[..., list[Any]]) -> None:
    past = timezone.now() - timedelta(hours=1)
    fates = many(
        wanted(idempotency_key="a", scheduled_at=past),
        wanted(idempotency_key="a", preferred_slug="nobody-sms"),
        wanted(idempotency_key="a", text="Third"),
        wanted(idempotency_key="a", text="Third"),
        wanted(idempotency_key="a", scheduled_at=past),
    )
    assert statuses(fates) == ["InvalidMoment", "NoApp", "new", "repeat", "repeat"]
    assert [fates[place].is_mismatch for place in (3, 4)] == [True, True]  # of other numbers
    assert len({fate.pk for fate in fates[2:]}) == 1
    assert Message.objects.get().text == "Third"


def test_each_has_its_own_app_time_and_key(
    many: Callable[..., list[Any]], first: OrganizationApp, second: OrganizationApp
) -> None:
    later = timezone.now() + timedelta(days=2)
    known = services.enqueue(
        organization=first.organization, recipient=factories.mobile(), text="Known", idempotency_key="known"
    )
    fates = many(
        wanted(),
        wanted(preferred_slug="second-sms"),
        wanted(preferred_slug="first-sms", scheduled_at=later),
        wanted(preferred_slug="sandbox-sms"),
        wanted(idempotency_key="known", preferred_slug="nobody-sms"),
        wanted(scheduled_at=later, ttl=timedelta(minutes=1)),
    )
    assert statuses(fates) == ["new", "new", "new", "NoApp", "repeat", "new"]
    assert fates[4].pk == known.pk
    rows = [fates[place].message for place in (0, 1, 2, 5)]
    assert [row.pinned_app for row in rows] == [None, second, first, None]
    assert [row.next_attempt_at == later for row in rows] == [False, False, True, True]
    assert rows[3].expires_at == later + timedelta(minutes=1)
    Drain().run()
    assert sorted(Message.objects.values_list("status", flat=True)) == ["pending", "pending", "sent", "sent", "sent"]


def test_where_the_simulator_is_the_only_app_all_are_pinned_to_it(
    many: Callable[..., list[Any]], organization: Organization, script: Script
) -> None:
    sandbox = OrganizationApp.objects.create(organization=organization, slug="sandbox-sms")
    fates = many(wanted(), wanted(idempotency_key="a"), wanted(idempotency_key="a"))
    assert statuses(fates) == ["new", "new", "repeat"]
    assert [row.pinned_app for row in Message.objects.all()] == [sandbox, sandbox]


def test_those_of_a_test_key_need_no_app(many: Callable[..., list[Any]], first: OrganizationApp) -> None:
    installing.uninstall(app=first)
    fates = many(wanted(), wanted(preferred_slug="sandbox-sms"), wanted(preferred_slug="first-sms"), is_test=True)
    assert statuses(fates) == ["new", "new", "NoApp"]
    assert [(row.is_test, row.pinned_app) for row in Message.objects.all()] == [(True, None)] * 2


@pytest.mark.usefixtures("first")
def test_none_are_no_work(many: Callable[..., list[Any]], django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert many() == []


@pytest.mark.postgres  # SQLite takes any length
@pytest.mark.usefixtures("first")
def test_one_that_the_database_refuses_stops_no_other(many: Callable[..., list[Any]]) -> None:
    messages = [wanted(idempotency_key=f"k{number}") for number in range(21)]
    messages[13] = wanted(recipient="+" + "9" * 20, idempotency_key="k13")
    fates = many(*messages)
    assert isinstance(fates[13], DataError)
    assert statuses(fates).count("new") == 20
    assert Message.objects.count() == 20


@pytest.mark.usefixtures("first", "second")
def test_what_is_queued_is_told_although_the_database_fails_then(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    insert = entries.insert

    def fail_for_second(owner: Any, arrived: Any, sender: entries.Sender) -> set[str]:
        if sender.slug == "second-sms":
            raise OperationalError("gone")
        return insert(owner, arrived, sender)

    monkeypatch.setattr(entries, "insert", fail_for_second)
    named = {**GOOD, "preferred_provider_slug": "second-sms"}
    results = api.post(BATCH, {"messages": [GOOD, named, {}, GOOD, named]}).json()["results"]
    assert [result["status"] for result in results] == [201, 503, 400, 201, 503]
    assert "may not have been queued" in results[1]["error"]
    assert "gone" not in caplog.text
    assert Message.objects.count() == 2


# --- an app that goes ---------------------------------------------------------------------------------------------


def elsewhere(act: Callable[[], Any]) -> Callable[[], Any]:
    """Return `act` for another thread: with a connection of its own, which is closed afterwards."""

    def run() -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    return run


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # or it would say the same until our transaction ends
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("together", [1, 3], ids=["alone", "together"])
def test_uninstalling_waits_for_a_message_that_only_this_app_may_send(
    organization: Organization, first: OrganizationApp, together: int
) -> None:
    messages = [wanted(preferred_slug="first-sms") for _ in range(together)]
    with ThreadPoolExecutor() as threads:
        with transaction.atomic():
            assert statuses(services.enqueue_many(messages, organization=organization)) == ["new"] * together
            uninstalling = threads.submit(elsewhere(lambda: installing.uninstall(app=first)))
            eventually(somebody_waits_for_a_lock, what="uninstalling to wait for the message")
        with pytest.raises(Conflict):
            uninstalling.result(20)
    first.refresh_from_db()
    assert first.is_usable


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("together", [1, 3], ids=["alone", "together"])
def test_a_message_waits_for_uninstalling_and_then_is_not_queued(
    organization: Organization, first: OrganizationApp, together: int
) -> None:
    messages = [wanted(preferred_slug="first-sms") for _ in range(together)]
    with ThreadPoolExecutor() as threads:
        with transaction.atomic():
            installing.uninstall(app=first)
            queueing = threads.submit(elsewhere(lambda: services.enqueue_many(messages, organization=organization)))
            eventually(somebody_waits_for_a_lock, what="the message to wait for uninstalling")
        assert statuses(queueing.result(20)) == ["NoApp"] * together
    assert not Message.objects.exists()


def test_a_direct_send_for_later_is_not_queued_for_an_app_that_has_gone(
    organization: Organization, first: OrganizationApp
) -> None:
    log = SmsLog(organization=organization, recipient=factories.mobile(), text="Hello")
    installing.uninstall(app=first)
    with pytest.raises(services.NoApp):
        services.queue_pinned(log=log, app=first, due_at=timezone.now())
    assert not Message.objects.exists()


# --- one key, many callers ----------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_batches_and_single_messages_with_the_same_keys_make_one_row_each(
    organization: Organization, first: OrganizationApp
) -> None:
    keys = [f"order-{number}" for number in range(40)]

    def queue(number: int) -> list[Any]:
        mine = random.Random(number).sample(keys, len(keys))  # in another order each
        if number % 2:
            return services.enqueue_many([wanted(idempotency_key=key) for key in mine], organization=organization)
        return [
            services.enqueue(organization=organization, recipient=factories.mobile(), text="Hello", idempotency_key=key)
            for key in mine
        ]

    with ThreadPoolExecutor(6) as threads:
        ends = [
            each for found in threads.map(lambda number: elsewhere(lambda: queue(number))(), range(6)) for each in found
        ]
    assert Counter(statuses(ends)) == {"new": 40, "repeat": 200}
    assert Message.objects.count() == len({end.pk for end in ends}) == 40


# --- wake-ups -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moments at which a worker was asked to drain."""
    found: list[float] = []
    monkeypatch.setattr(tasks.drain, "apply_async", lambda **_: found.append(time.monotonic()))
    return found


def test_the_first_rings_at_once_and_others_are_rung_for_together(rings: list[float]) -> None:
    tasks.wake()
    assert len(rings) == 1
    for _ in range(50):
        tasks.wake()
    came = time.monotonic()
    eventually(lambda: len(rings) > 1, what="the others' ring")
    assert rings[1] - came < 1, "a fraction of a second"
    eventually(lambda: time.monotonic() > rings[1] + 2 * tasks._LONGEST_MOMENT, what="the moment to be over")
    assert len(rings) == 2, "a ring that nobody wants"
    tasks.wake()
    assert len(rings) == 3


def test_while_they_keep_coming_a_few_rings_a_second_do(rings: list[float]) -> None:
    began = time.monotonic()
    while time.monotonic() < began + 1:
        tasks.wake()
        time.sleep(0.002)  # somebody's message
    eventually(lambda: rings[-1] > began + 1, what="the last ring, which is for all")
    gaps = [later - earlier for earlier, later in itertools.pairwise(rings)]
    assert 2 < len(rings) <= 10
    assert max(gaps) < 1, "a fraction of a second"


def test_those_who_come_while_somebody_rings_are_rung_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = []

    def ring(**_: Any) -> None:
        rings.append(1)
        if len(rings) == 1:
            tasks.wake()  # somebody else's message: the worker may have looked before it was there

    monkeypatch.setattr(tasks.drain, "apply_async", ring)
    tasks.wake()
    eventually(lambda: len(rings) == 2, what="the ring for the other")


def test_a_silent_broker_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(**_: Any) -> None:
        tries.append(1)
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(tasks.drain, "apply_async", refuse)
    monkeypatch.setattr(tasks.work_on_jobs, "apply_async", refuse)
    tasks.wake()
    threads = threading.active_count()
    for _ in range(20):
        tasks.wake()
        tasks.wake_for_jobs()
    assert tries == [1]
    assert threading.active_count() <= threads, "nobody waits to ring"


def test_jobs_are_rung_for_however_fresh_the_last_ring_is(rings: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    for_jobs = []
    monkeypatch.setattr(tasks.work_on_jobs, "apply_async", lambda **_: for_jobs.append(1))
    tasks.wake()
    tasks.wake_for_jobs()
    tasks.wake_for_jobs()
    assert (len(rings), len(for_jobs)) == (1, 2)
