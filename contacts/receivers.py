"""What the outbox asks of programs."""

import threading
from typing import Any

from django.dispatch import receiver

from contacts import programs
from outbox.bulk.models import BulkJob
from outbox.signals import rows_wanted


@receiver(rows_wanted)
def write_program(sender: Any, job: BulkJob, stop: threading.Event, **_: Any) -> None:
    programs.write(job, stop)
