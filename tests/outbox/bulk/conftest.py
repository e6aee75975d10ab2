"""Fixtures of the tests of bulk sends: files, uploads, and a worker that does what is to be done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from outbox import tasks
from outbox.bulk import work
from outbox.bulk.models import BulkJob
from outbox.dispatch import Drain
from sms_providers.models import OrganizationApp
from tests import factories
from tests.conftest import Api
from tests.outbox.conftest import Script, first, script, second

__all__ = ["Script", "first", "script", "second"]

URL = "/api/v1/sms-providers/first-sms"
Upload = Callable[..., Any]


def csv_of(*rows: Iterable[str], header: str = "mobile,message") -> bytes:
    """Return a CSV with these rows of cells, none of which needs quotes."""
    return "\r\n".join([header, *(",".join(row) for row in rows), ""]).encode()


def rows(count: int, text: str = "Hello") -> list[tuple[str, str]]:
    """Return so many good rows, each to another number."""
    return [(factories.mobile(), text) for _ in range(count)]


def work_on_jobs() -> None:
    """Do what a worker does for jobs, until nothing is left."""
    while work.do_next(threading.Event()):
        pass


def send_all() -> None:
    """Read every file that waits and send everything that is due."""
    work_on_jobs()
    Drain().run()


@pytest.fixture
def upload(api: Api, first: OrganizationApp, settings: Settings) -> Upload:
    """Return a caller of `bulk-send` that does not wait: `upload(content)`, `upload(content, mode=…, slug=…)`."""
    settings.BULK_SYNC_WAIT = settings.BULK_SYNC_WAIT * 0

    def post(content: bytes, *, client: Api = api, name: str = "file.csv", **fields: Any) -> Any:
        path, headers = fields.pop("path", "bulk-send"), fields.pop("headers", {})
        base = URL.replace("first-sms", fields.pop("slug", "first-sms"))
        data = {"file": SimpleUploadedFile(name, content), **fields}
        return client.post(f"{base}/{path}", data, format="multipart", headers=headers)

    return post


@pytest.fixture
def at_once(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> Upload:
    """Return `upload` with a worker that is done before it waits, so that it answers with the end."""
    monkeypatch.setattr(tasks, "wake_for_jobs", send_all)
    return upload


@pytest.fixture
def job(upload: Upload) -> Callable[..., BulkJob]:
    """Return a maker of jobs: uploads these rows of cells, has the file read, and returns the job, nothing sent yet."""

    def make(*cells: Iterable[str], header: str = "mobile,message", **fields: Any) -> BulkJob:
        body = upload(csv_of(*cells, header=header), **fields).json()
        work_on_jobs()
        return BulkJob.objects.get(pk=body["job_id"])

    return make
