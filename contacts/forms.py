"""The console's forms: a contact with its attributes, an attribute, an audience, and a sheet to import or export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import override

from contacts import attributes, cells
from contacts.columns import FIELDS, Columns
from contacts.models import AttributeType, Audience, Contact, CustomAttribute
from contacts.sheets import MAX_BYTES, MAX_ROWS
from linkit.errors import InvalidInput
from linkit.forms import OrganizationsForm
from linkit.models import Organization
from linkit.widgets import AmountInput, LocalDateInput
from outbox.bulk.reading import Overrides
from outbox.forms import SendFileForm

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

_ATTRIBUTE = "attribute_"
_TRUTH = [("", "–"), ("true", _lazy("Yes")), ("false", _lazy("No"))]


# --- contacts -----------------------------------------------------------------------------------------------------


_TEXT = {"class": "vTextField", "autocomplete": "off", "dir": "auto"}


def _text(label: _StrOrPromise, max_length: int, **kwargs: Any) -> forms.CharField:
    return forms.CharField(
        label=label, max_length=max_length, required=False, **{"widget": forms.TextInput(attrs=_TEXT), **kwargs}
    )


def _left_to_right(input_type: str) -> forms.TextInput:
    return forms.TextInput(attrs={**_TEXT, "type": input_type, "dir": "ltr"})


_WIDGETS: Mapping[str, Callable[[], forms.Widget]] = {
    AttributeType.NUMBER: AmountInput,
    AttributeType.DATE: LocalDateInput,
    AttributeType.PHONE_NUMBER: lambda: _left_to_right("tel"),
    AttributeType.EMAIL: lambda: _left_to_right("email"),
    AttributeType.URL: lambda: _left_to_right("url"),
}


class ContactForm(forms.Form):
    """A contact with the attributes of its organization, judged by the rules of a sheet's cells.

    Only what somebody has changed is written: each field comes with what it showed, so that a form which was open for
    an hour takes nothing back. `services` decides whether the phone is free.
    """

    primary_phone = forms.CharField(
        label=_lazy("Phone"),
        max_length=40,
        widget=_left_to_right("tel"),
        help_text=_lazy("As people write it, such as 0501234567 or +966 50 123 4567."),
    )
    first_name = _text(_lazy("First name"), 100)
    last_name = _text(_lazy("Last name"), 100)
    full_name = _text(_lazy("Full name"), 200, help_text=_lazy("Empty: messages take the first and last name."))
    primary_email = _text(_lazy("E-mail"), 254, widget=_left_to_right("email"))
    address = _text(_lazy("Address"), 300)
    city = _text(_lazy("City"), 100)
    state = _text(_lazy("State"), 100)
    zip = _text(_lazy("ZIP code"), 20)
    occupation = _text(_lazy("Occupation"), 100)
    gender = forms.ChoiceField(label=_lazy("Gender"), required=False)
    preferred_channel = _text(_lazy("Preferred channel"), 32)
    channels = _text(_lazy("Channels"), 660, help_text=_lazy("Separated by commas, such as sms, whatsapp."))

    def __init__(
        self, *args: Any, organization: Organization, columns: Columns, contact: Contact | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.organization, self.columns, self.contact = organization, columns, contact
        gender = self.fields["gender"]
        assert isinstance(gender, forms.ChoiceField)
        gender.choices = [("", "–"), *Contact._meta.get_field("gender").flatchoices]
        self._keys = {field: key for key, field in FIELDS.items()}
        for key, attribute in columns.attributes.items():
            name = f"{_ATTRIBUTE}{attribute.pk}"
            self._keys[name] = key
            self.fields[name] = _attribute_field(attribute)
        if contact is not None:
            self.initial = {name: self._stored(name) for name in self._keys}
            for name, field in self.fields.items():
                field.show_hidden_initial = True
                if "\n" in self.initial[name]:  # an API may say so, and a field of one line would lose it
                    field.widget = forms.Textarea(attrs={"rows": 3, "cols": 60, "dir": "auto"})

    def own_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if not name.startswith(_ATTRIBUTE)]

    def attribute_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith(_ATTRIBUTE)]

    def _stored(self, name: str) -> str:
        assert self.contact is not None
        return cells.text_of(cells.stored(self.contact, self._keys[name], self.columns))

    def clean(self) -> dict[str, Any]:
        """Make values of what is typed; each error stands beside its field."""
        self.values: dict[str, Any] = {}
        for name, key in self._keys.items():
            if name not in self.cleaned_data or (self.contact is not None and name not in self.changed_data):
                continue
            typed = str(self.cleaned_data[name])
            if not typed:
                self.values[name] = None if key in self.columns.attributes else [] if name == "channels" else ""
                continue
            try:
                self.values[name] = cells.value_in(typed, key, self.columns, region=self.organization.default_region)
            except InvalidInput as problem:
                self.add_error(name, problem.message)
        return self.cleaned_data

    def changes(self) -> dict[str, Any]:
        """Return what differs from the contact as it is, for `services`."""
        fields: dict[str, Any] = {}
        contact = self.contact or Contact(organization=self.organization)
        for name, value in self.values.items():
            key = self._keys[name]
            if value == cells.stored(contact, key, self.columns):
                continue
            if attribute := self.columns.attributes.get(key):
                fields.setdefault("attribute_values", {})[str(attribute.pk)] = value
            else:
                fields[name] = value
        return fields

    def labels_of(self, fields: Mapping[str, Any]) -> list[str]:
        """Return the labels of what `changes` has returned, in English, without the values, which are personal."""
        names = [name for name in fields if name in self.fields]
        names += [f"{_ATTRIBUTE}{pk}" for pk in fields.get("attribute_values", {})]
        with override("en"):
            return [str(self.fields[name].label) for name in names]


def _attribute_field(attribute: CustomAttribute) -> forms.Field:
    label, about = attribute.display_name, attribute.description
    if attribute.type == AttributeType.BOOLEAN:
        return forms.ChoiceField(label=label, help_text=about, required=False, choices=_TRUTH)
    widget = _WIDGETS.get(attribute.type)
    # A text whatever the type, since it is judged as a cell is.
    return forms.CharField(
        label=label,
        help_text=about,
        required=False,
        max_length=attributes.MAX_URL,
        widget=widget() if widget else forms.TextInput(attrs=_TEXT),
    )


# --- attributes and audiences -------------------------------------------------------------------------------------


def _description() -> forms.CharField:
    return forms.CharField(
        label=_lazy("Description"),
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60, "dir": "auto"}),
    )


class NewAttributeForm(OrganizationsForm):
    """A new custom attribute. Its name is made of the display name."""

    display_name = _text(
        _lazy("Display name"), 64, help_text=_lazy("In Latin letters: “Customer Age” is customer_age in messages.")
    )
    type = forms.ChoiceField(label=_lazy("Type"), choices=AttributeType.choices)
    description = _description()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["display_name"].required = True


class AttributeForm(forms.Form):
    """What can change of a custom attribute."""

    description = _description()


class AudienceForm(forms.Form):
    """An audience by its name."""

    name = _text(_lazy("Name"), 120)
    description = _description()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = True


class NewAudienceForm(OrganizationsForm, AudienceForm):
    """A new audience, of nobody yet."""


class MembersForm(forms.Form):
    """Which audience contacts are put into: one that is there, or a new one."""

    audience = forms.ModelChoiceField(Audience.objects.none(), label=_lazy("Audience"), required=False, empty_label="–")
    name = _text(_lazy("Or a new one, named"), 120)

    def __init__(self, *args: Any, organization: Organization, may_make: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chooser = self.fields["audience"]
        assert isinstance(chooser, forms.ModelChoiceField)
        chooser.queryset = Audience.objects.filter(organization=organization).order_by("name", "pk")
        if not may_make:
            del self.fields["name"]
            chooser.required = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "name" in self.fields and not self.errors and bool(cleaned["audience"]) == bool(cleaned["name"]):
            self.add_error("audience", _("Choose an audience, or name a new one."))
        return cleaned


# --- sheets -------------------------------------------------------------------------------------------------------


class ImportForm(OrganizationsForm):
    """A sheet of contacts, for which organization, and how to read it where we would guess."""

    file = forms.FileField(
        label=_lazy("File"), allow_empty_file=True, widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx"})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in SendFileForm.reading_names:
            self.fields[name] = deepcopy(SendFileForm.base_fields[name])
        file, figures = self.fields["file"], {"size": f"{MAX_BYTES / 1e6:g}", "rows": f"{MAX_ROWS:,}"}
        file.help_text = _("CSV or Excel (.xlsx), up to %(size)s MB and %(rows)s rows.") % figures
        too_large = _("The file is over %(size)s MB. Split it.") % figures
        file.widget.attrs |= {"data-max-bytes": MAX_BYTES, "data-too-large": too_large}

    def main_rows(self) -> list[forms.BoundField]:
        return [field for field in self.visible_fields() if field.name not in SendFileForm.reading_names]

    def reading_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in SendFileForm.reading_names]

    @property
    def is_reading_set(self) -> bool:
        """Whether somebody needs to see how the file is read: it was said, or the file could not be."""
        return self.is_bound and bool(self.errors or any(each.value() for each in self.reading_rows()))

    @property
    def overrides(self) -> Overrides:
        return Overrides(**{name: self.cleaned_data[name] for name in SendFileForm.reading_names})


class ExportForm(forms.Form):
    """In what form contacts are exported."""

    format = forms.ChoiceField(
        label=_lazy("Format"),
        choices=[("xlsx", "Excel (.xlsx)"), ("csv", "CSV")],
        initial="xlsx",
        widget=forms.RadioSelect,
    )
