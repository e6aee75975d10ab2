"""Uploaded files, kept where every web process and worker can read them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from typing import BinaryIO

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext as _

from linkit import clock
from linkit.errors import Missing
from outbox.bulk.models import ENDED, Upload, UploadChunk

_CHUNK_BYTES = 1_000_000
_NOBODYS = timedelta(hours=1)


def store(file: BinaryIO) -> Upload:
    """Keep a file, a transaction for each piece: all of it in one would hold up the queue.

    Until a job or a draft names it, it is nobody's, and `purge` takes it away after a while.
    """
    upload = Upload.objects.create(size=file.seek(0, os.SEEK_END))
    file.seek(0)
    number = 0
    while data := file.read(_CHUNK_BYTES):
        UploadChunk.objects.create(upload=upload, number=number, data=data)
        number += 1
    return upload


@contextlib.contextmanager
def opened(upload: Upload | None) -> Iterator[BinaryIO]:
    """Give a file as a seekable one on this machine's disk, with one piece of it in memory. Raises `Missing`."""
    with tempfile.TemporaryFile() as file:
        chunks = UploadChunk.objects.filter(upload=upload).values_list("data", flat=True)
        number = 0
        while upload is not None and (data := chunks.filter(number=number).first()) is not None:
            file.write(data)
            number += 1
        # Somebody may be deleting it: a part of a file can look like a whole one.
        if upload is None or file.tell() != upload.size:
            text = _("The file has been deleted, and its rows with it; nothing was sent.")
            raise Missing(text, reason="file_deleted")
        file.seek(0)
        yield file


def purge() -> int:
    """Delete the files of jobs that have been over for `BULK_FILE_LIFETIME`, and those that are nobody's.

    Returns how many.
    """
    now = clock.now()
    over = Q(job__status__in=ENDED, job__finished_at__lt=now - settings.BULK_FILE_LIFETIME)
    nobodys = Q(job=None, draft=None, created_at__lt=now - _NOBODYS)
    return delete(list(Upload.objects.filter(over | nobodys).values_list("pk", flat=True)[:100]))


def delete(ids: list[int]) -> int:
    """Delete these files, and what cannot be without them. Returns how many were still there."""
    _, deleted = Upload.objects.filter(pk__in=ids).delete()
    return deleted.get(Upload._meta.label, 0)
