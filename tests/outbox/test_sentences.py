"""What is kept of a file in English, shown in another language."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone
from django.utils.translation import override

from outbox import sentences
from outbox.bulk import delimited, reading, report
from outbox.bulk.columns import Columns
from outbox.bulk.report import rows_in_words
from outbox.bulk.rows import RowChecker
from sms_providers import catalogue
from sms_providers.reasons import REASONS

GAP = re.compile(r"%\((\w+)\)s")


@pytest.fixture
def translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every text of ours have a translation that tells it apart."""
    monkeypatch.setattr(sentences, "_", lambda text: f"«{text}»" if text in sentences._KNOWN else text)


def test_who_reads_english_gets_what_is_kept():
    with override("en"):
        assert sentences.in_words("Columns that are not used: “city”.") == "Columns that are not used: “city”."


@pytest.mark.parametrize("sentence", sentences._KNOWN)
def test_a_sentence_is_found_with_its_gaps(translated: None, sentence: str):
    values = {name: f"<{name}>" for name in GAP.findall(sentence)}
    with override("ar"):
        assert sentences.in_words(sentence % values) == f"«{sentence % values}»"


@pytest.mark.parametrize(
    ("typed", "text", "moment"),
    [
        ("0520957617", "Hello", ""),
        ("0501234567", "x" * 1601, ""),
        ("0501234567", "ش" * 800, ""),
        ("0501234567", "Hello", "2099-01-01 10:00"),
    ],
)
def test_what_other_packages_say_of_a_row_is_known(translated: None, typed: str, text: str, moment: str):
    """Their sentences are copied here: one that is changed there would be told by its reason alone."""
    checker = RowChecker(
        Columns(0, 1, None, 2, ()),
        region="SA",
        time_zone="Asia/Riyadh",
        now=timezone.now(),
        adapter=catalogue.find("sandbox-sms"),
    )
    errors = checker.check(2, [typed, text, moment])
    assert isinstance(errors, list)
    assert len(errors) == 1
    with override("ar"):
        assert sentences.in_words(errors[0].message) == f"«{errors[0].message}»"


def test_words_of_ours_in_a_gap_are_translated_and_those_of_the_file_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sentences, "_", lambda text: text.replace("comma", "فاصلة").replace("lost zero", "صفر"))
    with override("ar"):
        read = sentences.in_words(reading.READ_AS_CSV % {"encoding": "utf-8", "separator": "comma"})
        assert "separated by فاصلةs" in read
        assert "“comma”" in sentences.in_words(reading.NOT_USED % {"columns": "“comma”"}).replace("فاصلة", "comma")
        mended = report.MENDED % {"rows": rows_in_words(1200), "kinds": "lost zero: 1,200"}
        assert "(صفر: 1,200)" in sentences.in_words(mended)


@pytest.mark.parametrize(
    ("kept", "reason", "told"),
    [
        ("", "", ""),
        ("Something of long ago.", "malformed_row", sentences._MEANINGS["malformed_row"]),
        ("Something of long ago.", "insufficient_provider_balance", REASONS["insufficient_provider_balance"].text_ar),
        ("Something of long ago.", "of_a_site", "Something of long ago."),
    ],
)
def test_what_was_made_from_no_sentence_is_told_by_its_reason(kept: str, reason: str, told: str):
    with override("ar"):
        assert sentences.in_words(kept, reason) == str(told)


def test_a_sentence_of_a_row_is_not_taken_for_another():
    with override("ar"):
        kept = delimited.OPEN_QUOTE % {"row": 17}
        assert [text for text, pattern in sentences._patterns() if pattern.fullmatch(kept)] == [delimited.OPEN_QUOTE]
