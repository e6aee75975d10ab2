"""Form widgets of the console."""

from typing import Any

from django import forms


class LocalDateTimeInput(forms.DateTimeInput):
    """The browser's own picker, which needs no script of ours."""

    input_type = "datetime-local"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%dT%H:%M")
