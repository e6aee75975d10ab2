"""Which column of a sheet of contacts is which, by the names in its first row: in English, Arabic or the API's."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from contacts.models import CustomAttribute
from outbox.bulk.columns import NAMES, listed
from outbox.bulk.unreadable import UnreadableFile

PHONE = "phone"
PREFIX = "customAttributes."  # for an attribute that has the name of a field

# The fields of a contact by the name of their column in an export. Each is also known by the API's name, and by what
# else people write; spelling is as in `_simplified`.
FIELDS = {
    PHONE: "primary_phone",
    "first_name": "first_name",
    "last_name": "last_name",
    "full_name": "full_name",
    "email": "primary_email",
    "address": "address",
    "city": "city",
    "state": "state",
    "zip": "zip",
    "occupation": "occupation",
    "gender": "gender",
    "preferred_channel": "preferred_channel",
    "channels": "channels",
}
_OTHER_NAMES: dict[str, Iterable[str]] = {
    PHONE: NAMES["mobile"],
    "first_name": ("given name", "forename", "الاسم الأول", "الاسم الاول"),
    "last_name": ("family name", "surname", "اسم العائلة", "الاسم الأخير", "اللقب", "العائلة"),
    "full_name": ("name", "contact name", "customer name", "الاسم", "الاسم الكامل", "اسم العميل"),
    "email": ("email address", "mail", "البريد", "البريد الإلكتروني", "الإيميل", "ايميل"),
    "address": ("street", "street address", "العنوان"),
    "city": ("town", "المدينة"),
    "state": ("province", "region", "المنطقة", "المحافظة", "الولاية"),
    "zip": ("zip code", "postcode", "postal code", "الرمز البريدي"),
    "occupation": ("job", "job title", "profession", "المهنة", "الوظيفة"),
    "gender": ("sex", "الجنس"),
    "preferred_channel": ("القناة المفضلة",),
    "channels": ("القنوات",),
}
_LETTERS = str.maketrans("أإآٱةى", "ااااهي")  # people leave hamza and dots out, or put them in
_LONGEST_NAME = 100


def _simplified(name: str) -> str:
    """Return a name by which its usual spellings are equal: letters and digits only, so `firstName` is `First name`."""
    text = unicodedata.normalize("NFKC", name).casefold().translate(_LETTERS)
    return "".join(character for character in text if unicodedata.category(character) in {"Ll", "Lo", "Nd"})


_OWN = {_simplified(name): column for column, field in FIELDS.items() for name in (column, field)}
_OTHERS = {_simplified(name): column for column, names in _OTHER_NAMES.items() for name in names}


@dataclass(frozen=True)
class Found:
    """The columns of one sheet: by place, the key of each that is used; and the names of those that are not."""

    keys: dict[int, str]
    unknown: tuple[str, ...]


class Columns:
    """What an organization's sheets can have: the fields of a contact, and its own attributes.

    The key of a field is its name in an export, that of an attribute its slug; behind `PREFIX` if a field has that
    name too. A field's own name wins over an attribute, and an attribute over the other names of a field.
    """

    def __init__(self, attributes: Iterable[CustomAttribute]) -> None:
        self.attributes = {self._key(attribute): attribute for attribute in attributes}
        self._by_slug = {attribute.name: key for key, attribute in self.attributes.items()}
        self._by_spelling: dict[str, str | None] = {}
        for key, attribute in self.attributes.items():
            for name in {_simplified(attribute.name), _simplified(attribute.display_name)}:
                # What fits two attributes names neither.
                self._by_spelling[name] = None if name in self._by_spelling else key

    @property
    def keys(self) -> list[str]:
        """All of them, in the order of an export."""
        return [*FIELDS, *self.attributes]

    def find(self, header: Sequence[str]) -> Found:
        """Return which columns a first row names. Raises `UnreadableFile` without a phone, and for a column twice."""
        places: dict[str, int] = {}
        unknown = []
        for place, name in enumerate(header):
            key = self.key(name)
            if key is None:
                unknown.append(name)
            elif key in places:
                raise UnreadableFile(
                    _(
                        "Two columns hold the same, %(column)s: %(names)s. Nothing was imported. Keep one of them, or "
                        "rename the other."
                    )
                    % {"column": key, "names": listed([header[places[key]], name])},
                    reason="column_twice",
                )
            else:
                places[key] = place
        if PHONE not in places:
            raise UnreadableFile(
                _(
                    "The first row has %(names)s: no column is named %(phone)s. Nothing was imported. Name the columns "
                    "in the first row: %(phone)s, and others such as first_name."
                )
                % {"names": listed(header), "phone": PHONE},
                reason="no_header",
            )
        return Found({place: key for key, place in places.items()}, tuple(name for name in unknown if name.strip()))

    def key(self, name: str) -> str | None:
        """Return the key of a column that is named so, None if there is no such column."""
        name = name.strip()
        if len(name) > _LONGEST_NAME:
            return None
        if name[: len(PREFIX)].casefold() == PREFIX.casefold():
            return self._attribute(name[len(PREFIX) :])
        simplified = _simplified(name)
        return _OWN.get(simplified) or self._attribute(name) or _OTHERS.get(simplified)

    def _attribute(self, name: str) -> str | None:
        return self._by_slug.get(name) or self._by_slug.get(name.casefold()) or self._by_spelling.get(_simplified(name))

    @staticmethod
    def _key(attribute: CustomAttribute) -> str:
        return f"{PREFIX}{attribute.name}" if _simplified(attribute.name) in _OWN else attribute.name


def recognized(header: Sequence[str]) -> int:
    """Return how many fields of a contact these cells name, whoever's attributes there are."""
    simplified = [_simplified(name) for name in header if len(name) <= _LONGEST_NAME]
    return len({_OWN.get(name) or _OTHERS.get(name) for name in simplified} - {None})
