"""The console's forms about credits: a movement, an account's thresholds, a rate."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from billing.models import DIGITS, MAX_AMOUNT, PLACES, Rate
from linkit import clock
from linkit.errors import InvalidInput, LinkitError
from linkit.forms import OnceForm
from linkit.models import Organization
from linkit.spreadsheet import exact
from linkit.widgets import AmountInput, LocalDateInput, plain_choice

_LEAST_FIELDS = 6  # for thresholds


class MoveForm(OnceForm):
    """Credits that come or go. `once` becomes the ledger's reference."""

    amount = forms.DecimalField(label=_lazy("Amount"), max_digits=DIGITS, decimal_places=PLACES, widget=AmountInput)
    description = forms.CharField(
        label=_lazy("Reason"), max_length=200, widget=forms.TextInput(attrs={"class": "vTextField"})
    )

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if abs(amount) > MAX_AMOUNT:
            raise ValidationError(_("At most %(most)s credits at once.") % {"most": f"{MAX_AMOUNT:,.0f}"})
        return amount

    def refuse(self, problem: LinkitError) -> None:
        """Show why the ledger said no, beside the field when it names one. The next sending is another intent."""
        names = [name for name in problem.fields if name in self.fields] if isinstance(problem, InvalidInput) else []
        self.renew()
        self.add_error(names[0] if names else None, problem.message)


class TopUpForm(MoveForm):
    """Credits for an organization, which gets an account by its first top-up."""

    organization = forms.ModelChoiceField(
        Organization.objects.all(), label=_lazy("Organization"), empty_label=_lazy("Choose one")
    )
    field_order = ["organization"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["description"].help_text = _("Shown in the ledger, such as the number of an invoice.")

    def clean_amount(self) -> Decimal:
        amount = super().clean_amount()
        if amount <= 0:
            raise ValidationError(_("A top-up is above zero. To take credits away, adjust the balance."))
        return amount


class AdjustForm(MoveForm):
    """A correction of a balance, up or down, with its reason."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].help_text = _("With a minus to take credits away, such as -12.5.")
        self.fields["description"].help_text = _("Why. Shown in the ledger.")

    def clean_amount(self) -> Decimal:
        amount = super().clean_amount()
        if not amount:
            raise ValidationError(_("An adjustment of nothing changes nothing."))
        return amount


class ThresholdsForm(forms.Form):
    """All thresholds of an account: an empty field is none."""

    def __init__(self, *args: Any, thresholds: Sequence[Decimal], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in range(max(_LEAST_FIELDS, len(thresholds))):
            self.fields[f"threshold_{number}"] = forms.DecimalField(
                label=_("Threshold %(number)s") % {"number": number + 1},
                required=False,
                min_value=Decimal(0),
                max_value=MAX_AMOUNT,
                decimal_places=PLACES,
                initial=exact(thresholds[number]) if number < len(thresholds) else "",
                widget=AmountInput(attrs={"size": 10}),
            )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        seen: set[Decimal] = set()
        for name, threshold in list(cleaned.items()):
            if threshold in seen:
                self.add_error(name, _("Twice the same."))
            elif threshold is not None:
                seen.add(threshold)
        return cleaned

    def thresholds(self) -> list[Decimal]:
        return [threshold for threshold in self.cleaned_data.values() if threshold is not None]


class RateForm(forms.ModelForm):
    """A rate. One that has been in force for a day can only be ended."""

    class Meta:
        model = Rate
        fields = ["organization", "prefix", "price", "valid_from", "valid_until", "note"]
        widgets = {"price": AmountInput, "valid_from": LocalDateInput, "valid_until": LocalDateInput}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (chooser := self.fields.get("organization")) is not None:
            assert isinstance(chooser, forms.ModelChoiceField)
            plain_choice(chooser).empty_label = _("Everybody")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        today, known = clock.now().date(), self.instance
        passed = _("That day has passed: what was charged stays. Choose today (UTC) or later.")
        first = cleaned.get("valid_from", known.valid_from)
        if "valid_from" in self.changed_data and first and first < today:
            self.add_error("valid_from", passed)
        if "valid_until" in self.changed_data and (last := cleaned.get("valid_until")):
            if last < today:
                self.add_error("valid_until", passed)
            elif first and last < first:
                self.add_error("valid_until", _("It ends before it begins."))
        self._refuse_a_second(cleaned)
        return cleaned

    def _refuse_a_second(self, cleaned: dict[str, Any]) -> None:
        """Say beside the field what the database would say by an error."""
        names = ("organization", "prefix", "valid_from")
        if not all(name in cleaned for name in names):
            return  # it is not there to be changed, or wrong already
        same = Rate.objects.filter(**{name: cleaned[name] for name in names}).exclude(pk=self.instance.pk)
        if same.exists():
            self.add_error("valid_from", _("There is a rate for this prefix that begins on this day already."))
