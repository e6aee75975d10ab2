"""Encodings and segments, against an independent reading of 3GPP TS 23.038 and 23.040."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkit.encoding import Encoding, Segments, detect, outside_gsm7, segments

ESCAPE = "\x1b"

# The default alphabet by position, 0x00 to 0x7F. 0x1B is the escape to the extension table and no character.
ALPHABET = [
    *"@£$¥èéùìòÇ\nØø\rÅå",
    *"Δ_ΦΓΛΩΠΨΣΘΞ", None, *"ÆæßÉ",
    *" !\"#¤%&'()*+,-./",
    *"0123456789:;<=>?",
    *"¡ABCDEFGHIJKLMNO",
    *"PQRSTUVWXYZÄÖÑÜ§",
    *"¿abcdefghijklmno",
    *"pqrstuvwxyzäöñüà",
]  # fmt: skip
EXTENSION = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|"}
EXTENSION[0x65] = "€"
BASIC = [character for character in ALPHABET if character is not None]


def septets(text: str) -> str | None:
    """Return `text` as septets, an escape before each extended character; None when GSM-7 cannot hold it."""
    found = []
    for character in text:
        if character in BASIC:
            found.append(character)
        elif character in EXTENSION.values():
            found.append(ESCAPE + character)
        else:
            return None
    return "".join(found)


def cut(text: str) -> list[str]:
    """Return the segments of `text` as they travel: septets, or UTF-16 as Latin-1 text of two characters a unit."""
    narrow = septets(text)
    if narrow is not None:
        units, size, lone, segment = narrow, 1, 160, 153
    else:
        units, size, lone, segment = text.encode("utf-16-be").decode("latin-1"), 2, 70, 67
    if len(units) <= lone * size:
        return [units]
    pieces = []
    while units:
        end = segment * size
        if narrow is not None:
            is_torn = len(units) > end and units[end - 1] == ESCAPE
        else:
            is_torn = len(units) > end and 0xD8 <= ord(units[end - 2]) <= 0xDB
        end -= size if is_torn else 0
        pieces.append(units[:end])
        units = units[end:]
    return pieces


def naive(text: str) -> Segments:
    """Return what `segments` does, character by character."""
    if septets(text) is None:
        units, lone, segment = [2 if character > "\uffff" else 1 for character in text], 70, 67
    else:
        units, lone, segment = [1 if character in BASIC else 2 for character in text], 160, 153
    count, used = 1, 0
    for unit in units if sum(units) > lone else []:
        if used + unit > segment:
            count, used = count + 1, 0
        used += unit
    return Segments(detect(text), count)


@st.composite
def _near_a_border(draw: st.DrawFn) -> str:
    """Return a text with characters of one unit and two where segments end."""
    single, double, segment = draw(st.sampled_from([("a", "€", 153), ("م", "😀", 67), ("\ud83d", "\U0010ffff", 67)]))
    pieces = []
    for _ in range(draw(st.integers(0, 3))):
        pieces.append(single * (segment - draw(st.integers(0, 4))))
        pieces.extend(draw(st.lists(st.sampled_from([single, double]), max_size=4)))
    return "".join(pieces) + single * draw(st.integers(0, segment))


TEXTS = st.one_of(
    st.text(alphabet=st.sampled_from(BASIC), max_size=500),
    st.text(alphabet=st.sampled_from([*BASIC, *EXTENSION.values(), "€", "€", "["]), max_size=500),
    st.text(alphabet=st.sampled_from(["م", "ر", "😀", "👍", "a", "\u200d", "\u00a0"]), max_size=250),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200),
)


def test_the_table_of_this_test_is_complete():
    assert len(ALPHABET) == 128
    assert len(set(BASIC)) == 127
    assert len(set(EXTENSION.values())) == 10


@pytest.mark.parametrize("character", BASIC, ids=lambda character: f"U+{ord(character):04X}")
def test_a_character_of_the_default_alphabet_takes_one_septet(character: str):
    assert segments(character) == Segments(Encoding.GSM7, 1)
    assert segments(character * 160) == Segments(Encoding.GSM7, 1)
    assert segments(character * 161) == Segments(Encoding.GSM7, 2)


@pytest.mark.parametrize("character", EXTENSION.values(), ids=lambda character: f"U+{ord(character):04X}")
def test_a_character_of_the_extension_takes_two_septets(character: str):
    assert segments(character) == Segments(Encoding.GSM7_EXTENDED, 1)
    assert segments(character * 80) == Segments(Encoding.GSM7_EXTENDED, 1)
    assert segments(character * 81) == Segments(Encoding.GSM7_EXTENDED, 2)
    assert segments("a" * 159 + character).count == 2


@pytest.mark.parametrize(
    "text",
    [
        "مرحبا",
        "ç",  # the small one is not in the alphabet, the capital is
        "á",
        "`",
        "\t",
        "\x1b",
        "\u00a0",  # no-break space
        "’",
        "“",
        "–",
        "…",
        "\u200f",
        "😀",
        "Α",  # Greek capital alpha, which looks like A
        "Ω\u0301",
        "ё",
        "\x00",
    ],
    ids=ascii,
)
def test_any_other_character_makes_it_ucs2(text: str):
    assert detect(text) is Encoding.UCS2
    assert detect("plain text " + text) is Encoding.UCS2
    assert detect("[€] " + text) is Encoding.UCS2


def test_a_no_break_space_makes_three_segments_of_one():
    assert segments("a" * 160) == Segments(Encoding.GSM7, 1)
    assert segments("a" * 80 + "\u00a0" + "a" * 79) == Segments(Encoding.UCS2, 3)


def test_the_empty_text_is_one_segment():
    assert segments("") == Segments(Encoding.GSM7, 1)


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (160, 1), (161, 2), (306, 2), (307, 3), (459, 3), (460, 4), (1530, 10), (1531, 11)]
)
def test_gsm7_boundaries(length: int, count: int):
    assert segments("a" * length) == Segments(Encoding.GSM7, count)


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4), (670, 10), (671, 11)]
)
def test_ucs2_boundaries(length: int, count: int):
    assert segments("م" * length) == Segments(Encoding.UCS2, count)


def test_an_escape_sequence_is_never_split():
    # The euro would begin at septet 153 of the first segment, so it moves to the second, which then overflows.
    assert segments("a" * 152 + "€" + "a" * 151) == Segments(Encoding.GSM7_EXTENDED, 2)
    assert segments("a" * 152 + "€" + "a" * 152) == Segments(Encoding.GSM7_EXTENDED, 3)
    assert segments("a" * 151 + "€" + "a" * 153) == Segments(Encoding.GSM7_EXTENDED, 2)
    # 76 pairs and a septet to spare in every segment.
    assert segments("€" * 152).count == 2
    assert segments("€" * 153).count == 3


def test_a_surrogate_pair_is_never_split():
    assert segments("م" * 66 + "😀" + "م" * 65) == Segments(Encoding.UCS2, 2)
    assert segments("م" * 66 + "😀" + "م" * 66) == Segments(Encoding.UCS2, 3)
    assert segments("😀" * 35) == Segments(Encoding.UCS2, 1)
    assert segments("😀" * 36) == Segments(Encoding.UCS2, 2)
    assert segments("😀" * 66) == Segments(Encoding.UCS2, 2)
    assert segments("😀" * 67) == Segments(Encoding.UCS2, 3)


@given(TEXTS)
def test_the_count_is_that_of_the_reference(text: str):
    assert segments(text).count == len(cut(text))


@given(st.one_of(TEXTS, _near_a_border(), st.text(alphabet=st.sampled_from("a\ud83d\ude00😀\0\x1b"), max_size=250)))
def test_counting_by_arithmetic_is_counting_one_by_one(text: str):
    assert segments(text) == naive(text)


@given(TEXTS)
def test_what_is_outside_gsm7_is_what_makes_it_ucs2(text: str):
    found = list(outside_gsm7(text))
    assert bool(found) is (detect(text) is Encoding.UCS2)
    assert found == [(index, character) for index, character in enumerate(text) if septets(character) is None]


def test_where_a_text_leaves_gsm7():
    assert list(outside_gsm7("[plain] text, 5 €")) == []
    assert list(outside_gsm7("It’s 😀\u00a0!")) == [(2, "’"), (5, "😀"), (6, "\u00a0")]


@given(TEXTS)
def test_the_encoding_is_that_of_the_reference(text: str):
    narrow = septets(text)
    if narrow is None:
        assert detect(text) is Encoding.UCS2
    else:
        assert detect(text) is (Encoding.GSM7_EXTENDED if ESCAPE in narrow else Encoding.GSM7)


@given(TEXTS)
def test_no_segment_holds_half_a_character(text: str):
    pieces = cut(text)
    for piece in pieces:
        if septets(text) is None:
            assert len(pieces) == 1 or len(piece) <= 67 * 2
            piece.encode("latin-1").decode("utf-16-be")  # half a pair would not decode
        else:
            assert len(pieces) == 1 or len(piece) <= 153
            assert not piece.endswith(ESCAPE)


@given(TEXTS, TEXTS)
def test_more_text_never_costs_less(text: str, more: str):
    assert segments(text).count <= segments(text + more).count


@given(st.text(max_size=300))
def test_any_text_can_be_counted(text: str):
    assert segments(text).count >= 1
