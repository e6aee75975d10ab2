"""An upload into a job: stored where every worker can read it, once for each key and for each content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from linkit import clock
from linkit.errors import Conflict, TooLarge
from linkit.models import Organization, Token, User
from outbox.bulk import jobs, uploads
from outbox.bulk.models import LIVE, BulkJob, Mode
from outbox.bulk.reading import Overrides, UnreadableFile, open_table
from sms_providers.models import OrganizationApp
from sms_providers.sending import digest

SAME_FILE = timedelta(hours=24)  # in which the same content is taken for the same job
_PIECE = 64 * 1024
_FORM_BYTES = 100_000  # beside the file: boundaries, the other fields


@dataclass(frozen=True)
class Created:
    """The job that answers an upload: a new one, the first of its idempotency key, or an earlier one of this file."""

    job: BulkJob
    is_replay: bool = False
    is_duplicate: bool = False


def create(
    *,
    organization: Organization,
    app: OrganizationApp | None,
    slug: str,
    file: BinaryIO,
    filename: str = "",
    overrides: Overrides = Overrides(),  # noqa: B008  frozen
    mode: str = Mode.VALID_ROWS,
    force: bool = False,
    idempotency_key: str | None = None,
    is_test: bool = False,
    token: Token | None = None,
    user: User | None = None,
) -> Created:
    """Store a file and make the job that sends it through `app`; None is the simulator. The caller wakes a worker.

    Nothing can be sent before the whole file has been checked. The same content within 24 h gives the earlier job
    back if that one is under way or may have sent anything, unless `force`. Raises `UnreadableFile` for what is
    no table with a number and a message, `TooLarge`, and `Conflict` for a key that came with another request.
    """
    size = check_size(file)
    content_hash = _fingerprint(file)
    job = BulkJob(
        organization=organization,
        is_test=is_test,
        app=app,
        provider_slug=slug,
        token=token,
        user=user,
        filename=_shown(filename),
        size=size,
        content_hash=content_hash,
        options={name: value for name, value in vars(overrides).items() if value},
        region=organization.default_region,
        time_zone=organization.time_zone,
        mode=mode,
        idempotency_key=idempotency_key or None,
        request_digest=digest(slug=slug, content=content_hash, overrides=vars(overrides), mode=mode, force=force),
    )
    if earlier := _earlier(job, force=force):
        return earlier
    check_table(file, overrides)
    job.upload = uploads.store(file)
    with transaction.atomic():
        # One upload of an organization at a time is decided on. Not the lock that every message's key asks for.
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        earlier = _earlier(job, force=force)
        if earlier is None:
            job.save(force_insert=True)
            jobs.refuse_gone(job)
    if earlier is not None:
        uploads.delete([job.upload.pk])
        return earlier
    job.refresh_from_db(fields=["created_at"])
    return Created(job)


def check_table(file: BinaryIO, overrides: Overrides) -> None:
    """Raise `UnreadableFile` unless this begins like a table that can be sent, with a row in it."""
    if next(open_table(file, overrides).rows, None) is None:
        raise UnreadableFile(_("The file has a header and no rows; nothing was sent."), reason="no_rows")


def max_body_bytes() -> int:
    """Return how large the form with a file may be."""
    return int(settings.BULK_MAX_BYTES) + _FORM_BYTES


def too_large() -> TooLarge:
    text = _("The file is over %(most)s bytes; nothing was stored or sent. Split it.")
    return TooLarge(text % {"most": f"{settings.BULK_MAX_BYTES:,}"})


def check_size(file: BinaryIO) -> int:
    """Return the size of a file in bytes. Raises `TooLarge`."""
    size = file.seek(0, os.SEEK_END)
    if size > settings.BULK_MAX_BYTES:
        raise too_large()
    return size


def _fingerprint(file: BinaryIO) -> str:
    found = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        found.update(piece)
    return found.hexdigest()


def _shown(filename: str) -> str:
    """Return the name of an upload without what no database column or page should show."""
    return "".join(character for character in filename if character.isprintable())[-200:]


def _earlier(job: BulkJob, *, force: bool) -> Created | None:
    if first := _of_key(job):
        return first
    if force:
        return None
    same = BulkJob.objects.filter(
        organization=job.organization,
        is_test=job.is_test,
        provider_slug=job.provider_slug,
        content_hash=job.content_hash,
        created_at__gt=clock.now() - SAME_FILE,
    ).filter(Q(status__in=LIVE) | Q(sent_count__gt=0) | Q(unknown_count__gt=0))
    found = same.order_by("-created_at", "-pk").first()
    if found is None:
        return None
    # The first of our key may have come in between, and then it is that one.
    return _of_key(job) or Created(found, is_duplicate=True)


def _of_key(job: BulkJob) -> Created | None:
    if job.idempotency_key is None:
        return None
    first = BulkJob.objects.filter(
        organization=job.organization, is_test=job.is_test, idempotency_key=job.idempotency_key
    ).first()
    if first is None:
        return None
    if first.request_digest != job.request_digest:
        raise Conflict(
            "This Idempotency-Key was used for another upload; nothing was sent. Use a new key for a new file.",
            reason="idempotency_key_reused",
        )
    return Created(first, is_replay=True)
