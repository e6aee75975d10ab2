"""The audit trail: a sentence with gaps and what filled them, so that each reader gets it in their language."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.db.models import Model
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import override

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
    with override("en"):  # whoever reads it later may have another language
        shown = name or str(obj)
    AuditEntry.objects.create(
        user_id=str(user.pk),
        content_type_id=get_content_type_for_model(obj).pk,
        object_id=str(obj.pk),
        object_repr=shown[:200],
        action_flag=flag,
        change_message=message,
        organization_id=organization_id,
    )


def in_words(entry: LogEntry) -> str:
    """Return what was done, in the reader's language."""
    if entry.is_deletion() and not entry.change_message:
        return _("Deleted.")
    if not entry.change_message.startswith('{"text"'):
        return _in_stock_words(entry.change_message)
    said = json.loads(entry.change_message)
    values = {
        gap: _(", ").join(_(word) for word in value) if isinstance(value, list) else value
        for gap, value in said["values"].items()
    }
    text: str = _(said["text"])
    return text % values if values else text


def _in_stock_words(message: str) -> str:
    """Return what one of Django's own forms did. It writes the labels of fields, which begin with a capital."""
    try:
        changes = json.loads(message)
    except ValueError:  # a sentence: what we wrote before entries had gaps
        return message
    for change in changes:
        for done in change.values():
            if "fields" in done:
                done["fields"] = [_label(label) for label in done["fields"]]
    return str(LogEntry(change_message=json.dumps(changes)).get_change_message())


def _label(label: str) -> str:
    translated: str = _(label)
    return translated if translated != label else str(capfirst(_(label[:1].lower() + label[1:])))
