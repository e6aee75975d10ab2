"""The console's forms: an installation with its credentials, one message by hand, a sender ID."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from linkit import clock, phone
from linkit.errors import InvalidInput
from linkit.forms import OnceForm
from linkit.models import Organization
from linkit.widgets import LocalDateTimeInput, regions
from sms_providers import catalogue, schedule
from sms_providers import text as sms_text
from sms_providers.adapters.base import ProviderAdapter
from sms_providers.adapters.credentials import CredentialField
from sms_providers.fields import MAX_SENDER
from sms_providers.models import OrganizationApp, SenderId

_CREDENTIAL, _REMOVE = "credential_", "remove_"


class InstallationForm(forms.ModelForm):
    """An installation: the app's credential fields, then our own settings.

    A stored secret never goes into the page: an empty secret field means "keep it". `installing` checks the
    credentials; `refuse` puts what it found wrong beside the fields. Whether it costs credits is only there for
    whoever `may_meter`.
    """

    class Meta:
        model = OrganizationApp
        fields = ["default_sender", "is_enabled", "priority", "max_per_second", "is_metered"]

    def __init__(
        self, *args: Any, adapter: type[ProviderAdapter] | None, may_meter: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if not may_meter:
            del self.fields["is_metered"]
        self.adapter = adapter
        self._stored: dict[str, str] = (self.instance.readable_credentials or {}) if self.instance.pk else {}
        self.our_names = list(self.fields)
        self.credential_fields = adapter.credential_fields if adapter else ()
        for field in self.credential_fields:
            self.fields[_CREDENTIAL + field.name] = self._form_field(field)
            if field.is_secret and not field.is_required and self._stored.get(field.name):
                self.fields[_REMOVE + field.name] = forms.BooleanField(
                    label=f"Remove the stored {field.label}", required=False
                )
        self.order_fields([name for name in self.fields if name not in self.our_names])

    def _form_field(self, field: CredentialField) -> forms.CharField:
        is_kept = field.is_secret and bool(self._stored.get(field.name))
        # What a key looks like is of use only to somebody who has mistyped one, and is said then.
        looks = f"Looks like: {field.pattern_help}" if field.pattern_help and not field.is_secret else ""
        hints = [field.help, looks]
        if is_kept:
            hints = ["Set, and never shown. Leave empty to keep it.", *hints]
        widget: forms.Widget = forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off", "dir": "auto"})
        if field.is_secret:
            # "new-password": the browser must not offer the operator's own.
            widget = forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password", "dir": "ltr"})
        return forms.CharField(
            label=field.label,
            required=field.is_required and not is_kept,
            initial="" if field.is_secret else self._stored.get(field.name, ""),
            help_text=" ".join(filter(None, hints)),
            widget=widget,
            strip=False,  # a space that came along with the copy is said, not swallowed: here as in the API
        )

    def credential_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in self.our_names]

    def our_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in self.our_names]

    def credentials(self) -> dict[str, str]:
        """Return what to store: every plain field, secrets only where one was typed or is to go."""
        given: dict[str, str] = {}
        for field in self.credential_fields:
            typed = self.cleaned_data[_CREDENTIAL + field.name]
            if typed or not field.is_secret or self.cleaned_data.get(_REMOVE + field.name):
                given[field.name] = typed
        return given

    def settings(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.our_names}

    def changed_names(self) -> list[str]:
        """Return what differs from what is stored, by label; never a value."""
        return [str(self[name].label) for name in self.changed_data]

    def refuse(self, problem: InvalidInput) -> None:
        """Show what the service found wrong, each text beside its field."""
        for name, texts in problem.fields.items():
            ours = _CREDENTIAL + name.removeprefix("credentials.") if name.startswith("credentials.") else name
            self.add_error(ours if ours in self.fields else None, ValidationError(list(texts)))
        if not problem.fields:
            self.add_error(None, problem.message)


class AppChoice(forms.ModelChoiceField):
    """Installed apps by their names; with the organization's where there are several."""

    is_wide = False

    def label_from_instance(self, obj: Any) -> str:
        name = catalogue.app_name(obj.slug)
        sender = f", sender {obj.default_sender}" if obj.default_sender else ""
        return f"{obj.organization}: {name}{sender}" if self.is_wide else f"{name}{sender}"


class SendForm(OnceForm):
    """One message by hand. Sending the form twice sends one message."""

    app = AppChoice(OrganizationApp.objects.none(), label="Through", empty_label=None)
    recipient = forms.CharField(
        label="To",
        max_length=64,
        help_text="As you would type it: 0501234567, +966 50 123 4567 or 00966501234567.",
        widget=forms.TextInput(attrs={"class": "vTextField", "inputmode": "tel", "dir": "ltr", "autocomplete": "off"}),
    )
    sender_id = forms.CharField(
        label="Sender ID",
        max_length=MAX_SENDER,
        required=False,
        help_text="What the handset shows. Empty: the app's own.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    text = forms.CharField(
        label="Message",
        strip=False,
        widget=forms.Textarea(
            attrs={"class": "vLargeTextField", "rows": 5, "dir": "auto", "data-counter": "text-counter"}
        ),
    )
    send_at = forms.DateTimeField(label="Send at", required=False, widget=LocalDateTimeInput)

    def __init__(
        self, *args: Any, apps: QuerySet[OrganizationApp], is_wide: bool, time_zone: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        chooser = self.fields["app"]
        assert isinstance(chooser, AppChoice)
        chooser.queryset, chooser.is_wide = apps, is_wide
        self.fields["send_at"].help_text = f"Empty: now. In the time of {time_zone}."

    def clean_text(self) -> str:
        # Browsers send every line break as two characters, and a handset would be charged for both.
        typed = str(self.cleaned_data["text"]).replace("\r\n", "\n")
        try:
            return sms_text.check(typed)
        except sms_text.InvalidText as error:
            raise ValidationError(error.message) from None

    def clean_send_at(self) -> datetime | None:
        try:
            return schedule.resolve(self.cleaned_data["send_at"], now=clock.now())
        except schedule.InvalidMoment as error:
            raise ValidationError(error.fields["datetime"]) from None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        app, typed = cleaned.get("app"), cleaned.get("recipient")
        if app and typed:
            try:
                cleaned["recipient"] = phone.parse_mobile(typed, region=app.organization.default_region)
            except phone.InvalidNumber as error:
                self.add_error("recipient", error.message)
        return cleaned

    @property
    def idempotency_key(self) -> str:
        """The key of this intent, in a corner of the keys that no program chooses by accident."""
        return f"console:{self.cleaned_data['once']}"


class SenderIdForm(forms.ModelForm):
    """A sender ID and its gateway, which is an installation of the organization whose it is.

    `organizations` are those that whoever types may give one to. Shared ones are for whoever `may_share`, and send
    through any installation.
    """

    app = AppChoice(OrganizationApp.objects.none(), label="Gateway", required=False, empty_label="None yet")

    class Meta:
        model = SenderId
        fields = ["organization", "sender_id", "country", "description", "status", "app"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["app"].help_text = "The installed app that sends under it."
        self.fields["country"] = forms.ChoiceField(choices=regions(), help_text="Where it is registered.")

    def reach_to(self, organizations: QuerySet[Organization], *, may_share: bool, is_wide: bool) -> None:
        """Offer what is within the reach of whoever types."""
        owner, gateway = self.fields.get("organization"), self.fields["app"]
        installed = Q(uninstalled_at=None, organization__in=organizations)
        if self.instance.pk and not self.instance._state.adding:
            if not (may_share and self.instance.is_shared):
                installed &= Q(organization=self.instance.organization_id)
            installed |= Q(pk=self.instance.app_id)  # one that has been uninstalled since is not lost by saving
        assert isinstance(gateway, AppChoice)
        gateway.queryset = (
            OrganizationApp.objects.defer("credentials").filter(installed).select_related("organization")
        ).order_by("organization__name", "slug")
        gateway.is_wide = is_wide
        if owner is not None:
            assert isinstance(owner, forms.ModelChoiceField)
            owner.queryset, owner.required = organizations, not may_share
            owner.empty_label = "Shared with everybody" if may_share else None
            some = list(organizations[:2])
            self.fields["country"].initial = some[0].default_region if some else None
            if len(some) == 1 and not may_share:
                owner.initial, owner.widget = some[0], forms.HiddenInput()

    def clean_sender_id(self) -> str:
        typed: str = self.cleaned_data["sender_id"]
        if not typed.isprintable():
            raise ValidationError("It holds a line break or another hidden character.")
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        app = cleaned.get("app")
        if app is None or "organization" in self.errors:
            return cleaned
        owner = cleaned["organization"] if "organization" in self.fields else self.instance.organization
        if owner is not None and app.organization_id != owner.pk:
            self.add_error("app", f"It is not installed by {owner}. A sender ID of its own sends through its own app.")
        return cleaned
