"""The one failure of reading a file."""

from linkit.errors import InvalidInput


class UnreadableFile(InvalidInput):
    """The file as a whole cannot be read. The message says what is wrong, that nothing was sent, and what to do."""

    reason = "unreadable_file"


def not_a_table(kind: str) -> UnreadableFile:
    """Return the refusal of a file that is something else; `kind` begins its sentence."""
    return UnreadableFile(
        f"{kind}, not a table; nothing was sent. Save the table as “Excel Workbook (.xlsx)” or as “CSV UTF-8”, and "
        "send that file.",
        reason="not_a_table",
    )
