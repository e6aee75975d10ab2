"""Encodings and segments, against two published calculators; segment_vectors.mjs says how their answers were had."""

import json
from pathlib import Path

import pytest

from linkit.encoding import GSM7_SEGMENT, GSM7_SINGLE, UCS2_SEGMENT, UCS2_SINGLE, Encoding, detect, segments

RECORDED = json.loads(Path(__file__).with_name("segment_vectors.json").read_text(encoding="utf-8"))


def units(text: str, encoding: str) -> int:
    """Return how long a text of the vectors is, in septets or 16-bit units."""
    if encoding == Encoding.UCS2:
        return len(text.encode("utf-16-be")) // 2
    return sum(2 if character in RECORDED["alphabet"][Encoding.GSM7_EXTENDED] else 1 for character in text)


def test_the_alphabet_is_theirs():
    ours: dict[Encoding, str] = dict.fromkeys(Encoding, "")
    for character in map(chr, range(0x10000)):
        ours[detect(character)] += character
    assert {name: ours[Encoding(name)] for name in RECORDED["alphabet"]} == RECORDED["alphabet"]


def test_every_text_has_the_segments_that_both_calculators_say():
    different = [
        (text, encoding, count, ours)
        for text, encoding, count in RECORDED["vectors"]
        if (ours := segments(text)) and (ours.encoding, ours.count) != (encoding, count)
    ]
    assert different == []


def test_where_they_disagree_ours_is_the_one_by_the_standard():
    """The recorded reason says why: the first calculator keeps more together than the standard asks for."""
    assert RECORDED["disagreements"]
    for text, encoding, first, second in RECORDED["disagreements"]:
        assert (segments(text).encoding, segments(text).count) == (encoding, second)
        assert first > second


@pytest.mark.parametrize(
    ("encoding", "lone", "segment"),
    [
        (Encoding.GSM7, GSM7_SINGLE, GSM7_SEGMENT),
        (Encoding.GSM7_EXTENDED, GSM7_SINGLE, GSM7_SEGMENT),
        (Encoding.UCS2, UCS2_SINGLE, UCS2_SEGMENT),
    ],
)
def test_the_vectors_stand_on_both_sides_of_each_border(encoding: Encoding, lone: int, segment: int):
    counts = {units(text, name): count for text, name, count in RECORDED["vectors"] if name == encoding}
    for border in (lone, 2 * segment, 3 * segment):
        assert any(border - 3 <= length <= border for length in counts)
        assert any(border < length <= border + 3 for length in counts)


@pytest.mark.parametrize(
    ("encoding", "lone", "segment"),
    [(Encoding.GSM7_EXTENDED, GSM7_SINGLE, GSM7_SEGMENT), (Encoding.UCS2, UCS2_SINGLE, UCS2_SEGMENT)],
)
def test_some_vectors_have_a_pair_where_a_segment_ends(encoding: Encoding, lone: int, segment: int):
    """A plain division of the length would count these one too few."""
    moved = [
        text
        for text, name, count in RECORDED["vectors"]
        if name == encoding and units(text, name) > lone and count > -(-units(text, name) // segment)
    ]
    assert len(moved) >= 10
