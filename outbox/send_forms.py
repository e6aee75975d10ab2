"""The form of one message that is sent by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from linkit import clock, phone
from linkit.forms import OnceForm
from linkit.models import Organization
from linkit.widgets import LocalDateTimeInput
from sms_providers import catalogue, schedule
from sms_providers import text as sms_text
from sms_providers.fields import MAX_SENDER
from sms_providers.models import OrganizationApp

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

ANY = "any"  # whichever app can


class SendOneForm(OnceForm):
    """One message of one organization, in whose time zone the caller is. Sending the form twice sends one message."""

    app = forms.ChoiceField(label=_lazy("Through"))
    recipient = forms.CharField(
        label=_lazy("To"),
        max_length=64,
        help_text=_lazy("As you would type it: 0501234567, +966 50 123 4567 or 00966501234567."),
        widget=forms.TextInput(attrs={"class": "vTextField", "inputmode": "tel", "dir": "ltr", "autocomplete": "off"}),
    )
    sender_id = forms.CharField(
        label=_lazy("Sender ID"),
        max_length=MAX_SENDER,
        required=False,
        help_text=_lazy("What the handset shows. Empty: the app's own."),
        widget=forms.TextInput(
            attrs={"class": "vTextField", "autocomplete": "off", "dir": "auto", "list": "sender-choices"}
        ),
    )
    text = forms.CharField(
        label=_lazy("Message"),
        strip=False,
        widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 5, "dir": "auto"}),
    )
    send_at = forms.DateTimeField(label=_lazy("Send at"), required=False, widget=LocalDateTimeInput)

    #: When it is to be sent as it was typed; `send_at` is None for a moment that has come.
    wanted_at: datetime | None = None

    def __init__(
        self, *args: Any, organization: Organization, apps: Sequence[OrganizationApp], chosen: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.organization = organization
        self._apps = {str(app.pk): app for app in apps}
        chooser = self.fields["app"]
        assert isinstance(chooser, forms.ChoiceField)
        any_app: list[tuple[str, _StrOrPromise]] = [(ANY, _lazy("Any app, the first that takes it"))]
        chooser.choices = any_app + [(pk, _label(app)) for pk, app in self._apps.items()]
        only = next(iter(self._apps)) if len(self._apps) == 1 else ANY
        chooser.initial = chosen if chosen in self._apps else only
        told = _("Empty: now. In the time of %(zone)s.") % {"zone": timezone.get_current_timezone_name()}
        self.fields["send_at"].help_text = told

    @property
    def chosen_app(self) -> OrganizationApp | None:
        """The app that is chosen, also while the rest of the form is wrong; None: any, or none that there is."""
        return self._apps.get(str(self["app"].value()))

    def clean_app(self) -> OrganizationApp | None:
        return self._apps.get(self.cleaned_data["app"])

    def clean_recipient(self) -> str:
        try:
            return phone.parse_mobile(self.cleaned_data["recipient"], region=self.organization.default_region)
        except phone.InvalidNumber as error:
            raise ValidationError(error.message) from None

    def clean_sender_id(self) -> str:
        typed: str = self.cleaned_data["sender_id"]
        if not typed.isprintable():
            raise ValidationError(_("It holds a line break or another hidden character."))
        return typed

    def clean_text(self) -> str:
        try:
            return sms_text.check(line_breaks(self.cleaned_data["text"]))
        except sms_text.InvalidText as error:
            raise ValidationError(error.message) from None

    def clean_send_at(self) -> datetime | None:
        self.wanted_at = self.cleaned_data["send_at"]
        try:
            return schedule.resolve(self.wanted_at, now=clock.now())
        except schedule.InvalidMoment as error:
            raise ValidationError(error.fields["datetime"]) from None

    def first_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in ("app", "recipient", "sender_id")]

    def text_rows(self) -> list[forms.BoundField]:
        return [self["text"]]

    def last_rows(self) -> list[forms.BoundField]:
        return [self["send_at"]]

    @property
    def idempotency_key(self) -> str:
        """The key of this intent, in a corner of the keys that no program chooses by accident."""
        return f"console:{self.cleaned_data['once']}"


def line_breaks(typed: str) -> str:
    """Return a text as it is sent: browsers make two characters of a line break, and both would be charged."""
    return typed.replace("\r\n", "\n")


def _label(app: OrganizationApp) -> str:
    name = catalogue.app_name(app.slug)
    if not app.default_sender:
        return name
    return _("%(app)s, sender %(sender)s") % {"app": name, "sender": app.default_sender}
