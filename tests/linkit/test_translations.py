"""Every text of the console has a translation, with the same gaps, and what Django reads is what is written down."""

from __future__ import annotations

import gettext
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from django.utils import translation

from tests import services, translations

TEMPLATES = sorted((services.ROOT / "templates").rglob("*.html"))
_GAP = re.compile(r"%\(\w+\)[sd]|(?<!%)%[sd]|\{\w*\}")
# Words that are the same in every language.
_NAMES = {"Linkit SMS", "curl"}

every_language = pytest.mark.parametrize("language", translations.LANGUAGES)


@every_language
def test_every_text_is_translated(language: str):
    wanted = {(message.id, message.context) for message in translations.found() if message.id}
    catalogue = translations.stored(language)
    known = {(message.id, message.context) for message in catalogue if message.id}
    assert not wanted - known, "run `make messages` and translate"
    assert not known - wanted, "no page says this any more: run `make messages`"
    assert translations.untranslated(catalogue) == []


@every_language
def test_a_translation_has_the_gaps_of_its_text(language: str):
    for message in translations.stored(language):
        if message.id:
            _check_gaps(message)


def _check_gaps(message: Message) -> None:
    if isinstance(message.id, str):
        assert sorted(_GAP.findall(str(message.string))) == sorted(_GAP.findall(message.id)), message.id
        return
    # One and two are words of their own in Arabic, which need no figure; the last form is the general one.
    *special, general = _forms(message)
    wanted = set(_GAP.findall(message.id[1]))
    assert set(_GAP.findall(general)) == wanted, message.id
    for form in special:
        assert set(_GAP.findall(form)) <= wanted, message.id


@every_language
def test_what_django_reads_is_what_is_written_down(language: str):
    with translations.path_of(language).with_suffix(".mo").open("rb") as file:
        read = gettext.GNUTranslations(file)
    for message in translations.stored(language):
        if not message.id:
            continue
        one = message.id if isinstance(message.id, str) else message.id[0]
        if isinstance(message.id, str):
            known = read.pgettext(message.context, one) if message.context else read.gettext(one)
            assert known == message.string, "run `make messages`"
        else:
            forms = [read.ngettext(one, message.id[1], number) for number in (0, 1, 2, 3, 11, 100)]
            assert forms == _forms(message), "run `make messages`"


def _forms(message: Message) -> list[str]:
    assert isinstance(message.string, tuple)
    return list(message.string)


@every_language
def test_our_words_come_before_those_of_django(language: str):
    with translation.override(language):
        for message in translations.stored(language):
            if message.id and isinstance(message.id, str) and not message.context:
                assert translation.gettext(message.id) == message.string


class _Words(HTMLParser):
    """Collects the words that a template says outside of any tag."""

    spoken = ("alt", "title", "aria-label", "placeholder")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [given[name] or "" for name in self.spoken if name in given]
        if tag == "input" and given.get("type") in ("submit", "button", "reset"):
            self.found.append(given.get("value") or "")

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(services.ROOT / "templates")))
def test_a_template_says_nothing_that_is_not_marked(path: Path):
    source = re.sub(r"{#.*?#}|{% comment.*?endcomment %}", "", path.read_text(), flags=re.DOTALL)
    source = re.sub(r"{%\s*blocktrans.*?endblocktrans\w*\s*%}", "", source, flags=re.DOTALL)
    source = re.sub(r"{%\s*block (bodyclass|coltype).*?endblock", "", source, flags=re.DOTALL)
    source = re.sub(r"<pre\b.*?</pre>", "", source, flags=re.DOTALL)
    words = _Words()
    # A tag of the template becomes a space, so that it can stand anywhere, also inside one of HTML.
    words.feed(re.sub(r"{%.*?%}|{{.*?}}", " ", source, flags=re.DOTALL))
    said = [text.strip() for text in words.found if re.search(r"[A-Za-z]{2}", text)]
    assert [text for text in said if text not in _NAMES] == []
