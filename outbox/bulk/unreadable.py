"""The one failure of reading a file."""

from django.utils.translation import gettext as _

from linkit.errors import InvalidInput


class UnreadableFile(InvalidInput):
    """The file as a whole cannot be read. The message says what is wrong, that nothing was sent, and what to do."""

    reason = "unreadable_file"


def not_a_table(kind: str) -> UnreadableFile:
    """Return the refusal of a file that is something else; `kind`, a text of ours, begins its sentence."""
    text = _(
        "%(kind)s, not a table; nothing was sent. Save the table as “Excel Workbook (.xlsx)” or as “CSV UTF-8”, and"
        " send that file."
    )
    return UnreadableFile(text % {"kind": _(kind)}, reason="not_a_table")
