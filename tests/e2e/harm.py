"""What is done to a running product from outside: rows are locked under it, processes are stopped in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.stack import Running, Stack, database_url, eventually

ACCOUNT = "SELECT 1 FROM billing_creditaccount FOR UPDATE"
LOG = "SELECT 1 FROM sms_providers_smslog WHERE recipient = ANY(%s) FOR UPDATE"
STARTED = "SELECT 1 FROM outbox_message WHERE started_at IS NOT NULL AND status = 'sending' FOR UPDATE"
PROGRAM = "SELECT 1 FROM contacts_smsprogram FOR UPDATE"


@contextlib.contextmanager
def locked(stack: Stack, statement: str, *values: Any) -> Iterator[None]:
    """Hold these rows of the stack's database: whoever wants to write to them waits."""
    with psycopg.connect(database_url(stack.database)) as connection:
        assert connection.execute(statement.encode(), values).rowcount > 0
        yield


def wait_for_waiters(stack: Stack, count: int) -> None:
    eventually(lambda: stack.waiting_for_locks() == count, what=f"{count} transactions to meet the lock")


def wait_until_nobody_is_in_a_transaction(stack: Stack) -> None:
    """The database has noticed who is dead, and has ended the sessions of who is frozen."""
    begun = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start IS NOT NULL"
    )
    eventually(lambda: not stack.select(begun), what="open transactions to end")


def wait_until_direct_sends_are_overdue(stack: Stack) -> None:
    in_time = "SELECT 1 FROM sms_providers_smslog WHERE deadline_at >= clock_timestamp()"
    eventually(lambda: not stack.select(in_time), what="the deadline to pass")


def freeze_group(process: Running) -> None:
    """SIGSTOP, to a process and to those it has started, and wait until every thread stands still."""
    os.killpg(process.pid, signal.SIGSTOP)

    def is_still() -> bool:
        states = []
        for folder in Path("/proc").glob("[0-9]*/task/[0-9]*"):
            with contextlib.suppress(OSError):  # gone meanwhile
                state, _, group, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(group) == process.pid:
                    states.append(state)
        return set(states) == {"T"}

    eventually(is_still, what=f"{process.name} to be frozen")


def thaw_group(process: Running) -> None:
    os.killpg(process.pid, signal.SIGCONT)
