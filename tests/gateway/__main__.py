"""`python -m tests.gateway --port 0`: the gateway as a process. Prints one JSON line when it listens.

It stops on Ctrl-C, and when its stdin closes if that is a pipe: it does not outlive whoever started it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import stat
import sys
import threading
from pathlib import Path

from tests.gateway import Gateway


def _set_when_stdin_closes(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    parser = argparse.ArgumentParser(description="A local SMS gateway for tests.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--journal", type=Path, default=None, help="append what is received to this file")
    options = parser.parse_args()
    over = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: over.set())
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        threading.Thread(target=_set_when_stdin_closes, args=[over], daemon=True).start()
    with Gateway(port=options.port, journal_path=options.journal) as gateway:
        print(json.dumps({"port": gateway.port, "url": gateway.url, "base_urls": gateway.base_urls}), flush=True)
        over.wait()


if __name__ == "__main__":
    main()
