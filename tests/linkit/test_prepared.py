"""Statements that PostgreSQL plans once: where it may, and where a pooler stands between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from linkit import prepared

ASK = "SELECT %s::integer + 1"


@pytest.fixture(autouse=True)
def _session(db: None) -> Iterator[None]:
    """A session of its own, in which nothing has been prepared, and no pooler has been met."""
    connection.close() if not connection.in_atomic_block else None
    prepared._pooler["is_there"] = False
    yield
    prepared._pooler["is_there"] = False


def known() -> list[tuple[Any, ...]]:
    """Return what this session has prepared of ours, and how often it was planned for its values."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT $1::int%'"
        )
        return cursor.fetchall()


def test_it_returns_rows_on_every_database() -> None:
    assert [prepared.fetch("SELECT %s, %s", ["a", 1]) for _ in range(4)] == [[("a", 1)]] * 4


def test_it_counts_as_a_query_like_others(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(4) as queries:
        for _ in range(4):
            prepared.fetch("SELECT %s", ["a"])
    assert "SELECT" in queries[0]["sql"]


def test_an_error_is_djangos() -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        prepared.fetch("SELECT nothing FROM nowhere", [])
    assert prepared.fetch("SELECT %s", ["a"]) == [("a",)]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_what_comes_back_is_prepared() -> None:
    for number in range(3):
        assert prepared.fetch(ASK, [number]) == [(number + 1,)]
        assert len(known()) == (number == 2)
    for number in range(10):
        assert prepared.fetch(ASK, [number]) == [(number + 1,)]
    ((_, custom_plans),) = known()
    assert custom_plans <= 5, "it is planned each time"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_behind_a_pooler_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/production.md has it: it takes no start-up options."""
    monkeypatch.delitem(connection.settings_dict["OPTIONS"], "options")
    for number in range(5):
        assert prepared.fetch(ASK, [number]) == [(number + 1,)]
    assert known() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_pooler_that_nobody_told_us_of_costs_no_error(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        prepared.fetch(ASK, [number])
    assert known()
    with connection.cursor() as cursor:  # as if the next transaction were in another session
        cursor.execute("SELECT name FROM pg_prepared_statements")
        for (name,) in cursor.fetchall():
            cursor.execute(f'DEALLOCATE "{name}"')
    assert prepared.fetch(ASK, [7]) == [(8,)]
    assert "pooler" in caplog.text
    for number in range(5):
        assert prepared.fetch(ASK, [number]) == [(number + 1,)]
    assert known() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_session_that_has_ended_is_replaced_between_requests() -> None:
    database: Any = connection
    for number in range(3):
        prepared.fetch(ASK, [number])
    pid = database.connection.info.backend_pid
    parameters = {
        name: value
        for name, value in database.get_connection_params().items()
        if name in ("dbname", "user", "host", "port")
    }
    with psycopg.connect(**parameters, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    database.health_check_enabled, database.health_check_done = True, False  # as when a request begins
    assert prepared.fetch(ASK, [7]) == [(8,)]
    assert database.connection.info.backend_pid != pid
