"""What the ledger says of an entry: stored in English, as all that is stored, and shown in the reader's language."""

import re

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop
from django.utils.translation import ngettext

_OURS = frozenset({noop("Opening balance")})
_PARTS = re.compile(r"SMS, (\d+) parts?")  # sms_providers.charging


def in_words(description: str) -> str:
    """Return the description of an entry as its reader says it. What a person wrote stays as it is."""
    if found := _PARTS.fullmatch(description):
        count = int(found[1])
        return ngettext("SMS, %(count)s part", "SMS, %(count)s parts", count) % {"count": count}
    return _(description) if description in _OURS else description
