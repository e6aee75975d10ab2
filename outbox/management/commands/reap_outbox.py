"""Settle what nobody finished: run it by hand when beat is down."""

from typing import Any

from django.core.management.base import BaseCommand

from outbox.reaping import reap


class Command(BaseCommand):
    help = "Return unstarted messages of dead workers, make started ones unknown, fail expired ones."

    def handle(self, *args: Any, **options: Any) -> None:
        reaped = reap()
        self.stdout.write(
            f"{reaped.returned} returned to the queue, {reaped.unknown} unknown, {reaped.expired} expired, "
            f"{reaped.direct} direct sends unknown, {reaped.jobs} bulk jobs out of time, {reaped.files} old files "
            "deleted."
        )
