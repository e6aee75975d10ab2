"""The catalogue of the console's translations: `python -m tests.translations` (`make messages`) brings it up to date.

Texts are found in the code and the templates, new ones are added to each language's `django.po` without a translation,
and what no page says any more is dropped. The `.mo` beside it is what Django reads: it is committed, so that nobody
needs a compiler of catalogues. `tests/linkit/test_translations.py` holds both to the code.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from tests import services

PACKAGES = ("linkit", "billing", "sms_providers", "outbox", "contacts")
LANGUAGES = ("ar",)
# By their own names and by those our modules give them.
_ONE = ("gettext", "gettext_lazy", "gettext_noop", "_lazy", "noop")
KEYWORDS = {**DEFAULT_KEYWORDS, **dict.fromkeys(_ONE), "ngettext_lazy": (1, 2), "pgettext_lazy": ((1, "c"), 2)}


def path_of(language: str) -> Path:
    return services.ROOT / "linkit" / "locale" / language / "LC_MESSAGES" / "django.po"


def sources() -> Iterator[tuple[str, bytes]]:
    """Return the files that may speak to people, with Python code that says what each template says."""
    for package in PACKAGES:
        for path in sorted((services.ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(services.ROOT)), path.read_bytes()
    for path in sorted((services.ROOT / "templates").rglob("*.html")):
        yield str(path.relative_to(services.ROOT)), templatize(path.read_text()).encode()


def found() -> Catalog:
    """Return every text that is marked for translation, with the files that say it."""
    catalogue = Catalog(charset="utf-8")
    for name, code in sources():
        for _, text, _, context in extract("python", io.BytesIO(code), keywords=KEYWORDS):
            catalogue.add(text, locations=[(name, 0)], context=context)
    return catalogue


def stored(language: str) -> Catalog:
    """Return the committed catalogue of a language. A new one begins as a header with the rule of its plurals."""
    with path_of(language).open("rb") as file:
        return read_po(file, locale=language)


def untranslated(catalogue: Catalog) -> list[str]:
    """Return the texts that lack a translation, or one of their plural forms."""
    forms = [(each.id, each.string if isinstance(each.string, tuple) else (each.string,)) for each in catalogue]
    return [str(text) for text, strings in forms if text and not all(strings)]


def compiled(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def bring_up_to_date(language: str) -> Catalog:
    """Write the catalogue of a language with the texts as they are now. Nothing is guessed from what is alike."""
    catalogue = stored(language)
    catalogue.update(found(), no_fuzzy_matching=True, update_creation_date=False)
    path = path_of(language)
    header, _, _ = path.read_text().partition("\n\n")
    texts = io.BytesIO()
    write_po(texts, catalogue, width=110, include_lineno=False, ignore_obsolete=True, omit_header=True)
    path.write_text(f"{header}\n\n{texts.getvalue().decode()}")
    path.with_suffix(".mo").write_bytes(compiled(stored(language)))
    return catalogue


if __name__ == "__main__":
    for each in LANGUAGES:
        updated = bring_up_to_date(each)
        missing = len(untranslated(updated))
        print(f"{path_of(each).name} of {each}: {len(updated)} texts, {missing} without a translation")  # noqa: T201
