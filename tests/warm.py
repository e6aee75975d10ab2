"""Processes that begin with the libraries already imported, which is most of what a start costs.

    process = warm.start(["-m", "celery", "-A", "linkit", "worker"], env=env, log=Path("worker.log"))

One process imports them and is forked again and again (multiprocessing's fork server). Each fork goes through an entry
point of its own, with its own environment, session and settings: of the product nothing has been imported before.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

from tests import meddling, services

# What takes long to import and can be imported without Django's settings. One that is missing is passed over.
LIBRARIES = [
    "celery.apps.beat", "celery.apps.worker", "celery.bin.beat", "celery.bin.celery", "celery.bin.worker",
    "celery.concurrency.thread", "celery.fixups.django", "celery.loaders.app", "celery.worker.autoscale",
    "celery.worker.consumer", "charset_normalizer", "cryptography.fernet", "django.contrib.postgres.fields",
    "django.core.handlers.wsgi", "django.core.management", "django.db.backends.postgresql.base", "django.forms",
    "django.template", "environ", "gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "html.parser",
    "import_export.formats.base_formats", "inflection", "jsonschema", "kombu.transport.redis", "openpyxl",
    "phonenumbers", "psycopg", "redis.asyncio", "requests", "rest_framework.fields", "sqlparse", "tablib",
    "tests.warm", "uritemplate", "whitenoise.middleware", "xml.etree.ElementTree", "yaml",
]  # fmt: skip

_cold, _warm = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload(LIBRARIES)


def start(command: Sequence[str], *, env: Mapping[str, str], log: Path, errors: Path | None = None) -> Process:
    """Do what `python -m …` or `python file …` does, in a session of its own.

    Its output goes to `log`, and what it says to stderr to `errors` when there is one.
    """
    files = [str(log), str(errors or log)]
    compiled = str(Path(os.environ[services.GROUPS]).parent / "compiled")
    context = _cold if meddling.needs_a_cold_start(env) else _warm
    process = context.Process(target=_become, args=(list(command), dict(env), files, compiled), daemon=True)
    process.start()
    assert process.pid
    while process.is_alive() and _group(process.pid) != process.pid:  # only now a signal to its group reaches it
        time.sleep(0.002)
    return process


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _become(command: list[str], env: dict[str, str], files: list[str], compiled: str) -> None:
    for target, (path, mode) in enumerate(((os.devnull, "rb"), *((path, "ab") for path in files))):
        with open(path, mode) as source:
            os.dup2(source.fileno(), target)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(services.ROOT)
    if sys.dont_write_bytecode:  # at least one for the other, in a folder that goes when the test run ends
        sys.dont_write_bytecode, sys.pycache_prefix = False, compiled
    os.setsid()
    meddling.begin(env)
    try:
        if command[0] == "-m":
            sys.argv = command[1:]
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
    finally:
        # What an interpreter does at its end, and a forked one leaves out.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
