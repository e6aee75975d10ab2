"""Days as people choose them, and the instants that they begin and end at in a time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy

from linkit.widgets import LocalDateInput


def begin(day: date, zone: tzinfo) -> datetime:
    """Return the first instant of a day, in UTC. Raises `ValueError` at the ends of the calendar."""
    try:
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def end(day: date, zone: tzinfo) -> datetime:
    """Return the first instant after a day, in UTC. Raises `ValueError` at the ends of the calendar."""
    try:
        return begin(day + timedelta(days=1), zone)
    except OverflowError as error:
        raise ValueError(str(error)) from None


class DaysForm(forms.Form):
    """From one day to another, both included, either of them open."""

    since = forms.DateField(label=_lazy("From"), required=False, widget=LocalDateInput)
    until = forms.DateField(label=_lazy("To"), required=False, widget=LocalDateInput)


class DayRangeFilter(admin.FieldListFilter):
    """Rows from one day to another, in the time zone of the page."""

    template = "linkit/day_range_filter.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _lazy("date")
        used: dict[str, Any] = dict(self.used_parameters)
        chosen = {name: values[-1] for name, values in used.items()}
        self.form = DaysForm(chosen or None)

    def expected_parameters(self) -> list[str | None]:
        return [*DaysForm.base_fields]

    def choices(self, changelist: Any) -> list[dict[str, Any]]:  # type: ignore[override]
        kept = {name: value for name, value in changelist.params.items() if name not in DaysForm.base_fields}
        return [{"form": self.form, "kept": kept, "clear": changelist.get_query_string(remove=[*DaysForm.base_fields])}]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.form.is_bound:
            return queryset
        if not self.form.is_valid():
            raise IncorrectLookupParameters
        since, until = self.form.cleaned_data["since"], self.form.cleaned_data["until"]
        zone, chosen = timezone.get_current_timezone(), Q()
        try:
            if since:
                chosen &= Q(**{f"{self.field_path}__gte": begin(since, zone)})
            if until:
                chosen &= Q(**{f"{self.field_path}__lt": end(until, zone)})
        except ValueError as error:
            raise IncorrectLookupParameters from error
        return queryset.filter(chosen)
