"""`manage.py up`, as somebody who has just cloned the repository: one command, and what it prints is copied."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import services
from tests.stack import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e]

START_SECONDS = 60.0
END_SECONDS = 15.0


def processes() -> dict[int, tuple[int, str]]:
    """Return every process of this machine that is not a zombie: its parent and its command line."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat=,args="], text=True, capture_output=True, check=True)
    rows = (line.split(None, 3) for line in listed.stdout.splitlines())
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if len(row) == 4 and not row[2].startswith("Z")}


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below `pid` with their command lines."""
    known, found = processes(), {pid}
    while more := {child for child, (parent, _) in known.items() if parent in found} - found:
        found |= more
    return {child: known[child][1] for child in found - {pid} if child in known}


class Up:
    """One run of `manage.py up`."""

    def __init__(self, var: Path, port: int, **env: str) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self._log = var.with_name(f"up-{time.monotonic_ns()}.log")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        # Nobody has set any of these; empty, so that a developer's .env cannot say otherwise.
        unset = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEYS"), "")
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=services.ROOT,
                env={**kept, **unset, "PUBLIC_URL": self.url, "PORT": str(port), "VAR_DIR": str(var), **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        # For the keeper of the suite's processes: should the test run be killed, it ends this one too.
        self._note = Path(os.environ[services.GROUPS]) / str(self.pid)
        self._note.touch()
        self.children: dict[int, str] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_ready(self) -> Up:
        def look() -> bool:
            assert self._process.poll() is None, f"up ended with {self._process.returncode}:\n{self.output}"
            return "Ctrl-C ends everything" in self.output

        eventually(look, seconds=START_SECONDS, what="up to be ready")
        self.children = descendants(self.pid)
        return self

    def child(self, word: str) -> int:
        """Return the direct child whose command line has this word."""
        known = processes()
        [pid] = [pid for pid, (parent, command) in known.items() if parent == self.pid and word in command]
        return pid

    def printed(self, label: str) -> str:
        """Return what stands behind a label of the summary."""
        found = re.search(rf"^ +{label} +(.+)$", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    def curls(self) -> list[list[str]]:
        """Return the printed commands as a shell would read them."""
        text = self.output.replace("\\\n", " ")
        return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("curl ")]

    def send(self) -> str:
        """Do what the first printed command does, and return the id of the message."""
        body = run_curl(self.curls()[0])
        assert body["dispatch_status"] == "pending"
        return str(body["id"])

    def status(self, message_id: str) -> str:
        """Do what the second printed command does."""
        command = [argument.replace("/ID", f"/{message_id}") for argument in self.curls()[1]]
        return str(run_curl(command)["dispatch_status"])

    def end(self, number: int = signal.SIGINT) -> int:
        """Ask it to end, wait, and return the exit code. Fails unless all its processes are gone in time."""
        self.children |= descendants(self.pid)
        began = time.monotonic()
        os.kill(self.pid, number)
        try:
            code = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"up still runs after {END_SECONDS} s:\n{self.output}") from None
        self.wait_until_gone(seconds=END_SECONDS - (time.monotonic() - began))
        return code

    def wait_until_gone(self, seconds: float) -> None:
        def gone() -> bool:
            known = processes()
            return not any(known.get(pid, (0, ""))[1] == command for pid, command in self.children.items())

        eventually(gone, seconds=seconds, what="all processes of up to be gone")

    def wait(self) -> int:
        return self._process.wait(timeout=START_SECONDS)

    def clean_up(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self._process.poll() is None:
            left = descendants(self.pid)
            self._process.terminate()
            try:
                self._process.wait(timeout=3 * END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            known = processes()
            for pid, command in left.items():
                if known.get(pid, (0, ""))[1] == command:
                    os.kill(pid, signal.SIGKILL)
        self._note.unlink(missing_ok=True)


def run_curl(command: list[str]) -> dict[str, Any]:
    """Make the request of a curl command that uses -sS, -H and -d alone, and return the JSON of its answer."""
    assert command[:2] == ["curl", "-sS"]
    url, options = command[2], command[3:]
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    data = next((value for option, value in pairs if option == "-d"), None)
    answer = requests.request("POST" if data else "GET", url, headers=headers, data=data, timeout=30)
    assert answer.ok, answer.text
    return dict(answer.json())


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Return a starter of runs that share a folder: `up()`, `up(PORT="…")`."""
    started: list[Up] = []

    def start(**env: str) -> Up:
        run = Up(tmp_path / "var", services.free_port(), **env)
        started.append(run)
        return run

    yield start
    for run in started:
        run.clean_up()


def assert_sends(run: Up) -> str:
    """Send a message, and return its id when it is sent."""
    message_id = run.send()
    eventually(lambda: run.status(message_id) == "sent", what="the message to be sent")
    return message_id


def assert_a_second_one_is_refused(run: Up, other: Up) -> None:
    assert other.wait() == 1
    assert "already running on" in other.output
    assert f"(process {run.pid})" in other.output
    assert requests.get(f"{run.url}/api/v1/ping", timeout=30).ok, "the first one is not disturbed"


def assert_a_dead_child_is_started_again(run: Up) -> None:
    os.kill(run.child("celery -A linkit worker"), signal.SIGKILL)
    eventually(lambda: "Starting worker again (1 of 3)" in run.output, what="the worker's restart")
    assert "worker has ended (SIGKILL)" in run.output
    assert_sends(run)


@pytest.mark.timeout(300)
def test_from_nothing_to_a_sent_message_and_again_after_an_end_and_after_a_crash(up, tmp_path):
    """One run on an empty folder, then two more on what it has left: a start is what takes long."""
    var = tmp_path / "var"
    first = up().wait_until_ready()
    key, password = first.printed("API key"), first.printed("Password")
    message_id = assert_sends(first)
    login = {"email": first.printed("E-mail"), "password": password}
    assert requests.post(f"{first.url}/api/v1/auth/login", json=login, timeout=30).status_code == 200
    assert requests.get(first.printed("Console"), timeout=30).status_code == 200
    assert requests.get(f"{first.url}/static/admin/css/base.css", timeout=30).status_code == 200

    # A second terminal finds the same broker; nobody else can read what it needs for that.
    assert (var / "embedded.env").stat().st_mode & 0o777 == 0o600
    assert {each.name for each in (var / "log").iterdir()} == {"beat.log", "valkey.log", "web.log", "worker.log"}
    assert len(first.children) >= 5, "valkey, worker, web with its own worker, beat"
    assert_a_second_one_is_refused(first, up())
    assert_a_dead_child_is_started_again(first)
    assert first.end(signal.SIGINT) == 0
    assert not (var / "embedded.env").exists()

    second = up().wait_until_ready()
    assert (second.printed("API key"), second.printed("Password")) == (key, password)
    assert second.status(message_id) == "sent", "the data is kept"
    assert_sends(second)

    # A crash leaves no process, and its file fools nobody.
    os.kill(second.pid, signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    if sys.platform == "linux":  # elsewhere the kernel cannot tell the children
        second.wait_until_gone(seconds=END_SECONDS)
    stale = (var / "embedded.env").read_text()
    third = up().wait_until_ready()
    assert (var / "embedded.env").read_text() != stale
    assert_sends(third)
    assert third.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PORT": "99999"}, "PORT=99999 is no port number"),
        ({"HOST": "192.0.2.1"}, "HOST and PORT say where"),  # nobody's address
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "The server that REDIS_URL names does not answer"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(up, env, said):
    run = up(**env)
    assert run.wait() == 1
    assert said in run.output
    assert "Traceback" not in run.output


def test_a_busy_port_is_said(up):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = up(PORT=str(port))
        assert run.wait() == 1
    assert f"Port {port} on 127.0.0.1 is taken" in run.output
    assert "Traceback" not in run.output


def test_a_signal_at_any_moment_leaves_nothing(up):
    for pause in (0.3, 0.9, 1.5, 2.1):
        run = up()
        time.sleep(pause)
        # The first may come before anybody listens.
        assert run.end(signal.SIGTERM) in (0, -signal.SIGTERM), run.output
        assert "Traceback" not in run.output, run.output
