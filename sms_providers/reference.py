"""The parts of `docs/` that are read off the code: what each app can do, its codes, and every reason.

A generated part stands between `<!-- generated: name -->` and `<!-- end -->`; `manage.py write_reference` writes them
all, and a test holds them against the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sms_providers import catalogue
from sms_providers.adapters.base import ProviderAdapter, Unicode
from sms_providers.reasons import REASONS, Kind
from sms_providers.results import ErrorTable

_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """Return the text of a page with its generated parts as the code has them now.

    Raises `ValueError` for a part that nobody generates.
    """
    return _PART.sub(lambda part: f"{part[1]}\n{_part(part['name'])}\n{part[3]}", page)


def _part(name: str) -> str:
    if name == "capabilities":
        return _capabilities()
    if name == "apps":
        return "\n".join(_app(adapter) for adapter in catalogue.adapters().values())
    return _reasons(Kind(name.removeprefix("reasons-").replace("-", "_")))


def _capabilities() -> str:
    heads = ["app", "send", "balance", "sender names", "scheduling", "receipts", "batch"]
    heads += ["reference", "look-up", "Unicode"]
    rows = []
    for slug, adapter in catalogue.adapters().items():
        can = adapter.capabilities
        named = f"[{adapter.name}](#{_anchor(adapter.name)}) `{slug}`"
        marks = [_mark(is_so) for is_so in (True, can.balance, can.sender_names, can.scheduling, can.receipts)]
        unicode = "set by us" if can.unicode is Unicode.FLAG else "found by the provider"
        rows.append([named, *marks, str(can.batch_size), _mark(can.reference), _mark(can.look_up), unicode])
    return _table(heads, rows)


def _app(adapter: type[ProviderAdapter]) -> str:
    lines = [f"### {adapter.name}", ""]
    if adapter.credential_fields:
        rows = [
            [
                f"`{field.name}`",
                field.label,
                "required" if field.is_required else "optional",
                _mark(field.is_secret),
                field.help,
            ]
            for field in adapter.credential_fields
        ]
        lines += [_table(["credential", "label", "", "secret", "what it is"], rows)]
    else:
        lines += ["No credentials.", ""]
    for title, table in adapter.error_tables().items():
        lines += [_codes(title, table)]
    return "\n".join(lines)


def _codes(title: str, table: ErrorTable) -> str:
    rows = [
        [f"`{code}`", meaning.outcome.value, meaning.fault.value, f"`{meaning.reason}`", meaning.message]
        for code, meaning in table.items()
    ]
    return _table([title, "result", "class", "reason", "more"], rows)


def _reasons(kind: Kind) -> str:
    rows = [
        [f"`{code}`", reason.text, reason.side.value, reason.next_step]
        for code, reason in REASONS.items()
        if reason.kind is kind
    ]
    return _table(["reason", "meaning", "whose side", "what to do"], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def _mark(is_so: bool) -> str:
    return "yes" if is_so else "–"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
