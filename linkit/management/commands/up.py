"""`manage.py up`: the whole product from one command, on a machine that has nothing but Python."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import json
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import IO, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from linkit import valkey
from linkit.settings import embedded
from linkit.supervisor import GRACE_SECONDS, Child, ChildFailed, Supervisor, wait_for

DEMO_ORGANIZATION, DEMO_EMAIL = "Demo", "admin@example.org"
DEMO_CREDITS = Decimal(1000)
_WEB_SECONDS = 60.0  # to its first answer; a laptop needs two
_LOOK_SECONDS = 0.2
_LOCK_WAIT_SECONDS = 1.0

_READY = """
Linkit SMS is running.

  Console     {console_url}
  E-mail      {email}
  Password    {password}
  API key     {api_key}
  API docs    {url}/api/docs

Queue a message (the sandbox app takes it, and delivers nothing):

  curl -sS {url}/api/v1/sms/outbox -H 'Authorization: Bearer {api_key}' \\
    -H 'Content-Type: application/json' -d '{{"mobile": "+966501234567", "message": "Hello from Linkit SMS"}}'

See what became of it, with the id from that answer in place of ID:

  curl -sS {url}/api/v1/sms/outbox/ID -H 'Authorization: Bearer {api_key}'

Data is in {var}, logs are in {logs}. Ctrl-C ends everything and keeps the data.
"""


class Stopped(KeyboardInterrupt):
    """Somebody asked us to end."""


def _say_what_is_lost(lost: sys.UnraisableHookArgs) -> None:
    """Write what nobody can catch, but for `Stopped`.

    A signal may come while the interpreter tidies up, where it leads no exception on: `_go_on` sees that it came.
    """
    if lost.exc_type is not Stopped:
        sys.__unraisablehook__(lost)


class Command(BaseCommand):
    help = (
        "Run the whole product on this machine: web, worker, beat and, unless REDIS_URL is set, a Valkey server."
        " Makes a demo organization and prints how to send. HOST and PORT say where it listens. Ctrl-C ends it."
    )

    is_stopping = False
    # While this holds, a signal breaks off what is being done. Otherwise it is only noted, and looked at between
    # steps, so that no child is started and then forgotten.
    is_interruptible = False

    def handle(self, **options: Any) -> None:
        if sys.platform == "win32":
            raise CommandError("`up` needs Linux or macOS. On Windows run it in WSL.")
        os.umask(0o077)  # messages, numbers and logs are for this user's eyes
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        for number in numbers:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._note_signal)
        sys.unraisablehook = _say_what_is_lost
        try:
            with contextlib.ExitStack() as stack:
                self._run(stack)
        except Stopped:
            self._say("Everything has ended; the data is kept.")

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True
        if self.is_interruptible:
            raise Stopped

    def _go_on(self) -> None:
        """Raise `Stopped` when somebody has asked for it."""
        if self.is_stopping:
            raise Stopped

    def _say(self, text: str) -> None:
        # A terminal that is gone must not keep us from ending the children.
        with contextlib.suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()

    def _run(self, stack: contextlib.ExitStack) -> None:
        var: Path = settings.VAR_DIR
        stack.enter_context(_only_one(var))
        _check_port()
        # Ours alone from here on: what is left of a run that crashed names a server that is gone.
        redis_file = var / embedded.REDIS_FILE
        redis_file.unlink(missing_ok=True)
        stack.callback(redis_file.unlink, missing_ok=True)

        supervisor = Supervisor(say=self._say)
        stack.callback(self._end, supervisor)
        try:
            redis_url = self._redis(supervisor, redis_file)
            access = self._prepare()
            self._start(supervisor, redis_url)
            self._go_on()
            self._say(_READY.format(url=settings.PUBLIC_URL, var=var, logs=var / "log", **access))
            while True:
                self._go_on()
                supervisor.look()
                time.sleep(_LOOK_SECONDS)
        except (ChildFailed, valkey.NoValkey) as error:
            raise CommandError(str(error)) from None

    def _end(self, supervisor: Supervisor) -> None:
        self.is_interruptible = False
        if self.is_stopping:
            self._say("\nEnding; messages in hand are finished first.")
        supervisor.stop()

    def _redis(self, supervisor: Supervisor, redis_file: Path) -> str:
        """Return the address of the Redis to use, starting one of our own when nobody named any."""
        if settings.HAS_REDIS_URL:
            if not valkey.answers(settings.REDIS_URL):
                raise CommandError("The server that REDIS_URL names does not answer.")
            return settings.REDIS_URL
        child, url = valkey.start(log=_log("valkey"), meanwhile=self._go_on)
        supervisor.add(child)
        # So that `manage.py` in a second terminal finds the same broker.
        embedded.private_file(redis_file, f"REDIS_URL={url}\n")
        return url

    def _prepare(self) -> dict[str, str]:
        """Migrate, make the demo organization, and return what its people and programs log in with."""
        self._say("Preparing the database.")
        printed = io.StringIO()
        self.is_interruptible = True
        try:
            self._go_on()
            call_command("migrate", interactive=False, verbosity=0)
            settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
            if not settings.WHITENOISE_USE_FINDERS:
                call_command("collectstatic", interactive=False, verbosity=0)
            call_command(
                "bootstrap",
                organization=DEMO_ORGANIZATION,
                email=DEMO_EMAIL,
                sandbox=True,
                credits=DEMO_CREDITS,
                as_json=True,
                stdout=printed,
                stderr=self.stderr,
            )
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {str(error).strip()}") from None
        finally:
            self.is_interruptible = False
            connections.close_all()  # nothing of it may be shared with a child
        access = json.loads(printed.getvalue())
        access["password"] = access["password"] or "(the one you have set)"
        return access

    def _start(self, supervisor: Supervisor, redis_url: str) -> None:
        """Start worker, web and beat, and wait until web answers."""
        self._say("Starting web, worker and beat.")
        # The folder of manage.py is on our path because Python was started with that file; a child is not.
        path = os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")]))
        env = {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": redis_url,
            "VAR_DIR": str(settings.VAR_DIR),
        }
        celery = [sys.executable, "-m", "celery", "-A", "linkit"]
        worker = "worker -P threads -c 7 -Q drain,upkeep,bulk --without-mingle --without-gossip --without-heartbeat"
        host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
        # No control socket: it would lie in the home folder, one for all instances.
        web_call = math.ceil(settings.PROVIDER_CALL_LIMIT_WEB.total_seconds())
        web = f"linkit.wsgi -c python:linkit.web_server -b {host}:{settings.PORT} -w 1 --threads 8"
        web = f"{web} --graceful-timeout {web_call + 2} --no-control-socket"
        commands = {
            # The process id makes the name unique where several share a Redis.
            "worker": [*celery, *worker.split(), "-n", f"linkit-{os.getpid()}@%h"],
            "web": [sys.executable, "-m", "gunicorn", *web.split()],
            "beat": [*celery, "beat"],
        }
        # Who may be calling a provider is given the time to hear its answer: a killed call has an unknown outcome.
        graces = {"worker": settings.PROVIDER_CALL_LIMIT.total_seconds() + 5, "web": web_call + 5.0}
        for name, command in commands.items():
            self._go_on()
            grace = graces.get(name, GRACE_SECONDS)
            supervisor.add(Child(name=name, command=command, log=_log(name), env=env, grace=grace))

        def look() -> None:
            self._go_on()
            supervisor.look()

        if not wait_for(_web_answers, seconds=_WEB_SECONDS, meanwhile=look):
            raise CommandError(f"Web does not answer after {_WEB_SECONDS:.0f} s; {_log('web')} may say why.")


def _log(name: str) -> Path:
    log: Path = settings.VAR_DIR / "log" / f"{name}.log"
    return log


@contextlib.contextmanager
def _only_one(var: Path) -> Iterator[None]:
    """Hold the lock of this folder. The kernel frees it, however we end."""
    import fcntl  # not on Windows

    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (var / "up.lock").open("a+") as lock:
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise CommandError(
                        f"Linkit SMS is already running on {var}{_holder(lock)}."
                        " End it first, or give this one a folder and a port of its own: VAR_DIR=… PORT=…"
                    ) from None
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    number = lock.read().strip()
    return f" (process {number})" if number else ""


def _check_port() -> None:
    """Raise `CommandError` when web could not listen: gunicorn would say so in its log only."""
    host, port = settings.HOST, settings.PORT
    if not 0 < port < 65536:  # the resolver would take it, less 65536
        raise CommandError(f"PORT={port} is no port number.")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            # As gunicorn does; without it a port that was in use a moment ago counts as busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {port} on {host} is taken by another program. Choose another one: PORT={port + 1}"
            ) from None
        raise CommandError(f"Cannot listen on port {port} of {host}: {error}. HOST and PORT say where.") from None


def _web_answers() -> bool:
    host = urlsplit(embedded.own_url(settings.HOST, settings.PORT)).hostname or settings.HOST
    connection = http.client.HTTPConnection(host, settings.PORT, timeout=5)
    try:
        # By its public name, which is surely among the ALLOWED_HOSTS.
        connection.request("GET", "/api/v1/ping", headers={"Host": urlsplit(settings.PUBLIC_URL).netloc})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
