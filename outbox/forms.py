"""The console's form for a file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from outbox.bulk import charset
from outbox.bulk.delimited import SEPARATORS
from outbox.bulk.models import Mode
from outbox.bulk.reading import Overrides
from sms_providers.forms import AppChoice
from sms_providers.models import OrganizationApp

_DETECT = ("", _lazy("Find out"))
SEPARATOR_NAMES = {"comma": _lazy("comma"), "semicolon": _lazy("semicolon"), "tab": _lazy("tab")}


class SendFileForm(forms.Form):
    """A file, through which app, and how to read it where we would guess."""

    app = AppChoice(OrganizationApp.objects.none(), label=_lazy("Through"), empty_label=None)
    file = forms.FileField(
        label=_lazy("File"),
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx"}),
    )
    mode = forms.ChoiceField(
        label=_lazy("If a row is wrong"), choices=Mode.choices, initial=Mode.VALID_ROWS, widget=forms.RadioSelect
    )
    encoding = forms.ChoiceField(
        label=_lazy("Encoding"), required=False, choices=[_DETECT, *((name, name) for name in charset.NAMES)]
    )
    separator = forms.ChoiceField(
        label=_lazy("Separator"),
        required=False,
        choices=[_DETECT, *((name, SEPARATOR_NAMES[name]) for name in SEPARATORS)],
    )
    sheet = forms.CharField(
        label=_lazy("Sheet"),
        required=False,
        max_length=100,
        help_text=_lazy("Of a workbook. Empty: the first that is not hidden."),
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off", "dir": "auto"}),
    )
    reading_names = ("encoding", "separator", "sheet")

    def __init__(self, *args: Any, apps: QuerySet[OrganizationApp], is_wide: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chooser = self.fields["app"]
        assert isinstance(chooser, AppChoice)
        chooser.queryset, chooser.is_wide = apps, is_wide
        file, most = self.fields["file"], f"{settings.BULK_MAX_BYTES / 1e6:g} MB"
        text = _(
            "CSV or Excel (.xlsx), up to %(size)s and %(rows)s rows. The first row names the columns: mobile and"
            " message, and sender and datetime if you use them."
        )
        file.help_text = text % {"size": most, "rows": f"{settings.BULK_MAX_ROWS:,}"}
        file.widget.attrs |= {
            "data-max-bytes": settings.BULK_MAX_BYTES,
            "data-too-large": _("The file is over %(size)s. Split it.") % {"size": most},
        }

    def rows_before_file(self) -> list[forms.BoundField]:
        return [self["app"]]

    def rows_after_file(self) -> list[forms.BoundField]:
        return [self["mode"]]

    def reading_rows(self) -> list[forms.BoundField]:
        return [self[name] for name in self.reading_names]

    @property
    def is_reading_set(self) -> bool:
        """Whether somebody needs to see how the file is read: it was said, or the file could not be."""
        return self.is_bound and bool(self.errors or any(self[name].value() for name in self.reading_names))

    @property
    def overrides(self) -> Overrides:
        return Overrides(**{name: self.cleaned_data[name] for name in self.reading_names})
