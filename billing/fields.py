"""Credits on the wire."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


@extend_schema_field({"type": "number", "example": 5.661})
class CreditsField(serializers.Field[Decimal, Any, Any, Any]):
    """Credits as a JSON number. Up to fourteen digits, which the shortest decimal of a float says exactly."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Decimal) -> int | float:
        return number(value)


def number(amount: Decimal) -> int | float:
    """Return an amount as what `json` writes with the same digits."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)
