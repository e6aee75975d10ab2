"""Files between the check that a person looks at and the yes: a browser cannot upload the same file by itself again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, BinaryIO
from uuid import UUID

from django.db import transaction

from linkit import clock
from linkit.models import User
from outbox.bulk import uploads
from outbox.bulk.models import BulkDraft
from outbox.bulk.reading import Overrides
from sms_providers.models import OrganizationApp

LIFETIME = timedelta(days=1)
_EACH = 10  # files that are kept for one person
_LONGEST_TEXT = 1000


def keep(
    file: BinaryIO,
    *,
    app: OrganizationApp,
    user: User,
    filename: str,
    overrides: Overrides,
    mode: str,
    report: Mapping[str, Any],
) -> UUID:
    """Store a file and the report on it until it is sent, or for a day. A person's eleventh replaces the oldest."""
    upload = uploads.store(file)
    with transaction.atomic():
        draft = BulkDraft.objects.create(
            app=app,
            user=user,
            filename=filename,
            upload=upload,
            options={name: value for name, value in vars(overrides).items() if value},
            mode=mode,
            report=_storable(report),
        )
        latest = BulkDraft.objects.filter(user=user).order_by("-created_at", "-pk")
        uploads.delete(list(latest.values_list("upload", flat=True)[_EACH:]))
    return draft.pk


def take(draft_id: UUID, user: User) -> BulkDraft | None:
    """Return what this person has uploaded; None once it is sent or a day old, and for anybody else."""
    drafts = BulkDraft.objects.filter(user=user, created_at__gt=clock.now() - LIFETIME)
    return drafts.select_related("app__organization", "upload").defer("app__credentials").filter(pk=draft_id).first()


def drop(draft: BulkDraft) -> None:
    """Delete a checked file: it has been sent."""
    uploads.delete([draft.upload_id])


def purge() -> int:
    """Delete what nobody has said yes to. Returns how many files."""
    old = BulkDraft.objects.filter(created_at__lte=clock.now() - LIFETIME)
    return uploads.delete(list(old.values_list("upload", flat=True)[:100]))


def _storable(value: Any) -> Any:
    """Return JSON that every database takes: no NUL, no half of a character, and no cell of a megabyte."""
    if isinstance(value, str):
        return value[:_LONGEST_TEXT].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(name): _storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return value
