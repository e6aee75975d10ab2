"""One worker process to measure: `manage.py drain_outbox`, from when it is told to go until nothing is due.

    python -m tests.benchmarks.worker

It prints `ready` once Django is loaded, waits for a line on stdin, drains, and prints how long it has computed, so that
the start of an interpreter is no part of what is measured.
"""

from __future__ import annotations

import json
import sys
import time

import django
from django.core.management import call_command


def main() -> None:
    django.setup()
    from outbox.management.commands import drain_outbox

    print("ready", flush=True)
    sys.stdin.readline()
    began, computed = time.time(), time.process_time()
    call_command(drain_outbox.Command())
    print(json.dumps({"began": began, "ended": time.time(), "processor": time.process_time() - computed}), flush=True)


if __name__ == "__main__":
    main()
