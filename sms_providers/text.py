"""What the text of one SMS may be, whichever door it comes through."""

from django.utils.translation import gettext as _

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
        raise InvalidText(_("The message is empty."))
    if len(text) > MAX_CHARACTERS:  # first: counting the segments of a megabyte would be wasted
        said = _("The message has %(count)s characters; at most %(most)s are sent.")
        raise InvalidText(said % {"count": f"{len(text):,}", "most": f"{MAX_CHARACTERS:,}"})
    counted = encoding.segments(text)
    if counted.count > MAX_SEGMENTS:
        said = _("The message takes %(count)s parts in %(encoding)s; at most %(most)s are sent.")
        raise InvalidText(said % {"count": counted.count, "encoding": counted.encoding, "most": MAX_SEGMENTS})
    return counted
