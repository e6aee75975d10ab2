"""Goal B3: number and text of a row are checked in at most a fifth of what `phonenumbers` takes for the number.

    python -m tests.benchmarks.rows

Both sides take the same rows in turn, round by round, so that a busy machine slows both.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from linkit.phone import InvalidNumber, parse_mobile
from sms_providers import text as sms_text
from tests.linkit.test_phone_fast_path import REGIONS, STRINGS_A_REGION, differences

GOAL, ROWS, ROUNDS = 0.2, 10_000, 5
GREETINGS = [
    "Dear {}, your order is on its way. Thank you for shopping at Acme!",
    "عزيزنا {}، طلبك في الطريق إليك. شكراً لك",
]
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def make_rows() -> list[tuple[str, str]]:
    """Return numbers and texts as in the file of a Saudi organization."""
    dice = random.Random(3)
    rows = []
    for place in range(ROWS):
        mobile = f"5{dice.choice('0345689')}{dice.randrange(10**7):07}"
        share = dice.random()
        if share < 0.60:
            typed = f"966{mobile}"
        elif share < 0.80:
            typed = f"+966{mobile}"
        elif share < 0.95:
            typed = f"0{mobile}"
        elif share < 0.97:
            typed = f"0{mobile[:2]} {mobile[2:5]} {mobile[5:]}"
        elif share < 0.99:
            typed = f"0{mobile}".translate(ARABIC)
        else:
            typed = f"96611{mobile[2:]}"  # a landline
        rows.append((typed, GREETINGS[place % 4 == 0].format(f"{place:05}")))
    return rows


def ours(typed: str, text: str) -> None:
    try:
        parse_mobile(typed, region="SA")
        sms_text.measure(text)
    except InvalidNumber:
        pass


def phonenumbers_on_every_row(typed: str, text: str) -> None:
    try:
        number = phonenumbers.parse(typed, "SA")
    except phonenumbers.NumberParseException:
        return
    if phonenumbers.is_valid_number(number) and phonenumbers.number_type(number) == PhoneNumberType.MOBILE:
        phonenumbers.format_number(number, PhoneNumberFormat.E164)


def microseconds(check: Callable[[str, str], None], rows: list[tuple[str, str]]) -> float:
    """Return what a row takes."""
    start = time.perf_counter()
    for typed, text in rows:
        check(typed, text)
    return (time.perf_counter() - start) / len(rows) * 1e6


def main() -> None:
    rows = make_rows()
    parse_mobile("+966501234567", region="SA")  # compiles the expression
    rounds = [(microseconds(ours, rows), microseconds(phonenumbers_on_every_row, rows)) for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    print(f"{ROWS:,} rows, median of {ROUNDS} rounds")
    print(f"number and parts, ours        {mine:6.2f} µs a row")
    print(f"number, phonenumbers          {theirs:6.2f} µs a row")
    print(f"ratio {ratio:.3f}, goal {GOAL}: {'met' if ratio <= GOAL else 'MISSED'}")
    different = sum(len(differences(region)) for region in REGIONS)
    print(
        f"fuzz: {len(REGIONS) * STRINGS_A_REGION:,} strings, {len(REGIONS)} regions, {different} answered differently"
    )


if __name__ == "__main__":
    main()
