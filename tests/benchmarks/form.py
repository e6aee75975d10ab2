"""The form that the mora-sms adapter posts, for those that post it without the product."""

from __future__ import annotations

TEXT = "Dear customer, your order {} is on its way. Thank you for shopping at Acme!"
SENDER = "MyBrand"


def form(place: int) -> dict[str, str]:
    """Return the fields of the message to the number of this place."""
    return {
        "api_key": "test-key",
        "username": "966500000000",
        "message": TEXT.format(place),
        "sender": SENDER,
        "numbers": f"9665{place:08d}",
        "return": "json",
    }
