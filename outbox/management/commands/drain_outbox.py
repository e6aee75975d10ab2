"""Do once what workers do all the time, without Celery: read files, send what is due."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from outbox.bulk import work
from outbox.dispatch import Drain


class Command(BaseCommand):
    help = (
        "Read the bulk files that wait and send the messages that are due, then return. Ctrl-C stops claiming and lets"
        " calls in flight finish."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop claiming after so many seconds.")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not stop.is_set() and work.do_next(stop):
                pass
            tally = Drain(window=options["seconds"], stop=stop).run()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        for status, count in sorted(tally.items()):
            self.stdout.write(f"{status}: {count}")
        if not tally:
            self.stdout.write("Nothing was due.")
