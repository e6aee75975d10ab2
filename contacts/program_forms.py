"""The console's form for a draft of an SMS program."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from contacts.models import Audience, SmsProgram
from contacts.single_api import MAX_TEMPLATE
from linkit.models import Organization
from sms_providers.models import SenderId, SenderIdStatus


class _Choice(forms.ModelChoiceField):
    """Rows by their names; with the organization's where there are several."""

    is_wide = False

    def label_from_instance(self, obj: Any) -> str:
        owner = getattr(obj, "organization", None)
        return f"{owner or 'Shared'}: {obj}" if self.is_wide else str(obj)


class ProgramForm(forms.Form):
    """A draft: a text, whom it goes to, and under which sender ID."""

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}))
    audience = _Choice(Audience.objects.none(), required=False, help_text="Every contact in it gets one message.")
    sender = _Choice(SenderId.objects.none(), label="Sender ID", empty_label=None)
    template = forms.CharField(
        label="Message",
        strip=False,
        max_length=MAX_TEMPLATE,
        help_text="With {{ $contact.firstName }} and the like. What a contact does not have is left empty.",
        widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 5, "dir": "auto"}),
    )

    def __init__(
        self, *args: Any, organizations: QuerySet[Organization], program: SmsProgram | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.program = program
        mine = list(organizations.values_list("pk", flat=True))
        senders = SenderId.objects.filter(status=SenderIdStatus.ACTIVE).select_related("organization")
        audience, sender = self.fields["audience"], self.fields["sender"]
        assert isinstance(audience, _Choice)
        assert isinstance(sender, _Choice)
        audience.queryset = Audience.objects.filter(organization__in=mine).select_related("organization")
        sender.queryset = senders.filter(organization__in=mine) | senders.filter(organization=None)
        audience.is_wide = sender.is_wide = len(mine) > 1
        audience.required = program is None or program.audience_id is not None
        if program is not None:
            self.initial = {
                "name": program.name,
                "audience": program.audience_id,
                "sender": program.sender_id,
                "template": program.template,
            }

    @property
    def has_senders(self) -> bool:
        """Whether there is anything to send under."""
        sender = self.fields["sender"]
        assert isinstance(sender, _Choice)
        return sender.queryset is not None and sender.queryset.exists()

    @property
    def organization(self) -> Organization:
        """Whose program it is: the audience's."""
        owner: Organization = self.cleaned_data["audience"].organization
        return owner

    def clean_template(self) -> str:
        # Browsers send every line break as two characters, and a handset would be charged for both.
        return str(self.cleaned_data["template"]).replace("\r\n", "\n")

    def fields_of_draft(self) -> dict[str, Any]:
        """Return what the form says, as the verbs of programs take it."""
        audience = self.cleaned_data["audience"]
        fields = {
            "name": self.cleaned_data["name"],
            "template": self.cleaned_data["template"],
            "sender_id": self.cleaned_data["sender"].pk,
        }
        return {**fields, "audience_id": audience.pk} if audience else fields
