"""What the text of one SMS may be, whichever door it comes through."""

from linkit import encoding
from linkit.errors import InvalidInput

MAX_CHARACTERS, MAX_SEGMENTS = 1600, 10


class InvalidText(InvalidInput):
    reason = "invalid_text"


def check(text: str) -> str:
    """Return `text` as it is. Raises `InvalidText` for one that is empty, too long or takes too many segments."""
    measure(text)
    return text


def measure(text: str) -> encoding.Segments:
    """Check `text` as `check` does, and return its encoding and segments, which had to be counted anyway."""
    if not text.strip():
        raise InvalidText("The message is empty.")
    if len(text) > MAX_CHARACTERS:  # first: counting the segments of a megabyte would be wasted
        raise InvalidText(f"The message has {len(text):,} characters; at most {MAX_CHARACTERS:,} are sent.")
    counted = encoding.segments(text)
    if counted.count > MAX_SEGMENTS:
        raise InvalidText(
            f"The message takes {counted.count} parts in {counted.encoding}; at most {MAX_SEGMENTS} are sent."
        )
    return counted
