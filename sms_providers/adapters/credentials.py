"""What an operator enters when installing an app, and whether it can be right. No message repeats a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop

# A key or token as every provider makes them. A space or a line break inside came along with the copy.
KEY, KEY_HELP = "[!-~]+", noop("Latin letters, digits and signs, without spaces.")
# What a handset can show for a sender (3GPP TS 23.040, 9.1.2.5): a number, or a name of 11 characters.
SENDER_ID = r"\+?[0-9]{3,16}|[ -~]{1,11}"
SENDER_ID_HELP = noop("a number, or at most 11 Latin letters, digits and signs.")

_MAX_CREDENTIAL = 512


@dataclass(frozen=True)
class CredentialField:
    """One thing an operator enters when installing an app.

    Its words are English, marked with `gettext_noop`: they are translated where a page shows them.
    """

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
    wrong = {
        name: [_("%(app)s has no field '%(name)s'.") % {"app": app, "name": name[:40]}]
        for name in given
        if name not in known
    }
    cleaned: dict[str, str] = {}
    for field in fields:
        value = given.get(field.name)
        if value is None or value == "":
            if field.is_required:
                wrong[field.name] = [_("%(field)s is required.") % {"field": _(field.label)}]
        elif not isinstance(value, str):
            wrong[field.name] = [_("%(field)s must be text.") % {"field": _(field.label)}]
        elif problem := _problem(field, value):
            wrong[field.name] = [problem]
        else:
            cleaned[field.name] = value
    return cleaned, wrong


def _problem(field: CredentialField, value: str) -> str:
    label = _(field.label)
    if len(value) > _MAX_CREDENTIAL:
        return _("%(field)s is longer than %(count)s characters.") % {"field": label, "count": _MAX_CREDENTIAL}
    if value != value.strip() or not value.isprintable():
        text = _("%(field)s begins or ends with a space, or holds a line break or hidden character.")
        return text % {"field": label}
    if field.pattern and not re.fullmatch(field.pattern, value):
        text = _("%(field)s does not look right: %(looks)s")
        return text % {"field": label, "looks": _(field.pattern_help)}
    return ""
