"""What an operator enters when installing an app, and whether it can be right. No message repeats a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A key or token as every provider makes them. A space or a line break inside came along with the copy.
KEY, KEY_HELP = "[!-~]+", "Latin letters, digits and signs, without spaces."
# What a handset can show for a sender (3GPP TS 23.040, 9.1.2.5): a number, or a name of 11 characters.
SENDER_ID, SENDER_ID_HELP = r"\+?[0-9]{3,16}|[ -~]{1,11}", "a number, or at most 11 Latin letters, digits and signs."

_MAX_CREDENTIAL = 512


@dataclass(frozen=True)
class CredentialField:
    """One thing an operator enters when installing an app."""

    name: str
    label: str
    is_secret: bool = False
    is_required: bool = True
    help: str = ""
    pattern: str = ""  # a regular expression for the whole value
    pattern_help: str = ""  # what the value looks like, said when the pattern does not match
    example: str = ""  # an invented value that fits; without one in every required field no test can run the adapter


def secret_key(
    name: str, label: str, *, help: str = "", is_required: bool = True, example: str = ""
) -> CredentialField:
    """Return the field of a key or token."""
    return CredentialField(name, label, True, is_required, help, KEY, KEY_HELP, example)


def clean(
    fields: Sequence[CredentialField], given: Mapping[str, Any], *, app: str
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the credentials to store and what is wrong with each field alone, by field name. `app` is its name."""
    known = {field.name for field in fields}
    wrong = {name: [f"{app} has no field '{name[:40]}'."] for name in given if name not in known}
    cleaned: dict[str, str] = {}
    for field in fields:
        value = given.get(field.name)
        if value is None or value == "":
            if field.is_required:
                wrong[field.name] = [f"{field.label} is required."]
        elif not isinstance(value, str):
            wrong[field.name] = [f"{field.label} must be text."]
        elif problem := _problem(field, value):
            wrong[field.name] = [problem]
        else:
            cleaned[field.name] = value
    return cleaned, wrong


def _problem(field: CredentialField, value: str) -> str:
    if len(value) > _MAX_CREDENTIAL:
        return f"{field.label} is longer than {_MAX_CREDENTIAL} characters."
    if value != value.strip() or not value.isprintable():
        return f"{field.label} begins or ends with a space, or holds a line break or hidden character."
    if field.pattern and not re.fullmatch(field.pattern, value):
        return f"{field.label} does not look right: {field.pattern_help}"
    return ""
