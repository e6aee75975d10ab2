"""What the base class gives to adapters: lists over pages, times that are never early, statuses in bodies."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import responses

from sms_providers.adapters.base import MAX_PAGES, ProviderAdapter, ProviderRefused
from sms_providers.adapters.wire import as_its_body_says, bare_sender, round_up
from sms_providers.transport import Budget, Reply

LIST = "https://gateway.example/list"


class Lister(ProviderAdapter):
    """A provider with nothing but a list of senders. `budgets` are those of its calls."""

    slug, name, origin = "lister-sms", "Lister", "https://gateway.example"
    budgets: list[Budget]

    def call(self, request: requests.Request, budget: Budget) -> Reply:
        self.budgets.append(budget)
        return super().call(request, budget)

    def fetch_sender_names(self, budget: Budget) -> list[str]:
        def request(page: int) -> requests.Request:
            return requests.Request("GET", self.url("/list"), params={"page": page})

        return list(
            self.paged(request, lambda reply: reply.json if isinstance(reply.json, list) else None, budget, size=2)
        )


@pytest.fixture
def lister() -> Lister:
    adapter = Lister({})
    adapter.budgets = []
    return adapter


@responses.activate
def test_a_list_ends_with_a_page_that_is_not_full(lister: Lister):
    for page in (["a", "b"], ["c", "d"], ["e"]):
        responses.get(LIST, json=page)
    assert lister.sender_names(Budget(timedelta(seconds=5))) == ["a", "b", "c", "d", "e"]
    assert [call.request.url for call in responses.calls] == [f"{LIST}?page={page}" for page in range(3)]


@responses.activate
def test_all_pages_share_one_limit(lister: Lister):
    for page in (["a", "b"], ["c", "d"], ["e"]):
        responses.get(LIST, json=page)
    before = time.monotonic()
    lister.sender_names(Budget(timedelta(seconds=5), start_by=before + 9))
    ends = [before + budget.limit.total_seconds() for budget in lister.budgets]
    assert sorted(ends, reverse=True) == ends
    assert len(set(ends)) == 3, "each page has what the ones before it have left"
    assert {budget.start_by for budget in lister.budgets} == {before + 9}


@responses.activate
def test_a_list_without_end_is_left(lister: Lister):
    responses.get(LIST, json=["a", "b"])
    assert len(lister.sender_names(Budget(timedelta(seconds=5)))) == 2 * MAX_PAGES


@pytest.mark.parametrize("reply", [{"status": 500, "json": ["c"]}, {"json": {"no": "list"}}, {"body": "<html>"}])
@responses.activate
def test_a_page_that_is_no_list_refuses_the_whole(lister: Lister, reply: dict[str, Any]):
    responses.get(LIST, json=["a", "b"])
    responses.get(LIST, **reply)
    with pytest.raises(ProviderRefused):
        lister.sender_names(Budget(timedelta(seconds=5)))


def test_a_time_is_rounded_up_to_its_step():
    moment = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
    for step in (timedelta(minutes=1), timedelta(seconds=1), timedelta(milliseconds=1)):
        assert round_up(moment, step) == moment
        assert round_up(moment + timedelta(microseconds=1), step) == moment + step
        assert round_up(moment + step - timedelta(microseconds=1), step) == moment + step
    assert round_up(datetime.fromisoformat("2026-02-01T12:30:00.5+03:00"), timedelta(minutes=1)) == moment + timedelta(
        minutes=1
    )


@pytest.mark.parametrize(
    ("http", "body", "expected"),
    [(200, b'{"code": 429}', 429), (200, b'{"code": "503"}', 503), (200, b'{"code": 201}', 200), (200, b"[]", 200),
     (200, b'{"code": 4000}', 200), (404, b'{"code": 500}', 404)],
)  # fmt: skip
def test_the_status_of_a_body_counts_where_http_says_success(http: int, body: bytes, expected: int):
    assert as_its_body_says(Reply(http, {}, body), "code").status == expected


@pytest.mark.parametrize(
    ("sender", "expected"), [("+966500000001", "966500000001"), ("966500000001", "966500000001"), ("+Shop", "+Shop")]
)
def test_a_sender_that_is_a_number_goes_bare(sender: str, expected: str):
    assert bare_sender(sender) == expected
