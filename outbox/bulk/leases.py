"""Whose a bulk job is while a worker reads its file, cancels its messages or queues them again.

A lease is a random token and a time, as a claim is for a message. Every transaction of that worker names it, so one
that overslept writes nothing.
"""

from __future__ import annotations

import logging
import random
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import F, Q
from django.db.models.functions import Least

from linkit import clock, faults
from outbox.bulk.models import NEEDS_WORK, BulkJob

logger = logging.getLogger(__name__)

TRIES = 5  # to read a file without any progress, before it is given up
_LOOKED_AT = 1000  # jobs


class LeaseLost(Exception):
    """The job is somebody else's by now, or has been stopped. Nothing was written."""


def take() -> BulkJob | None:
    """Lease a job that needs work, or return None: the oldest of an organization.

    Whose turn it is comes by lot: nobody's files keep the others' back.
    """
    now = clock.now()
    waiting = BulkJob.objects.filter(status__in=NEEDS_WORK).filter(
        Q(work_expires_at=None) | Q(work_expires_at__lte=now)
    )
    oldest: dict[uuid.UUID, uuid.UUID] = {}
    for organization_id, pk in waiting.order_by("created_at", "pk").values_list("organization_id", "pk")[:_LOOKED_AT]:
        oldest.setdefault(organization_id, pk)
    for pk in random.sample(list(oldest.values()), len(oldest)):
        token = uuid.uuid4()
        if waiting.filter(pk=pk).update(
            work_token=token,
            work_expires_at=now + settings.BULK_WORK_LEASE,
            work_tries=Least(F("work_tries") + 1, TRIES + 1),
        ):
            return BulkJob.objects.select_related("organization", "upload").get(pk=pk)
    return None


def keep(job: BulkJob, **changes: object) -> datetime:
    """Lengthen the lease and write to the job, in the caller's transaction, and return the time.

    Raises `LeaseLost` unless the job is still this worker's, in the state in which it was taken.
    """
    now = clock.now()
    held = BulkJob.objects.filter(pk=job.pk, status=job.status, work_token=job.work_token)
    if not held.update(work_expires_at=now + settings.BULK_WORK_LEASE, updated_at=now, **changes):
        raise LeaseLost
    return now


def let_go(job: BulkJob, *, after: timedelta = timedelta(0)) -> None:
    """Give a job back, to be taken again `after` that time. A database that is away leaves it until its lease ends."""
    try:
        BulkJob.objects.filter(pk=job.pk, work_token=job.work_token).update(
            work_token=None, work_expires_at=clock.now() + after
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Bulk job %s is kept until its lease ends: %s", job.pk, faults.describe(error))
