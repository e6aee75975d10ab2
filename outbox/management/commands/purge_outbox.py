"""Delete what is old enough: run it by hand when beat is down, or when there is much of it at first."""

import signal
import threading
from argparse import ArgumentTypeError
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from outbox import retention
from outbox.retention import Ages


def _days(text: str) -> timedelta:
    try:
        age = timedelta(days=float(text))
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"'{text}' is no number of days.") from None
    if age < timedelta(0):
        raise ArgumentTypeError("What is to come cannot be deleted.")
    return age


class Command(BaseCommand):
    help = (
        "Delete messages that ended long enough ago, and blank old numbers and texts in the SMS log, slowly, so that"
        " nobody notices. A message that waits never goes. Ctrl-C stops after the batch in hand."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=_days,
            metavar="DAYS",
            help="Delete every message that ended before so many days, whatever the settings say.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count. It reads the whole table.")

    def handle(self, *args: Any, **options: Any) -> None:
        ages = Ages.from_settings()
        if (older_than := options["older_than"]) is not None:
            ages = replace(ages, finished=older_than, undispatched=older_than)
        if options["dry_run"]:
            found = retention.count(ages)
            self.stdout.write(f"{found.messages} messages would be deleted, {found.logs} SMS blanked.")
            return
        stop = threading.Event()
        former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            purged = retention.purge(stop, ages=ages)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        more = "" if purged.is_done else " Stopped; there may be more."
        self.stdout.write(f"{purged.messages} messages deleted, {purged.logs} SMS blanked.{more}")
