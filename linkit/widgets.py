"""Form widgets and choices of the console."""

from functools import cache
from typing import Any

import phonenumbers
from django import forms


class LocalDateTimeInput(forms.DateTimeInput):
    """The browser's own picker, which needs no script of ours."""

    input_type = "datetime-local"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%dT%H:%M")


class LocalDateInput(forms.DateInput):
    """The browser's own picker of a day."""

    input_type = "date"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%d")


class AmountInput(forms.TextInput):
    """A decimal number as it is typed: a picker of numbers would drop what it does not understand."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"inputmode": "decimal", "dir": "ltr", "autocomplete": "off", **(attrs or {})})


def plain_choice(field: Any) -> Any:
    """Return the field without the links that add and change its choices in windows of their own."""
    for link in ("can_add_related", "can_change_related", "can_delete_related", "can_view_related"):
        if hasattr(field.widget, link):
            setattr(field.widget, link, False)
    return field


@cache
def regions() -> list[tuple[str, str]]:
    """Return the countries that have a numbering plan, as choices."""
    return [
        (region, f"{region} (+{phonenumbers.country_code_for_region(region)})")
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    ]
