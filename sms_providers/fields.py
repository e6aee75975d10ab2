"""Serializer fields for the parts that every request about an SMS has."""

import json
import math
import re
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.validators import MaxLengthValidator, ProhibitNullCharactersValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from linkit import phone
from linkit.models import Organization
from sms_providers import schedule
from sms_providers import text as sms_text

MAX_SENDER, MAX_IDEMPOTENCY_KEY = 20, 128
_MAX_META_BYTES, _MAX_META_DEPTH = 8192, 20
_USUAL_VALIDATORS = (MaxLengthValidator, ProhibitNullCharactersValidator, ProhibitSurrogateCharactersValidator)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # NUL and halves of surrogate pairs: no database takes them


def _organization(field: serializers.Field[Any, Any, Any, Any]) -> Organization:
    organization: Organization = field.context["organization"]
    return organization


class QuickCharField(serializers.CharField):
    """Text with a `max_length`. What DRF's three validators look for, character by character, is found in one look.

    A field with further validators runs them all.
    """

    def run_validators(self, value: Any) -> None:
        is_usual = all(isinstance(each, _USUAL_VALIDATORS) for each in self.validators)
        if not is_usual or len(value) > (self.max_length or 0) or _UNSTORABLE.search(value):
            super().run_validators(value)  # which say what is wrong


class MobileField(QuickCharField):
    """A mobile number as people type it; E.164 inside. Needs `organization` in the context, for its region."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, float):
            # 9.66501234567E+11 would be read as 966501234567.0, which is another number with a digit more.
            raise serializers.ValidationError('Write the number as text, such as "+966501234567".')
        typed = super().to_internal_value(data)
        try:
            return phone.parse_mobile(typed, region=_organization(self).default_region)
        except phone.InvalidNumber as error:
            raise serializers.ValidationError(error.message, code=error.reason) from None


class StrictCharField(QuickCharField):
    """Text and nothing else: DRF would make text of a number without a word."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be text.")
        return super().to_internal_value(data)


class IdField(serializers.UUIDField):
    """The id of a row, as text: DRF would take any number for one."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class TextField(StrictCharField):
    """The text of an SMS, kept as it is typed, spaces included."""

    def __init__(self, **kwargs: Any) -> None:
        # The limit is checked by `text.check`; here it is for the schema.
        super().__init__(max_length=sms_text.MAX_CHARACTERS, trim_whitespace=False, **kwargs)

    def run_validators(self, value: Any) -> None:
        super().run_validators(value)
        try:
            sms_text.check(value)
        except sms_text.InvalidText as error:
            raise serializers.ValidationError(error.message, code=error.reason) from None


class SenderField(StrictCharField):
    """A sender ID; empty or null means the app's default."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_SENDER, required=False, allow_blank=True, allow_null=True, default="", **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        sender_id = super().run_validation("" if data is None else data)
        if not sender_id.isprintable():
            raise serializers.ValidationError("This holds a line break or another hidden character.")
        return sender_id


class IdempotencyKeyField(StrictCharField):
    """The client's name for one intent, kept to the letter; empty or null means none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=MAX_IDEMPOTENCY_KEY,
            required=False,
            allow_blank=True,
            allow_null=True,
            default=None,
            trim_whitespace=False,
            **kwargs,
        )

    def to_internal_value(self, data: Any) -> str:
        key = super().to_internal_value(data)
        if key and not key.strip():
            raise serializers.ValidationError("A key of blanks names nothing.")
        return key


@extend_schema_field({"type": "string", "example": "", "description": "Empty: now. RFC 3339, or local time."})
class MomentField(serializers.Field[datetime | None, Any, Any, Any]):
    """When to send; empty or null means now. Needs `organization` in the context, for its time zone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=None, **kwargs)

    def to_internal_value(self, data: Any) -> datetime | None:
        if not isinstance(data, str):
            raise serializers.ValidationError("Write the time as text.")
        if not data.strip():
            return None
        try:
            return schedule.parse(data, time_zone=_organization(self).time_zone)
        except schedule.InvalidMoment as error:
            raise serializers.ValidationError(error.fields["datetime"]) from None

    def to_representation(self, value: datetime | None) -> Any:
        return value


class MetaField(serializers.DictField):
    """The client's own notes: a small JSON object that any database can hold."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=dict, **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("meta must be an object.")
        _check_json(data, _MAX_META_DEPTH)
        if len(json.dumps(data, ensure_ascii=False).encode()) > _MAX_META_BYTES:
            raise serializers.ValidationError(f"meta is over {_MAX_META_BYTES:,} bytes.")
        return data


def _check_json(value: Any, depth: int) -> None:
    """Refuse what JSON allows and a jsonb column does not: NUL, lone surrogates, numbers past the range of a float."""
    if depth == 0:
        raise serializers.ValidationError("meta is nested too deeply.")
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise serializers.ValidationError("meta holds a NUL or half a surrogate pair.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise serializers.ValidationError("meta holds a number that is too large.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_json(key, depth)
            _check_json(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth - 1)
