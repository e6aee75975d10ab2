"""Redis goes away and comes back under a working product: nothing is lost, nobody has to restart anything."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import redis

from tests import services
from tests.gateway import Gateway, accept
from tests.stack import Blocker, Stack, Template, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]


class OwnRedis:
    """A Redis that a test may stop: the suite's own is everybody's."""

    def __init__(self) -> None:
        self.port = services.free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command = [str(services._redis_binary()), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, what="Redis to answer")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    server = OwnRedis()
    yield server
    server.stop()


@pytest.fixture
def stack(
    own_redis: OwnRedis, gateway: Gateway, stack_template: Template, django_db_blocker: Blocker
) -> Iterator[Stack]:
    with Stack(
        template=stack_template, redis_url=own_redis.url, base_urls=gateway.base_urls, blocker=django_db_blocker
    ) as running:
        yield running
        own_redis.start() if own_redis.process is None else None


def test_a_worker_outlives_a_redis_that_goes_away_during_a_drain(
    stack: Stack, gateway: Gateway, own_redis: OwnRedis
) -> None:
    stack.install("mora-sms")
    gateway.script("mora-sms", accept(latency=1.0))
    stack.enqueue(150)
    worker = stack.worker(queues="drain")
    beat = stack.beat()
    gateway.journal.wait_for_count(64, seconds=30)

    own_redis.stop()
    stack.wait_until_settled(seconds=60)  # the drain needs no Redis, and its task ends while there is none
    stack.enqueue(20)  # without a wake-up
    own_redis.start()

    stack.wait_until_settled(seconds=60)
    assert worker.is_alive
    assert beat.is_alive
    assert stack.statuses() == {"sent": 170}
    assert gateway.journal.duplicates(accepted_only=False) == []


def test_messages_are_queued_while_redis_is_away(stack: Stack, own_redis: OwnRedis) -> None:
    stack.install("mora-sms")
    stack.web()
    own_redis.stop()

    answer = stack.post("/api/v1/sms/outbox", {"mobile": "0501234567", "message": "Hello"})

    assert answer.status_code == 201
    health = stack.get("/api/v1/health").json()
    assert health["status"] == "degraded"
    assert health["checks"]["broker"]["status"] == "degraded"
    stack.manage("drain_outbox")
    assert stack.statuses() == {"sent": 1}
