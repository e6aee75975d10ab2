"""The ceiling of a drain: threads that post forms with a `requests` Session each, and no database at all.

    python -m tests.benchmarks.pool URL COUNT [THREADS] [FIRST]

The form is what the mora-sms adapter posts. It prints `ready`, waits for a line on stdin, posts to so many numbers from
place FIRST on, reads each answer, and prints when it had the last and how long it has computed.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time

import requests

from tests.benchmarks.form import form


def post_all(url: str, places: itertools.count[int], end: int) -> None:
    with requests.Session() as session:
        # `next` of a counter is one step, which threads share without a lock.
        while (place := next(places)) < end:
            response = session.post(url, data=form(place), timeout=30)
            assert response.json()["data"]["code"] == 100, response.text


def main(url: str, count: int, threads: int = 64, first: int = 0) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    began, computed = time.time(), time.process_time()
    places = itertools.count(first)
    pool = [threading.Thread(target=post_all, args=(url, places, first + count)) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    print(json.dumps({"began": began, "ended": time.time(), "processor": time.process_time() - computed}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
