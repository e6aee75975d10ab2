"""What the benchmarks share: servers, tenants, processes to measure, rounds and the printed result.

    with harness.platform() as platform:
        tenant = harness.make_tenant("Acme")                   an organization, its mora-sms app, an API key
        template = harness.queue(tenant, count=4_000)          real rows, due now
        worker = platform.start("tests.benchmarks.worker")     a `Process`, here one that waits for `go`
        ...
        samples = harness.interleave({"ours": ours, "bare": bare}, rounds=3)
        goal = harness.Goal("D1", "drain", harness.ratio(samples["ours"], samples["bare"]), at_least=0.95)
        harness.report("drain", tables=[...], goals=[goal])

`platform` starts a durable PostgreSQL (fsync, full_page_writes and synchronous_commit are on, unlike in the tests), a
Valkey and the gateway of `gateway.py`, and leaves a migrated database; this process and all that it starts use
`linkit.settings.base`, as in production. At the end, also after Ctrl-C or a kill, nothing is left.

Here and in every benchmark: a time is a median of rounds, in which the sides take turns, and a ratio is the median of
the rounds' ratios, so that a machine that is busy for a while slows both. Nothing of this is imported before
`platform` but what needs no Django.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform as machine
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests import services
from tests.benchmarks.form import SENDER, TEXT
from tests.benchmarks.gateway import FastGateway

if TYPE_CHECKING:
    from linkit.models import Organization
    from sms_providers.models import OrganizationApp

Sample = TypeVar("Sample")

ROOT = services.ROOT
SETTINGS = "linkit.settings.base"
SENDERS = 64  # of one worker, as the settings have it
SECONDS_TO_START = 60.0
#: What a server for production would be given; checkpoints are rare, so that none falls on one side alone.
POSTGRESQL = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_connections": "300",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "log_min_messages": "fatal",
    "timezone": "UTC",
}
_TICKS = os.sysconf("SC_CLK_TCK")


# --- servers ----------------------------------------------------------------------------------------------------


@dataclass
class Platform:
    """The running servers. Their addresses are in this process's environment too, as the product reads them."""

    folder: Path  # gone at the end; processes write their output to it
    database_url: str
    redis_url: str
    gateway: FastGateway
    postgresql: services.Server

    @property
    def database_processor(self) -> float:
        """The seconds of processor that PostgreSQL has used, in hundredths."""
        return processor_of(self.postgresql._process.pid)

    def start(self, module: str, *arguments: object, env: Mapping[str, str] | None = None) -> Process:
        """Start `python -m module` with the product's environment and `env`."""
        return self.run([sys.executable, "-m", module, *map(str, arguments)], env=env)

    def run(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Start any command likewise."""
        return Process(command, folder=self.folder, env={**os.environ, **(env or {})})

    def worker(self, *, queues: str = "drain", env: Mapping[str, str] | None = None) -> Process:
        """Start a Celery worker as in production, and wait until it listens. `beat` or an enqueue wakes it."""
        worker = self.run(
            [
                *(sys.executable, "-m", "celery", "--app=linkit", "worker", "--pool=threads", "--concurrency=2"),
                *(f"--queues={queues}", f"--hostname={queues}-{time.monotonic_ns()}@%h", "--loglevel=INFO"),
                *("--without-mingle", "--without-gossip", "--without-heartbeat"),
            ],
            env={"LOG_LEVEL": "INFO", **(env or {})},
        )
        worker.wait_until_ready(" ready.")
        return worker

    def web(self, *, workers: int = 2, env: Mapping[str, str] | None = None) -> tuple[Process, str]:
        """Start the web server as the image does, and return it with its URL. It logs no requests."""
        web = self.run(
            [
                *(sys.executable, "-m", "gunicorn", "linkit.wsgi", "--config", "python:linkit.web_server"),
                *("--bind", "127.0.0.1:0", "--workers", str(workers), "--threads", "8", "--backlog", "1024"),
                *("--worker-tmp-dir", str(self.folder), "--no-control-socket", "--graceful-timeout", "5"),
            ],
            env=env,
        )
        listening = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")
        web.wait_until_ready("Listening at: ")
        url = listening.findall(web.output)[0]
        wait_for(lambda: _answers(f"{url}/api/v1/ping"), seconds=SECONDS_TO_START, what="the web server")
        return web, url

    def beat(self) -> Process:
        """Start the clock, which wakes the workers every second."""
        return self.run([sys.executable, "-m", "celery", "--app=linkit", "beat"])

    def count_scripts(self) -> int:
        """Return how often Redis has run a script: each permit, or several at once, is one."""
        import redis

        with redis.Redis.from_url(self.redis_url) as client:
            found = client.info("commandstats")
        return sum(found.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))

    def flush_redis(self) -> None:
        import redis

        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()


@contextlib.contextmanager
def platform(*, postgresql: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """Start everything, migrate, and set Django up in this process. `postgresql` changes or adds server options."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped
    os.environ["DATABASE_URL"] = "postgres://started.below"  # or the keeper would start one that is not durable
    os.environ.pop("REDIS_URL", None)
    services.provide()
    folder = Path(os.environ["VAR_DIR"]).parent
    url, server = start_postgresql(folder, postgresql)
    try:
        with FastGateway() as gateway:
            os.environ.update(
                DATABASE_URL=url,
                DJANGO_SETTINGS_MODULE=SETTINGS,
                SMS_PROVIDER_BASE_URLS=json.dumps({"mora-sms": gateway.url}),
                LOG_LEVEL="WARNING",
                # Nothing here is about limits.
                API_RATE_PER_MINUTE="600000000",
                API_RATE_BURST="100000000",
            )
            import django

            django.setup()
            from django.core.management import call_command
            from django.db import connections

            call_command("migrate", verbosity=0)
            yield Platform(folder, url, os.environ["REDIS_URL"], gateway, server)
            connections.close_all()
    finally:
        server.stop()


def start_postgresql(folder: Path, options: Mapping[str, str] | None = None) -> tuple[str, services.Server]:
    """Start a server below `folder` as `tests.services` does, but one that keeps what it has committed."""
    data, user = folder / "pg", services._postgresql_user()
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user["user"], user["group"])
    binaries = services._postgresql_binaries(folder, user)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    subprocess.run(
        [binaries / "initdb", "-D", data / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"],
        cwd=data,
        env=environment,
        capture_output=True,
        check=True,
        **user,
    )
    wanted = {"listen_addresses": "", "unix_socket_directories": str(data), **POSTGRESQL, **(options or {})}
    settings = [word for name, value in wanted.items() for word in ("-c", f"{name}={value}")]
    server = services.Server(
        [str(binaries / "postgres"), "-D", str(data / "data"), *settings],
        log=folder / "postgresql.log",
        stop_by=signal.SIGQUIT,
        cwd=data,
        env=environment,
        **user,
    )
    _note_group(server._process.pid)
    server.wait_until(lambda: services._postgresql_answers(data))
    return f"postgres://postgres@/postgres?host={data}", server


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def disk_milliseconds(folder: Path) -> float:
    """Return what a small write takes until the disk has it."""
    took = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def _note_group(pid: int) -> None:
    """Have the keeper end this group of processes, should this one be killed."""
    if folder := os.environ.get(services.GROUPS):
        (Path(folder) / str(pid)).touch()


# --- tenants and what they queue ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tenant:
    organization: Organization
    app: OrganizationApp
    key: str  # the secret of a live API key with every scope


def make_tenant(name: str, *, max_per_second: int | None = 10_000) -> Tenant:
    """Make an organization with the mora-sms app, whose rate is so high that permits are taken and none is awaited."""
    from tests import factories

    organization = factories.make_organization(name)
    app = factories.install(organization, "mora-sms", max_per_second=max_per_second)
    return Tenant(organization, app, factories.make_api_key(organization))


def number(place: int) -> str:
    """Return the E.164 number of this place, below 10 million or from 80 million up to 100 million."""
    return f"+9665{place:08d}"


def queue(tenant: Tenant, count: int, *, first: int = 0) -> None:
    """Queue so many messages of their own, due now, to the numbers from place `first` on.

    One is queued by the product, and the others are copies of its row, so that they are what the product makes.
    """
    if not count:
        return
    from outbox import services as outbox

    made = outbox.enqueue(
        organization=tenant.organization, recipient=number(first), text=TEXT.format(first), sender_id=SENDER
    ).message
    # Each a little earlier than the next: due in the order of their places.
    due_at = f"next_attempt_at - ({first + count} - n) * interval '1 microsecond'"
    copy_message(made.pk, count - 1, first=first + 1, next_attempt_at=due_at)


def copy_message(pk: str, count: int, *, first: int, time_digits: str = "id", **other: str) -> None:
    """Copy one row of the queue so many times, to the numbers from place `first` on.

    `time_digits`: an SQL expression, whose first 7 characters the ids begin with. `other`: those of more columns, in
    which `n` is the place.
    """
    from django.db import connection

    from outbox.models import Message

    table = Message._meta.db_table
    changed = {
        # In the order of the places. Of 8 digits of time the last two are given away.
        "id": f"left({time_digits}, 7) || lpad(n::text, 8, '0')",
        "recipient": "'+9665' || lpad(n::text, 8, '0')",
        "text": f"replace('{TEXT}', '{{}}', n::text)",
        **other,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_identity = 'NO'"
            " AND coalesce(column_default, '') NOT LIKE 'nextval%%' AND is_generated = 'NEVER'",
            [table],
        )
        columns = [row[0] for row in cursor.fetchall()]
        values = ", ".join(changed.get(column, f'"{column}"') for column in columns)
        names = ", ".join(f'"{column}"' for column in columns)
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, generate_series(%s, %s) AS n WHERE id = %s",
            [first, first + count - 1, pk],
        )


def queue_file(tenant: Tenant, count: int, *, first: int = 0) -> None:
    """Upload a file to the numbers from place `first` on, and read it: a running job of so many rows, due now."""
    from outbox.bulk import receiving, work
    from outbox.models import Message

    lines = (f'{number(place)},"{TEXT.format(place)}",{SENDER}\n' for place in range(first, first + count))
    file = io.BytesIO(("mobile,message,sender\n" + "".join(lines)).encode())
    app = tenant.app
    created = receiving.create(organization=tenant.organization, app=app, slug=app.slug, file=file, force=True)
    while work.do_next(threading.Event()):
        pass
    written = Message.objects.filter(job=created.job).count()
    assert written == count, f"{written} rows of {count} were queued"


def empty_queue() -> None:
    """Remove all messages, logs, jobs and what else belongs to them, and have the disk and statistics at rest."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public' AND ("
            "tablename LIKE 'outbox\\_%' OR tablename IN ('sms_providers_smslog', 'sms_providers_attempt'))"
        )
        (tables,) = cursor.fetchone()
        cursor.execute(f"TRUNCATE {tables} CASCADE")
        cursor.execute("CHECKPOINT")


def statistics_now() -> None:
    """Do to the queue what autovacuum does within a minute."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) outbox_message")


def unsettled() -> int:
    """Return how many messages have no final state yet."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM outbox_message WHERE status IN ('pending', 'sending')")
        return int(cursor.fetchone()[0])


# --- processes ----------------------------------------------------------------------------------------------------


class Process:
    """A process to measure, with its output in a file.

    One that follows the protocol of `worker.py` and `pool.py` prints `ready`, waits for a line on stdin, works, and
    prints a JSON line about it: `wait_until_ready`, `go`, `result`.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, env: Mapping[str, str]) -> None:
        self._log = folder / f"process-{time.monotonic_ns()}.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _note_group(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def processor(self) -> float:
        """The seconds of processor that it and its descendants have used, in hundredths."""
        return processor_of(self.pid)

    @property
    def resident(self) -> int:
        """The bytes of memory that it has, without its descendants."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def wait_until_ready(self, mark: str = "ready", *, seconds: float = SECONDS_TO_START) -> None:
        """Wait until `mark` is in its output."""
        wait_for(lambda: mark in self.output or not self.is_alive, seconds=seconds, what=f"{mark!r}:\n{self.output}")
        assert mark in self.output, self.output

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def result(self, *, seconds: float = 600.0) -> dict[str, Any]:
        """Wait for its end and return the last line of its output, decoded."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        code = self._process.wait(timeout=seconds)
        assert code == 0, f"exit code {code}\n{self.output}"
        found: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return found

    def stop(self, *, seconds: float = 60.0) -> None:
        """SIGTERM, and when that does not help within so many seconds SIGKILL, to all of its group."""
        if self.is_alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def processor_of(pid: int) -> float:
    """Return the seconds of processor that a process and its descendants have used, also those that have ended."""
    used = 0
    for each in (pid, *_descendants(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15]))
    return used / _TICKS


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *_descendants(child))]


def wait_for(look: Callable[[], Any], *, seconds: float, what: str, every: float = 0.02) -> None:
    """Call `look` until it returns something true. Raises AssertionError when time is up."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(every)


# --- rounds -------------------------------------------------------------------------------------------------------


def interleave(ways: Mapping[str, Callable[[], Sample]], *, rounds: int) -> dict[str, list[Sample]]:
    """Let the ways take turns, every other round in reverse, and return what each has returned in each round."""
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for place in range(rounds):
        for name in list(ways)[:: -1 if place % 2 else 1]:
            samples[name].append(ways[name]())
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return samples


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which so many of them lie, such as 0.99."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


# --- the result ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """One line of the goals, and what was measured. Either `at_least` or `at_most` is given, and so for `stretch`."""

    name: str
    flow: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None
    stretch: float | None = None
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        return self._reaches(self.at_least, self.at_most)

    @property
    def verdict(self) -> str:
        if not self.is_met:
            return "MISSED"
        is_least = self.at_least is not None
        far = self.stretch is not None and self._reaches(
            self.stretch if is_least else None, None if is_least else self.stretch
        )
        return "met, and the stretch" if far else "met"

    @property
    def wanted(self) -> str:
        """Say the goal and the stretch, as `>= 0.95 (1.05)`."""
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{bound} ({self.stretch:g})" if self.stretch is not None else bound

    def _reaches(self, least: float | None, most: float | None) -> bool:
        return (least is None or self.measured >= least) and (most is None or self.measured <= most)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: texts to the left, numbers to the right with what digits they need."""
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    is_text = [all(isinstance(row[place], str) for row in rows) for place in range(len(header))]
    print()
    for line in lines:
        columns = zip(line, widths, is_text, strict=True)
        cells = [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in columns]
        print("  ".join(cells).rstrip(), flush=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def report(name: str, *, goals: Sequence[Goal], **figures: Any) -> None:
    """Print the goals as a table, and everything as the one JSON line, which is the last of the output."""
    if goals:
        rows = [(goal.name, goal.flow, f"{goal.measured:.2f} {goal.unit}", goal.wanted, goal.verdict) for goal in goals]
        print_table(("goal", "what", "measured", "wanted (stretch)", "reached"), rows)
    print(
        json.dumps(
            {
                "benchmark": name,
                "goals": {
                    goal.name: {"measured": round(goal.measured, 3), "wanted": goal.wanted, "is_met": goal.is_met}
                    for goal in goals
                },
                **figures,
                "machine": {"cores": os.cpu_count(), "python": machine.python_version(), "system": machine.system()},
            },
            ensure_ascii=False,
        ),
        flush=True,
    )
