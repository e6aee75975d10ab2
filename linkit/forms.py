"""What forms of the console share."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from linkit.models import Organization


class OnceForm(forms.Form):
    """A form whose `once` names one intent, so that sending it twice does one thing."""

    once = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["once"].initial = uuid.uuid4

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "once" in self.errors:
            del self.errors["once"]  # nobody types it, so nobody could correct it
            self.renew()
            self.add_error(None, _("The form came incomplete. Look it over and send it again."))
        return cleaned

    def renew(self) -> None:
        """Make the next sending of this form another intent, with its input kept."""
        self.data = {**self.data.dict(), "once": str(uuid.uuid4())} if isinstance(self.data, QueryDict) else self.data


class OrganizationsForm(forms.Form):
    """A form that is for one of several organizations; the choice is not shown to somebody who has only one."""

    organization = forms.ModelChoiceField(Organization.objects.none(), label=_lazy("Organization"), empty_label=None)

    def __init__(self, *args: Any, organizations: QuerySet[Organization], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chooser = self.fields["organization"]
        assert isinstance(chooser, forms.ModelChoiceField)
        chooser.queryset = organizations
        if len(only := list(organizations[:2])) == 1:
            chooser.initial, chooser.widget = only[0], forms.HiddenInput()
