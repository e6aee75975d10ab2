"""The product as real processes: web, workers, beat and commands, over a database and a Redis of their own.

    def test_something(stack: Stack, gateway: Gateway):
        stack.install("mora-sms")
        stack.web()
        stack.worker()
        row = stack.post("/api/v1/sms/outbox", {...}).json()
        stack.wait_until_settled()

Every process is one of ours, in a session of its own, with its output in a file that a failed test shows.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString, Protocol, TypeVar
from urllib.parse import urlsplit

import environ
import psycopg
import redis
import requests
from django.db import connections

from tests import factories, services, warm

T = TypeVar("T")

START_SECONDS = 45.0  # two loaded cores; a free one needs two
FINAL = frozenset({"sent", "failed", "dispatch_timeout"})
ORGANIZATION, EMAIL = "Acme", "admin@example.com"
_LISTENING = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")

# Defaults that keep tests short. A test overrides them by the stack's `env`.
QUICK = {
    "OUTBOX_BACKOFF_MIN_SECONDS": "0.2",
    "OUTBOX_BACKOFF_MAX_SECONDS": "1",
    # The tests poll, and they are not about limits.
    "API_RATE_PER_MINUTE": "600000",
    "API_RATE_BURST": "100000",
    # Bytes that nothing answers must not hold up the end of a test.
    "REDIS_TIMEOUT_SECONDS": "2",
}


class Blocker(Protocol):
    """pytest-django's `django_db_blocker`."""

    def unblock(self) -> contextlib.AbstractContextManager[None]: ...


def eventually(look: Callable[[], T], *, seconds: float = 20.0, what: str) -> T:
    """Call `look` until it returns something true, and return that. Raises AssertionError when time is up."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {seconds} s in vain for {what}.")
        time.sleep(0.05)
    return seen


class Running:
    """One process that a stack has started."""

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self._process = warm.start(command, env=env, log=self._log)
        # For the keeper: should this test run be killed, it ends the group.
        self._note = Path(os.environ[services.GROUPS]) / str(self.pid)
        self._note.touch()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started: no chance to say anything to anybody."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()

    def terminate(self) -> None:
        """SIGTERM: stop claiming, finish what is in flight, leave."""
        self._process.terminate()

    def freeze(self) -> None:
        """SIGSTOP, and wait until it has taken effect."""
        os.kill(self.pid, signal.SIGSTOP)
        look = ["ps", "-o", "stat=", "-p", str(self.pid)]
        eventually(
            lambda: subprocess.run(look, capture_output=True).stdout.startswith(b"T"), what=f"{self.name} to be frozen"
        )

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end and return the exit code."""
        self._process.join(seconds)
        if self.exit_code is None:
            raise AssertionError(f"{self.name} still runs after {seconds} s:\n{self.output[-3000:]}")
        return self.exit_code

    def end(self) -> None:
        """Leave nothing of it behind, whatever state it is in."""
        self.kill()
        self._note.unlink(missing_ok=True)


class Template:
    """A migrated and bootstrapped database of this pytest worker, to copy from: migrating takes seconds, a copy not."""

    def __init__(self) -> None:
        self.name = f"stack_{services.worker_index()}_{os.getpid()}"
        self._numbers = itertools.count(1)
        _administer(f'CREATE DATABASE "{self.name}"')
        env = {**os.environ, "DATABASE_URL": database_url(self.name), **QUICK}
        _run_manage("migrate", "--verbosity", "0", env=env)
        bootstrapped = _run_manage("bootstrap", "--organization", ORGANIZATION, "--email", EMAIL, "--json", env=env)
        self.access: dict[str, Any] = json.loads(bootstrapped)

    def copy(self) -> str:
        """Create a database and return its name."""
        name = f"{self.name}_{next(self._numbers)}"
        _administer(f'CREATE DATABASE "{name}" TEMPLATE "{self.name}"')
        return name

    def drop(self, name: str = "") -> None:
        _administer(f'DROP DATABASE IF EXISTS "{name or self.name}" WITH (FORCE)')


def database_url(name: str) -> str:
    """Return the URL of another database on the suite's server."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return url._replace(path=f"/{name}").geturl()


def _administer(statement: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(statement.encode())


def _run_manage(*arguments: str, env: Mapping[str, str]) -> str:
    """Run a management command to its end and return what it printed. A failed one fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        done = warm.start(["manage.py", *arguments], env=env, log=output, errors=errors)
        done.join(60)
        if done.exitcode != 0:
            done.kill()
            said = output.read_text() + errors.read_text()
            raise AssertionError(f"manage.py {' '.join(arguments)}: exit code {done.exitcode}\n{said}")
        return output.read_text()


class Stack:
    """Processes over a database and a Redis of their own. A context manager: at the end nothing is left of it."""

    def __init__(
        self,
        *,
        template: Template,
        redis_url: str,
        base_urls: Mapping[str, str],
        blocker: Blocker,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._template, self._blocker = template, blocker
        self.database = template.copy()
        self.redis_url = redis_url
        self._redis = redis.Redis.from_url(redis_url)
        self._redis.flushdb()
        # In the suite's own folder, which the keeper removes even when this test run is killed.
        self._folder = Path(tempfile.mkdtemp(prefix="stack-", dir=Path(os.environ[services.GROUPS]).parent))
        self._processes: list[Running] = []
        self._names: Counter[str] = Counter()
        self.env = {
            **os.environ,
            **QUICK,
            "DATABASE_URL": database_url(self.database),
            "REDIS_URL": redis_url,
            "SMS_PROVIDER_BASE_URLS": json.dumps(dict(base_urls)),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        self.url = ""
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.access['api_key']}"

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        for process in self._processes:
            process.end()
        self._redis.flushdb()
        self._redis.close()
        if self._connection is not None:
            self._connection.close()
        self._template.drop(self.database)
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- processes -----------------------------------------------------------------------------------------

    def start(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Running:
        """Start `python -m …` or `manage.py …` with the stack's environment."""
        self._names[name] += 1
        process = Running(
            f"{name}-{self._names[name]}",
            command,
            folder=self._folder,
            env={**self.env, **(env or {})},
        )
        self._processes.append(process)
        return process

    def web(self, *, workers: int = 2, threads: int = 8, env: Mapping[str, str] | None = None) -> Running:
        """Start the web server on a free port and wait until it answers; `url`, `get` and `post` then work."""
        process = self.start(
            "web", "-m", "gunicorn", "linkit.wsgi", "--config", "python:linkit.web_server",
            "--bind", "127.0.0.1:0", "--workers", str(workers),
            "--threads", str(threads), "--worker-tmp-dir", str(self._folder), "--no-control-socket", env=env,
        )  # fmt: skip
        self.url = self._wait_for(process, lambda: _LISTENING.findall(process.output))[0]
        self._wait_for(process, self._web_answers)
        return process

    def worker(self, *, queues: str = "drain,upkeep,bulk", env: Mapping[str, str] | None = None) -> Running:
        """Start a Celery worker and wait until it consumes."""
        before = self._consumers()
        process = self.start(
            "worker", "-m", "celery", "-A", "linkit", "worker", "-P", "threads", "-c", "4", "-Q", queues,
            "--without-mingle", "--without-gossip", "--without-heartbeat", env=env,
        )  # fmt: skip
        self._wait_for(process, lambda: self._consumers() - before)
        return process

    def beat(self, env: Mapping[str, str] | None = None) -> Running:
        """Start Celery's scheduler. Its first tick comes by itself."""
        return self.start(
            "beat", "-m", "celery", "-A", "linkit", "beat", "--pidfile=",
            "--schedule", str(self._folder / "beat.db"), env=env,
        )  # fmt: skip

    def manage(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run a management command to its end and return what it printed. A failed one fails the test."""
        return _run_manage(*arguments, env={**self.env, **(env or {})})

    def manage_start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Running:
        """Start a management command and return at once."""
        return self.start(arguments[0], "manage.py", *arguments, env=env)

    def _wait_for(self, process: Running, look: Callable[[], T]) -> T:
        def look_while_alive() -> T:
            if not process.is_alive:
                raise AssertionError(f"{process.name} ended with {process.exit_code}:\n{process.output[-3000:]}")
            return look()

        return eventually(look_while_alive, seconds=START_SECONDS, what=f"{process.name} to be ready")

    def _web_answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/v1/ping", timeout=5).ok
        except requests.RequestException:
            return False

    def _consumers(self) -> set[str]:
        """The Redis connections that wait for tasks of this stack."""
        database = urlsplit(self.redis_url).path.removeprefix("/")
        clients: list[dict[str, str]] = self._redis.client_list()
        return {client["id"] for client in clients if client["db"] == database and client["cmd"] == "brpop"}

    def logs(self) -> str:
        """Return the last lines of every process, for the report of a failed test."""
        parts = []
        for process in self._processes:
            state = "running" if process.is_alive else f"exit code {process.exit_code}"
            parts.append(f"--- {process.name} (pid {process.pid}, {state})\n{process.output[-4000:]}")
        return "\n".join(parts)

    # --- setting up ----------------------------------------------------------------------------------------

    @property
    def access(self) -> dict[str, Any]:
        """The organization every stack begins with: {organization_id, email, password, api_key, console_url}."""
        return self._template.access

    def bootstrap(self, organization: str = ORGANIZATION, email: str = EMAIL) -> dict[str, Any]:
        """Run `manage.py bootstrap` and return what it prints."""
        return dict(json.loads(self.manage("bootstrap", "--organization", organization, "--email", email, "--json")))

    @contextlib.contextmanager
    def orm(self) -> Iterator[None]:
        """Let the product's own code in this process work on the stack's database, in this thread."""
        with self._blocker.unblock():
            ours = connections["default"]
            theirs = connections.create_connection("default")
            where = environ.Env.db_url_config(database_url(self.database))
            options = {**theirs.settings_dict["OPTIONS"], **where.get("OPTIONS", {})}
            theirs.settings_dict = {**theirs.settings_dict, **where, "OPTIONS": options}
            connections["default"] = theirs
            try:
                yield
            finally:
                connections["default"] = ours
                theirs.close()

    def install(self, slug: str, **given: Any) -> int:
        """Install an app for the stack's organization, as `factories.install` does, and return its id."""
        from linkit.models import Organization

        with self.orm():
            organization = Organization.objects.get(pk=self.access["organization_id"])
            return int(factories.install(organization, slug, **given).pk)

    def enqueue(self, count: int) -> list[str]:
        """Queue `count` messages to as many numbers, without HTTP, and return their ids."""
        from linkit.models import Organization
        from outbox import services as outbox

        with self.orm():
            organization = Organization.objects.get(pk=self.access["organization_id"])
            return [
                outbox.enqueue(organization=organization, recipient=factories.mobile(), text="Hello").message.pk
                for _ in range(count)
            ]

    # --- asking --------------------------------------------------------------------------------------------

    def get(self, path: str, **options: Any) -> requests.Response:
        return self._session.get(self.url + path, timeout=30, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return self._session.post(self.url + path, json=body, timeout=60, **options)

    def upload(
        self,
        path: str,
        content: bytes,
        *,
        name: str = "file.csv",
        fields: Mapping[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        """Post a file as a browser does: `upload(path, content, headers={"Prefer": "respond-async"})`."""
        return self._session.post(self.url + path, files={"file": (name, content)}, data=fields, timeout=60, **options)

    def select(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Ask the stack's database, over a connection that is kept: tests poll."""
        for is_last in (False, True):
            try:
                if self._connection is None:
                    url = database_url(self.database)
                    self._connection = psycopg.connect(url, autocommit=True, row_factory=psycopg.rows.dict_row)
                return self._connection.execute(statement.encode(), values).fetchall()
            except psycopg.OperationalError:  # it was ended, as those of the product are in some tests
                self._connection = None
                if is_last:
                    raise
        raise AssertionError

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return every outbox row by id: `{status, reason, recipient, provider_slug, is_started, is_leased}`."""
        query = (
            "SELECT id, status, reason, recipient, provider_slug, started_at IS NOT NULL AS is_started,"
            " coalesce(lease_expires_at > clock_timestamp(), false) AS is_leased FROM outbox_message"
        )
        return {row["id"]: row for row in self.select(query)}

    def statuses(self) -> Counter[str]:
        """Return how many outbox rows are in each status."""
        return Counter(row["status"] for row in self.rows().values())

    def open_transactions(self) -> int:
        """Return how many connections to the stack's database are between two statements of a transaction."""
        return self._sessions("state = 'idle in transaction'")

    def waiting_for_locks(self) -> int:
        """Return how many connections to the stack's database wait for a lock that another one holds."""
        return self._sessions("wait_event_type = 'Lock'")

    def _sessions(self, condition: LiteralString) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND "
        return int(self.select(query + condition, self.database)[0]["count"])

    def wait_until_settled(self, *, seconds: float = 20.0) -> dict[str, dict[str, Any]]:
        """Wait until every row is in a final state, and return the rows."""

        def settled() -> dict[str, dict[str, Any]] | None:
            rows = self.rows()
            return rows if all(row["status"] in FINAL for row in rows.values()) else None

        try:
            return eventually(settled, seconds=seconds, what="every message to be settled") or {}
        except AssertionError as error:
            raise AssertionError(f"{error} They are: {dict(self.statuses())}") from None
