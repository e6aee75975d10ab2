"""Is it up? Each package adds what it knows; this module asks them all."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from linkit.redis import client

logger = logging.getLogger(__name__)


class Health(StrEnum):
    """Worst last: `degraded` still takes messages, `unhealthy` does not."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class Check:
    """What one check found. `figures` are shown beside its status."""

    status: Health
    message: str = ""
    figures: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        said = {"message": self.message} if self.message else {}
        return {"status": self.status, **said, **(self.figures or {})}


_checks: dict[str, Callable[[], Check]] = {}


def register(name: str, check: Callable[[], Check]) -> None:
    """Add a check; called by a package's AppConfig when it is ready."""
    _checks[name] = check


def check_database() -> Check:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.error("Health: the database did not answer: %s", type(error).__name__)
        return Check(Health.UNHEALTHY, "The database does not answer.")
    return Check(Health.HEALTHY)


def check_broker() -> Check:
    try:
        client().ping()
    except redis.RedisError as error:
        logger.error("Health: Redis did not answer: %s", type(error).__name__)
        return Check(Health.DEGRADED, "Redis does not answer: messages are taken and wait.")
    return Check(Health.HEALTHY)


def report() -> dict[str, Any]:
    """Return `{status, version, environment, timestamp, checks}`; the status is the worst of the checks."""
    found: dict[str, Check] = {}
    for name, check in _checks.items():
        try:
            found[name] = check()
        except (DatabaseError, redis.RedisError) as error:
            logger.error("Health: %s could not be checked: %s", name, type(error).__name__)
            found[name] = Check(Health.DEGRADED, "Could not be checked.")
    order = list(Health)
    worst = max((check.status for check in found.values()), key=order.index, default=Health.HEALTHY)
    return {
        "status": worst,
        "version": settings.VERSION,
        "environment": settings.ENVIRONMENT,
        "timestamp": timezone.now(),
        "checks": {name: check.as_dict() for name, check in found.items()},
    }
