"""The console's forms: an installation with its credentials, a sender ID."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from linkit.errors import InvalidInput
from linkit.models import Organization
from linkit.widgets import AmountInput, regions
from sms_providers import balances, catalogue
from sms_providers.adapters.base import ProviderAdapter
from sms_providers.adapters.credentials import CredentialField
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
        fields = ["default_sender", "is_enabled", "priority", "max_per_second", "balance_alert", "is_metered"]
        labels = {
            "default_sender": _lazy("Default sender"),
            "is_enabled": _lazy("Enabled"),
            "priority": _lazy("Priority"),
            "max_per_second": _lazy("Max per second"),
            "balance_alert": _lazy("Low balance"),
            "is_metered": _lazy("Metered"),
        }
        widgets = {"balance_alert": AmountInput}

    def __init__(
        self, *args: Any, adapter: type[ProviderAdapter] | None, may_meter: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if not may_meter:
            del self.fields["is_metered"]
        if adapter is None or adapter.slug not in balances.telling():
            del self.fields["balance_alert"]
        self.adapter = adapter
        self._stored: dict[str, str] = (self.instance.readable_credentials or {}) if self.instance.pk else {}
        self.our_names = list(self.fields)
        self.credential_fields = adapter.credential_fields if adapter else ()
        for field in self.credential_fields:
            self.fields[_CREDENTIAL + field.name] = self._form_field(field)
            if field.is_secret and not field.is_required and self._stored.get(field.name):
                self.fields[_REMOVE + field.name] = forms.BooleanField(
                    label=_("Remove the stored value: %(field)s") % {"field": _(field.label)}, required=False
                )
        self.order_fields([name for name in self.fields if name not in self.our_names])

    def _form_field(self, field: CredentialField) -> forms.CharField:
        is_kept = field.is_secret and bool(self._stored.get(field.name))
        # What a key looks like is of use only to somebody who has mistyped one, and is said then.
        looks = ""
        if field.pattern_help and not field.is_secret:
            looks = _("Looks like: %(looks)s") % {"looks": _(field.pattern_help)}
        hints = [_(field.help), looks]
        if is_kept:
            hints = [_("Set, and never shown. Leave empty to keep it."), *hints]
        widget: forms.Widget = forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off", "dir": "auto"})
        if field.is_secret:
            # "new-password": the browser must not offer the operator's own.
            widget = forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password", "dir": "ltr"})
        return forms.CharField(
            label=_(field.label),
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
        """Return what differs from what is stored, by its label in English, for the audit trail; never a value."""
        labels = {field.name: field.label for field in self.credential_fields}
        with translation.override("en"):
            ours = {name: str(self.fields[name].label) for name in self.our_names}
        names = (name.removeprefix(_CREDENTIAL) for name in self.changed_data if not name.startswith(_REMOVE))
        return [labels.get(name) or ours[name] for name in names]

    def removed_names(self) -> list[str]:
        """Return the secrets that are taken away, as `changed_names` does."""
        labels = {_REMOVE + field.name: field.label for field in self.credential_fields}
        return [labels[name] for name in self.changed_data if name in labels]

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
        if obj.default_sender:
            name = _("%(app)s, sender %(sender)s") % {"app": name, "sender": obj.default_sender}
        return f"{obj.organization}: {name}" if self.is_wide else name


class SenderIdForm(forms.ModelForm):
    """A sender ID and its gateway, which is an installation of the organization whose it is.

    `organizations` are those that whoever types may give one to. Shared ones are for whoever `may_share`, and send
    through any installation.
    """

    app = AppChoice(
        OrganizationApp.objects.none(), label=_lazy("Gateway"), required=False, empty_label=_lazy("None yet")
    )

    class Meta:
        model = SenderId
        fields = ["organization", "sender_id", "country", "description", "status", "app"]
        labels = {
            "organization": _lazy("Organization"),
            "sender_id": _lazy("Sender ID"),
            "country": _lazy("Country"),
            "description": _lazy("Description"),
            "status": _lazy("Status"),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["app"].help_text = _("The installed app that sends under it.")
        help_text = _("Where it is registered.")
        self.fields["country"] = forms.ChoiceField(label=_lazy("Country"), choices=regions(), help_text=help_text)

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
            owner.empty_label = _("Shared with everybody") if may_share else None
            some = list(organizations[:2])
            self.fields["country"].initial = some[0].default_region if some else None
            if len(some) == 1 and not may_share:
                owner.initial, owner.widget = some[0], forms.HiddenInput()

    def clean_sender_id(self) -> str:
        typed: str = self.cleaned_data["sender_id"]
        if not typed.isprintable():
            raise ValidationError(_("It holds a line break or another hidden character."))
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        app = cleaned.get("app")
        if app is None or "organization" in self.errors:
            return cleaned
        owner = cleaned["organization"] if "organization" in self.fields else self.instance.organization
        if owner is not None and app.organization_id != owner.pk:
            text = _("It is not installed by %(owner)s. A sender ID of its own sends through its own app.")
            self.add_error("app", text % {"owner": owner})
        return cleaned
