"""Fixtures of the whole suite. `tests.services` has started the servers and set the environment before this loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import hypothesis
import pytest
import redis
from rest_framework.test import APIClient

import linkit.redis
import outbox.tasks
from linkit.models import Organization, User
from sms_providers.models import OrganizationApp
from tests import factories, offline, services
from tests.gateway import Gateway
from tests.stack import Blocker, Stack, Template

offline.close_the_network()
# How long an example takes says how busy the machine is, and `timeout` guards against those that hang.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
pytest.register_assert_rewrite("tests.e2e.aftermath")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest,
) -> None:
    """On SQLite test in a file: Django's in-memory database has one connection, and races need several."""
    if services.is_sqlite():
        from django.db import connections

        for database in connections.all(initialized_only=False):
            database.settings_dict["TEST"]["NAME"] = os.environ["DATABASE_URL"].removeprefix("sqlite:///") + ".test"
    # Only now the name with the number of the xdist worker, which is added to what stands there.
    request.getfixturevalue("django_db_modify_db_settings_parallel_suffix")


@pytest.fixture(scope="session")
def _redis() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _clean_redis(_redis: redis.Redis) -> None:
    """Give every test an empty Redis: caches, limits, lockouts and queues are as new, and it was never away."""
    _redis.flushdb()
    linkit.redis._silent["until"] = 0.0
    outbox.tasks._broker["next_ring"] = 0.0


@pytest.fixture
def organization(db: None) -> Organization:
    return factories.make_organization("Acme")


@pytest.fixture
def other_organization(db: None) -> Organization:
    return factories.make_organization("Stranger")


@pytest.fixture
def user(organization: Organization) -> Callable[..., User]:
    """Return a maker of people: `user()`, `user(role="admin")`, `user(organization=None, is_superuser=True)`.

    The password is `factories.PASSWORD`.
    """

    def make(**fields: Any) -> User:
        return factories.make_user(fields.pop("organization", organization), **fields)

    return make


@pytest.fixture
def api_key(organization: Organization) -> Callable[..., str]:
    """Return a maker of API keys' secrets: `api_key()`, `api_key(scopes=("read",))`, `api_key(is_test=True)`."""

    def make(**fields: Any) -> str:
        return factories.make_api_key(fields.pop("organization", organization), **fields)

    return make


class Api(APIClient):
    """A test client that speaks JSON: `api.post("/api/v1/sms/outbox", {...})`, then `.json()`."""

    default_format = "json"

    def using(self, secret: str) -> Api:
        """Return a client of the same kind that calls with this key or session token."""
        client = type(self)()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return client


@pytest.fixture
def anonymous() -> Api:
    """A client without credentials."""
    return Api()


@pytest.fixture
def api(anonymous: Api, api_key: Callable[..., str]) -> Api:
    """A client with a live API key of `organization` that has every scope."""
    return anonymous.using(api_key())


@pytest.fixture
def install(organization: Organization) -> Callable[..., OrganizationApp]:
    """Return `factories.install`, for `organization` unless the first argument names another."""

    def make(*where: Any, **given: Any) -> OrganizationApp:
        owner, slug = where if len(where) == 2 else (organization, *where)
        return factories.install(owner, slug, **given)

    return make


@pytest.fixture
def gateway(settings: Any) -> Iterator[Gateway]:
    """A local gateway with real sockets that stands in for every provider it speaks, for this test only."""
    with Gateway() as running:
        settings.SMS_PROVIDER_BASE_URLS = running.base_urls
        yield running


# --- real processes -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stack_template() -> Iterator[Template]:
    """The database that stacks are copied from. Made once, by the first test that wants a stack."""
    template = Template()
    yield template
    template.drop()


@pytest.fixture
def stack_env() -> dict[str, str]:
    """What a test file or a parametrization adds to the environment of its stack's processes."""
    return {}


@pytest.fixture
def stack(
    gateway: Gateway, stack_template: Template, stack_env: dict[str, str], django_db_blocker: Blocker
) -> Iterator[Stack]:
    """The product as real processes against `gateway`; nothing runs until the test starts it."""
    with Stack(
        template=stack_template,
        redis_url=services.stack_redis_url(),
        base_urls=gateway.base_urls,
        blocker=django_db_blocker,
        env=stack_env,
    ) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its processes have said."""
    report = yield
    if report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Stack):
                report.sections.append(("processes", used.logs()))
    return report
