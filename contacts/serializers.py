"""Contacts, custom attributes and audiences on the wire: camelCase, and null for what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.validators import EmailValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from contacts import attributes, audiences
from contacts.models import AttributeType, Audience, Contact, CustomAttribute, Gender
from sms_providers.fields import IdField, MobileField, StrictCharField

MAX_CHANNELS, LONGEST_CHANNEL = 20, 32
_SHOWN_SLUG = 64


class OptionalField(StrictCharField):
    """A text that null and "" clear."""

    def __init__(self, max_length: int, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, required=False, allow_null=True, allow_blank=True, **kwargs)


class BoundedListField(serializers.ListField):
    """A list whose length is looked at before its items: of 300,000 wrong ones nobody wants to read."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        items: list[Any] = super().to_internal_value(data)
        return items


class ChannelsField(BoundedListField):
    child = StrictCharField(max_length=LONGEST_CHANNEL)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_CHANNELS, required=False, allow_null=True, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation(None if data == "" else data)


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
        "nullable": True,
        "example": {"customer_age": 42},
    }
)
class CustomAttributesField(serializers.Field[dict[str, Any], Any, dict[str, Any], Any]):
    """Values by the slug of their attribute; by the attribute's id inside, where None removes one.

    Needs `attributes` by slug in the context, and to read values the `organization`, for its region.
    """

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation(None if data == "" else data)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object of values by slug.")
        if len(data) > attributes.MAX_ATTRIBUTES:
            raise serializers.ValidationError("There are more values than an organization has attributes.")
        known: Mapping[str, CustomAttribute] = self.context["attributes"]
        region = self.context["organization"].default_region
        values: dict[str, Any] = {}
        wrong: dict[str, list[str]] = {}
        for slug, value in data.items():
            attribute = known.get(slug)
            if attribute is None:
                wrong[slug[:_SHOWN_SLUG]] = ["There is no such custom attribute."]
                continue
            try:
                values[str(attribute.pk)] = None if value is None else attributes.clean(attribute, value, region=region)
            except attributes.InvalidValue as error:
                wrong[slug] = [error.message]
        if wrong:
            raise serializers.ValidationError(wrong)
        return values

    def to_representation(self, value: Mapping[str, Any]) -> dict[str, Any]:
        known: Mapping[str, CustomAttribute] = self.context["attributes"]
        return {slug: value[key] for slug, attribute in known.items() if (key := str(attribute.pk)) in value}


class ContactFieldsSerializer(serializers.Serializer[Any]):
    """What a caller may say of a contact. What is not given is not in the validated data; null and "" clear."""

    primaryPhone = MobileField(source="primary_phone", help_text="As people type it; unique among your contacts.")
    firstName = OptionalField(100, source="first_name")
    lastName = OptionalField(100, source="last_name")
    fullName = OptionalField(200, source="full_name", help_text="Empty: templates take first and last name.")
    primaryEmail = OptionalField(254, source="primary_email", validators=[EmailValidator()])
    address = OptionalField(300)
    city = OptionalField(100)
    state = OptionalField(100)
    zip = OptionalField(20)
    occupation = OptionalField(100)
    gender = serializers.ChoiceField(
        choices=Gender.choices,
        required=False,
        allow_null=True,
        allow_blank=True,
        error_messages={"invalid_choice": "This must be male or female."},
    )
    preferredChannel = OptionalField(32, source="preferred_channel")
    channels = ChannelsField(help_text="Names of channels, such as sms.")
    customAttributes = CustomAttributesField(
        source="attribute_values",
        required=False,
        allow_null=True,
        help_text="Values by slug, checked by type. Null removes one; what is not named stays.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        empty: dict[str, Any] = {"channels": []}
        if "attribute_values" in attrs:
            # Those of deleted attributes stay where they are, hidden.
            live: Mapping[str, CustomAttribute] = self.context["attributes"]
            empty["attribute_values"] = {str(attribute.pk): None for attribute in live.values()}
        return {name: empty.get(name, "") if value is None else value for name, value in attrs.items()}


class AbsentField(serializers.CharField):
    """A text that is null when it is empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        return value or None


class ContactSerializer(serializers.ModelSerializer[Contact]):
    """A contact as it is answered. Needs `attributes` by slug in the context."""

    organizationId = serializers.UUIDField(source="organization_id")
    primaryPhone = serializers.CharField(source="primary_phone", help_text="E.164.")
    firstName = AbsentField(source="first_name")
    lastName = AbsentField(source="last_name")
    fullName = AbsentField(source="full_name")
    primaryEmail = AbsentField(source="primary_email")
    address = AbsentField()
    city = AbsentField()
    state = AbsentField()
    zip = AbsentField()
    occupation = AbsentField()
    gender = AbsentField(help_text="male or female")
    preferredChannel = AbsentField(source="preferred_channel")
    channels = serializers.ListField(child=serializers.CharField())
    customAttributes = CustomAttributesField(source="attribute_values", read_only=True)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = Contact
        fields = [
            "id", "organizationId", "primaryPhone", "firstName", "lastName", "fullName", "primaryEmail", "address",
            "city", "state", "zip", "occupation", "gender", "preferredChannel", "channels", "customAttributes",
            "createdAt", "updatedAt",
        ]  # fmt: skip


class UpsertSerializer(serializers.Serializer[Any]):
    """For the document: the view reads the list itself, so that each contact is checked for itself."""

    data = ContactFieldsSerializer(many=True)  # type: ignore[assignment]  # fields are taken out of the class


class UpsertErrorSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="In `data`, from 0.")
    fieldErrors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))


class UpsertedSerializer(serializers.Serializer[Any]):
    created = serializers.IntegerField()
    updated = serializers.IntegerField(help_text="Also those that came with what they have already.")
    errors = UpsertErrorSerializer(many=True, help_text="What was not written, and why.")  # type: ignore[assignment]


# --- custom attributes --------------------------------------------------------------------------------------------


class AttributeSerializer(serializers.ModelSerializer[CustomAttribute]):
    organizationId = serializers.UUIDField(source="organization_id")
    name = serializers.CharField(help_text="The slug of the display name: what `customAttributes` and templates say.")
    displayName = serializers.CharField(source="display_name")
    description = AbsentField()
    type = serializers.ChoiceField(choices=AttributeType.choices)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = CustomAttribute
        fields = ["id", "organizationId", "name", "displayName", "description", "type", "createdAt", "updatedAt"]


class NewAttributeSerializer(serializers.Serializer[Any]):
    displayName = StrictCharField(source="display_name", max_length=64, help_text="In Latin letters.")
    description = OptionalField(500)
    type = serializers.ChoiceField(
        choices=AttributeType.choices,
        error_messages={"invalid_choice": f"This must be one of: {', '.join(AttributeType.values)}."},
    )

    def validate_description(self, value: str | None) -> str:
        return value or ""


class AttributeChangesSerializer(serializers.Serializer[Any]):
    description = OptionalField(500)

    def validate_description(self, value: str | None) -> str:
        return value or ""


# --- audiences ----------------------------------------------------------------------------------------------------


class AudienceSerializer(serializers.ModelSerializer[Audience]):
    """An audience as it is answered. Needs `counts` by id in the context."""

    organizationId = serializers.UUIDField(source="organization_id")
    description = AbsentField()
    contactCount = serializers.SerializerMethodField(help_text="Without deleted contacts.")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    class Meta:
        model = Audience
        fields = ["id", "organizationId", "name", "description", "contactCount", "createdAt", "updatedAt"]

    def get_contactCount(self, audience: Audience) -> int:
        count: int = self.context["counts"][audience.pk]
        return count


class ContactIdsField(serializers.ListField):
    child = IdField()

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list):
            audiences.check_number(len(data))  # 413, before each of them is looked at
        items: list[Any] = super().to_internal_value(data)
        return items


class AudienceFieldsSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=120)
    description = OptionalField(500)

    def validate_description(self, value: str | None) -> str:
        return value or ""


class NewAudienceSerializer(AudienceFieldsSerializer):
    contactIds = ContactIdsField(
        source="contact_ids", required=False, help_text=f"Up to {audiences.MAX_IDS:,}; put on more by further calls."
    )


class ContactIdsSerializer(serializers.Serializer[Any]):
    contactIds = ContactIdsField(source="contact_ids", help_text=f"Up to {audiences.MAX_IDS:,}.")


class AddedSerializer(serializers.Serializer[Any]):
    added = serializers.IntegerField(help_text="Without those that were on it already.")
    total = serializers.IntegerField(help_text="How many contacts are on it now.")


class RemovedSerializer(serializers.Serializer[Any]):
    removed = serializers.IntegerField(help_text="Without those that were not on it.")
    total = serializers.IntegerField(help_text="How many contacts are on it now.")
