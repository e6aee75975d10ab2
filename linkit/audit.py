"""The audit trail: a sentence with gaps and what filled them, so that each reader gets it in their language."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.db.models import Model
from django.utils.translation import gettext as _

from linkit.models import AuditEntry, User

Value = str | int | Sequence[str]


def record(
    obj: Model,
    text: str,
    *,
    user: User,
    organization_id: UUID | None,
    values: Mapping[str, Value] | None = None,
    flag: int = CHANGE,
    name: str = "",
) -> None:
    """Write that `user` did to `obj` what `text` says, in English with `%(gaps)s` that `values` fill.

    A list among the values is of words of ours, which are translated; anything else stays as it is. Give `name` when
    the row's own holds something personal.
    """
    _write(obj, json.dumps({"text": text, "values": dict(values or {})}), user, organization_id, flag, name)


def record_stock(obj: Model, message: object, *, user: User, organization_id: UUID | None, flag: int) -> None:
    """Write an entry in the form of Django's own forms: a list that `LogEntry.get_change_message` knows."""
    _write(obj, json.dumps(message) if isinstance(message, list) else str(message), user, organization_id, flag, "")


def _write(obj: Model, message: str, user: User, organization_id: UUID | None, flag: int, name: str) -> None:
    AuditEntry.objects.create(
        user_id=str(user.pk),
        content_type_id=get_content_type_for_model(obj).pk,
        object_id=str(obj.pk),
        object_repr=(name or str(obj))[:200],
        action_flag=flag,
        change_message=message,
        organization_id=organization_id,
    )


def in_words(entry: LogEntry) -> str:
    """Return what was done, in the reader's language."""
    if not entry.change_message.startswith('{"text"'):
        return str(entry.get_change_message())
    said = json.loads(entry.change_message)
    values = {
        gap: _(", ").join(_(word) for word in value) if isinstance(value, list) else value
        for gap, value in said["values"].items()
    }
    text: str = _(said["text"])
    return text % values if values else text
