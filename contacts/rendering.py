"""Templates of messages: `{{ $contact.firstName }}` becomes the value of one contact.

Our own, and small on purpose: a template names values and does nothing else, so it reaches nothing but the values it
is given, and reading it takes time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from django.utils.translation import gettext as _

from contacts.models import Contact

#: The fields of a contact by the name that a template says, each with the attribute of the model. A template may also
#: say `customAttributes.<slug>`.
PLACEHOLDERS = {
    "phone": "primary_phone",
    "firstName": "first_name",
    "lastName": "last_name",
    "fullName": "shown_name",
    "email": "primary_email",
    "address": "address",
    "city": "city",
    "state": "state",
    "zip": "zip",
    "occupation": "occupation",
    "gender": "gender",
    "preferredChannel": "preferred_channel",
}
CUSTOM = "customAttributes."

_OPEN, _CLOSE = "{{", "}}"
_SHOWN = 40  # characters of a placeholder that we cannot name
# What stands inside the braces. A slug is as long as the name of an attribute may be, in any script.
_PATH = re.compile(r"\$contact\.((?:customAttributes\.)?[^\s.{}]{1,64})")


@dataclass(frozen=True)
class Rendered:
    """A text, and what had no value: the empty string stands for it."""

    text: str
    missing: tuple[str, ...]


class _Piece(NamedTuple):
    """Some text and the placeholder after it; one that no value can fill is only shown."""

    text: str
    name: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A template that has been read: render it for as many contacts as there are."""

    names: tuple[str, ...]  # of the values it asks for, each once
    _pieces: tuple[_Piece, ...]
    _tail: str

    def render(self, values: Mapping[str, object]) -> Rendered:
        """Put `values` in, by what follows `$contact.`; name what is missing, each once, in order.

        A value is never looked at again: braces in it come out as they are.
        """
        parts: list[str] = []
        missing: dict[str, None] = {}
        for text, name, is_known in self._pieces:
            parts.append(text)
            value = values.get(name) if is_known else None
            if value is None:
                missing[name] = None
            else:
                parts.append(_plain(value))
        parts.append(self._tail)
        return Rendered("".join(parts), tuple(missing))


def render(template: str, values: Mapping[str, object]) -> Rendered:
    """Render a template once; see `Template.render`."""
    return compile_template(template).render(values)


def compile_template(template: str) -> Template:
    """Read a template. Any text is one: a `{{` that makes no placeholder is always missing.

    Such a `{{` ends at its `}}` when that comes before the next `{{`; else it is the two braces alone, and what follows
    is text.
    """
    pieces = []
    start, opened = 0, template.find(_OPEN)
    while opened >= 0:
        inside = opened + len(_OPEN)
        following = template.find(_OPEN, inside)
        # Not past the next one: else a row of braces would search the same rest over and over.
        end = following if following >= 0 else len(template)
        closed = template.find(_CLOSE, inside, end)
        name, is_known = _read(template[inside : closed if closed >= 0 else end], is_closed=closed >= 0)
        pieces.append(_Piece(template[start:opened], name, is_known))
        start, opened = closed + len(_CLOSE) if closed >= 0 else inside, following
    names = dict.fromkeys(piece.name for piece in pieces if piece.is_known)
    return Template(tuple(names), tuple(pieces), template[start:])


def values_of(contact: Contact, attributes: Mapping[str, str]) -> dict[str, object]:
    """Return what a template can say of `contact`; an empty field is None.

    `attributes` has the slug of each live attribute by its id: values of deleted ones stay out. An empty text in an
    attribute is a value.
    """
    values: dict[str, object] = {name: getattr(contact, field) or None for name, field in PLACEHOLDERS.items()}
    stored = contact.attribute_values
    values.update({CUSTOM + slug: stored.get(attribute_id) for attribute_id, slug in attributes.items()})
    return values


def missing_sentence(missing: Iterable[str]) -> str:
    """Tell a caller who wants every value which ones are missing."""
    said = _("The message uses what this contact does not have: %(names)s. Nothing was sent or charged.")
    return said % {"names": ", ".join(missing)}


def _read(inside: str, *, is_closed: bool) -> tuple[str, bool]:
    """Return the name of what follows a `{{`, and whether a contact can have it."""
    path = _PATH.fullmatch(inside.strip()) if is_closed else None
    if path is not None:
        return path[1], path[1] in PLACEHOLDERS or path[1].startswith(CUSTOM)
    # Shown in its braces: `{{ firstName }}` must not look like the name of a value that the contact has.
    shown = " ".join([_OPEN, *inside.split(), *([_CLOSE] if is_closed else [])])
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…", False


def _plain(value: object) -> str:
    """Write a value as it reads in a message."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # By its shortest digits: Decimal(0.1) would have 55 of them. A negative zero is 0.
        return format(Decimal(repr(value or 0.0)), "f").removesuffix(".0")
    return format(value, "f") if isinstance(value, Decimal) else str(value)
