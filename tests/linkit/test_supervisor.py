"""What `manage.py up` relies on: children end in order, and nothing of them is left."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from linkit import supervisor
from linkit.supervisor import Child, ChildFailed, Supervisor, wait_for

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
# A leader that dies, and a child of it that does not.
ORPHANING = """
import os, sys, time
pid = os.fork()
if pid:
    print(pid, flush=True)
    sys.exit(7)
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(code: str, name: str = "child", **fields) -> Child:
        command = [sys.executable, "-c", code]
        made.append(Child(name=name, command=command, log=tmp_path / "log" / f"{name}.log", env=os.environ, **fields))
        return made[-1]

    yield make
    for each in made:
        each.grace = 0
        each.stop()


def eventually(condition: Callable[[], bool]) -> None:
    assert wait_for(condition, seconds=20, meanwhile=lambda: None)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may have reaped an orphan yet.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_it_has_a_session_a_log_and_standard_input_of_its_own(child):
    one = child("import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read())", stdin=b"secret")
    one.start()
    eventually(lambda: one.exit_status is not None)
    assert one.exit_status == "exit code 0"
    assert one.last_lines() == "True secret"


def test_one_that_ignores_sigterm_is_killed_after_the_grace(child):
    one = child(STUBBORN, grace=0.3)
    one.start()
    eventually(lambda: one.last_lines() == "up")
    pid, began = one.process.pid, time.monotonic()
    one.stop()
    assert 0.3 <= time.monotonic() - began < 5
    assert not is_there(pid)


def test_what_a_dead_leader_left_behind_is_killed(child):
    one = child(ORPHANING)
    said: list[str] = []
    watch = Supervisor(say=said.append)
    watch.add(one)
    eventually(lambda: one.exit_status is not None)
    orphan = int(one.last_lines())
    assert is_there(orphan)
    watch.look()
    eventually(lambda: not is_there(orphan))
    assert "child has ended (exit code 7). Its last lines:" in said[0]


def test_a_child_is_started_again_three_times_and_no_more(child, monkeypatch):
    said: list[str] = []
    watch = Supervisor(say=said.append)
    watch.add(child("print('no luck')"))
    # The pauses between restarts grow; here time flies.
    clock = itertools.count(step=100)
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    def look_until_it_fails() -> None:
        while True:
            watch.look()
            time.sleep(0.01)

    with pytest.raises(ChildFailed, match="child was started again 3 times"):
        look_until_it_fails()
    starts = [line for line in said if line.startswith("Starting child again")]
    assert starts == [f"Starting child again ({count} of 3)." for count in (1, 2, 3)]
    assert "no luck" in said[0]


def test_the_last_started_ends_first(child, tmp_path):
    log = tmp_path / "ends"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    with open({str(log)!r}, 'a') as log: log.write('NAME\\n')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    watch = Supervisor(say=lambda text: None)
    children = [child(code.replace("NAME", name), name=name) for name in ("valkey", "worker", "web", "beat")]
    for each in children:
        watch.add(each)
    eventually(lambda: all(each.last_lines() == "up" for each in children))
    watch.stop()
    assert log.read_text().split() == ["beat", "web", "worker", "valkey"]
    assert all(each.process is None for each in children)


def test_a_log_that_has_grown_long_is_set_aside(child, monkeypatch):
    one = child("print('new')")
    one.log.parent.mkdir()
    one.log.write_text("old\n")
    one.set_aside_long_log()
    assert one.log.read_text() == "old\n"
    monkeypatch.setattr(supervisor, "_LOG_BYTES", 3)
    one.set_aside_long_log()
    assert not one.log.exists()
    assert one.log.with_name("child.log.1").read_text() == "old\n"
    assert one.last_lines() == ""


def test_waiting_ends():
    assert not wait_for(lambda: False, seconds=0.1, meanwhile=lambda: None)
