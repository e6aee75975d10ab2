"""The console's forms for texts to contacts: a draft of an SMS program, and a message that goes out at once."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from contacts.models import Audience, SmsProgram
from contacts.single_api import MAX_TEMPLATE
from linkit.errors import LinkitError
from linkit.forms import OnceForm
from linkit.models import Organization
from sms_providers.models import SenderId, SenderIdStatus

#: Where the pages show what the counter counts.
COUNTER = "text-counter"


class _Choice(forms.ModelChoiceField):
    """Rows by their names; with the organization's where there are several."""

    is_wide = False

    def label_from_instance(self, obj: Any) -> str:
        owner = getattr(obj, "organization", None)
        return f"{owner or _('Shared')}: {obj}" if self.is_wide else str(obj)


class _TextForm(forms.Form):
    """A text with placeholders, under a sender ID."""

    sender = _Choice(SenderId.objects.none(), label=_lazy("Sender ID"), empty_label=None)
    template = forms.CharField(
        label=_lazy("Message"),
        strip=False,
        max_length=MAX_TEMPLATE,
        help_text=_lazy("With {{ $contact.firstName }} and the like. What a contact does not have is left empty."),
        widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 5, "dir": "auto", "data-counter": COUNTER}),
    )

    def offer_senders(self, senders: QuerySet[SenderId], *, is_wide: bool) -> None:
        """Offer those that are active."""
        sender = self.fields["sender"]
        assert isinstance(sender, _Choice)
        sender.queryset = senders.filter(status=SenderIdStatus.ACTIVE).select_related("organization")
        sender.is_wide = is_wide

    @property
    def has_senders(self) -> bool:
        """Whether there is anything to send under."""
        sender = self.fields["sender"]
        assert isinstance(sender, _Choice)
        return sender.queryset is not None and sender.queryset.exists()

    def clean_template(self) -> str:
        # Browsers send every line break as two characters, and a handset would be charged for both.
        return str(self.cleaned_data["template"]).replace("\r\n", "\n")


def _name() -> forms.CharField:
    attrs = {"class": "vTextField", "autocomplete": "off", "dir": "auto"}
    return forms.CharField(label=_lazy("Name"), max_length=120, widget=forms.TextInput(attrs=attrs))


class ProgramForm(_TextForm):
    """A draft: a text, whom it goes to, and under which sender ID."""

    name = _name()
    audience = _Choice(
        Audience.objects.none(),
        label=_lazy("Audience"),
        required=False,
        help_text=_lazy("Every contact in it gets one message."),
    )
    field_order = ("name", "audience", "sender", "template")

    def __init__(
        self, *args: Any, organizations: QuerySet[Organization], program: SmsProgram | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.program = program
        mine = list(organizations.values_list("pk", flat=True))
        is_wide = len(mine) > 1
        senders = SenderId.objects.filter(organization__in=mine) | SenderId.objects.filter(organization=None)
        self.offer_senders(senders, is_wide=is_wide)
        audience = self.fields["audience"]
        assert isinstance(audience, _Choice)
        audience.queryset = Audience.objects.filter(organization__in=mine).select_related("organization")
        audience.is_wide = is_wide
        audience.required = program is None or program.audience_id is not None
        if program is not None:
            self.initial = {
                "name": program.name,
                "audience": program.audience_id,
                "sender": program.sender_id,
                "template": program.template,
            }

    @property
    def organization(self) -> Organization:
        """Whose program it is: the audience's."""
        owner: Organization = self.cleaned_data["audience"].organization
        return owner

    def fields_of_draft(self) -> dict[str, Any]:
        """Return what the form says, as the verbs of programs take it."""
        audience = self.cleaned_data["audience"]
        fields = {
            "name": self.cleaned_data["name"],
            "template": self.cleaned_data["template"],
            "sender_id": self.cleaned_data["sender"].pk,
        }
        return {**fields, "audience_id": audience.pk} if audience else fields


class SendTextForm(OnceForm, _TextForm):
    """A text that goes out at once, after it was looked over: `seen` names what the page before has shown.

    Sending the form twice sends once.
    """

    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer_senders(SenderId.objects.accessible_to(organization), is_wide=False)

    def is_looked_over(self, shown: str) -> bool:
        """Whether the page before has shown this; from now on it has."""
        was_shown: str = self.cleaned_data["seen"]
        self._put(seen=shown)
        return was_shown == shown

    def refuse(self, problem: LinkitError) -> None:
        """Say why nothing was sent. Sent again, the form is another intent if this one has done something else."""
        if problem.reason == "idempotency_key_reused":
            self.renew()
            said = _(
                "This form has been sent already, with other content. Nothing was sent now; look it over and send."
            )
            self.add_error(None, said)
        else:
            self.add_error(None, problem.message)

    def renew(self) -> None:
        self._put(once=str(self.fields["once"].initial()))

    def _put(self, **values: str) -> None:
        self.data = {**dict(self.data.items()), **values}


class SendToContactForm(SendTextForm):
    """A text to one contact, who must have every value it asks for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["template"].help_text = _("With {{ $contact.firstName }} and the like.")


class SendToChosenForm(SendTextForm):
    """A text to chosen contacts, as an SMS program of this name."""

    name = _name()
    field_order = ("name", "sender", "template")
