"""The documentation says what is: its reasons, links, commands, names and examples are held against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.urls import resolve
from pytest_django import Settings

from sms_providers import reference
from sms_providers.reasons import REASONS, Kind
from sms_providers.results import FAULT_REASONS

ROOT: Path = settings.BASE_DIR
PACKAGES = ("linkit", "billing", "sms_providers", "outbox", "contacts")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text()
EVERYTHING = "\n".join(page.read_text() for page in PAGES)

# Calls whose argument at this position is a reason.
_REASON_POSITION = {"NotSent": 0, "MaybeSent": 0, "unknown": 0, "Wait": 1, "GiveUp": 0, "Verdict": 2, "Meaning": 2}


def sources() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def texts(node: ast.AST) -> Iterator[str]:
    """Yield what an expression may be, if it is written out: a text, or either branch of `a if … else b`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)


def _reasons_at(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.ClassDef(body=body):  # reason = "no_app"
            for line in body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                        yield from texts(value)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _REASON_POSITION:
            if len(args) > _REASON_POSITION[name]:
                yield from texts(args[_REASON_POSITION[name]])
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from texts(value)
    if isinstance(node, ast.Call):  # reason="cancelled"
        for keyword in node.keywords:
            if keyword.arg == "reason":
                yield from texts(keyword.value)


def used_reasons() -> dict[str, str]:
    """Return every reason written in the code, with one file that has it."""
    found = dict.fromkeys(FAULT_REASONS.values(), "sms_providers/results.py")
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text())):
            for reason in _reasons_at(node):
                if reason:
                    found.setdefault(reason, str(file.relative_to(ROOT)))
    return found


def explained_reasons() -> list[str]:
    page = (ROOT / "docs" / "errors.md").read_text()
    return re.findall(r"^\| `([a-z0-9_]+)` \|", page, re.MULTILINE)


def test_every_reason_is_explained():
    missing = {reason: file for reason, file in used_reasons().items() if reason not in explained_reasons()}
    assert not missing, f"docs/errors.md does not explain: {missing}"


def test_every_reason_of_an_sms_is_in_the_table_in_two_languages():
    for code, reason in REASONS.items():
        for text in (reason.text, reason.next_step):
            assert re.fullmatch(r"[A-Z][ -~]{3,160}\.", text), code
        for text in (reason.text_ar, reason.next_step_ar):
            assert re.search("[\u0620-\u064a]{2}", text), code
            assert not re.search("[A-Za-z]", text), code  # which would break the line's direction
            assert text.endswith("."), code


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_what_is_generated_is_as_the_code_has_it(page: Path):
    written = page.read_text()
    assert reference.render(written) == written, "run `manage.py write_reference`"


def test_every_generated_part_has_its_place():
    docs = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    found = re.findall("<!-- generated: ([a-z-]+) -->", docs)
    kinds = [f"reasons-{kind.replace('_', '-')}" for kind in Kind]
    assert sorted(found) == sorted(["apps", "capabilities", *kinds])


def test_the_command_writes_what_has_changed(tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "docs").mkdir()
    page, other = tmp_path / "docs" / "page.md", tmp_path / "docs" / "other.md"
    page.write_text("before\n<!-- generated: capabilities -->\nold\n<!-- end -->\nafter\n")
    other.write_text("nothing of ours\n")
    settings.BASE_DIR = tmp_path
    call_command("write_reference")
    assert capsys.readouterr().out == "Wrote docs/page.md\n"
    assert re.fullmatch(r"before\n.*`mora-sms` \| yes .*after\n", page.read_text(), re.DOTALL)
    assert "old" not in page.read_text()


def test_the_command_keeps_its_hands_off_when_the_catalogue_is_a_sites_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SMS_PROVIDERS", "sms_providers.adapters.mora.MoraSms")
    with pytest.raises(CommandError, match="Unset it"):
        call_command("write_reference")


def test_every_explained_reason_is_used():
    explained = explained_reasons()
    assert sorted(explained) == sorted(set(explained)), "a reason is explained twice"
    assert not set(explained) - set(used_reasons()), "docs/errors.md explains what the code never says"


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in _anchors(file), f"{target}: there is no such heading"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", EVERYTHING, re.MULTILINE))
    assert {"run", "test"} <= named
    assert named <= targets


def test_management_commands_exist():
    named = set(re.findall(r"manage\.py ([a-z_]+)", EVERYTHING))
    assert {"bootstrap", "up"} <= named
    assert named <= set(get_commands())


def test_variables_exist():
    """What the operator's pages say to set is in `.env.example`, or is the image's own."""
    known = "".join((ROOT / name).read_text() for name in (".env.example", "compose.yaml", "Dockerfile", "Makefile"))
    pages = README + (ROOT / "docs" / "production.md").read_text()
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`", pages))
    assert len(named) > 10
    assert not {name for name in named if not re.search(rf"\b{name}\b", known)}


def test_urls_of_the_readme_exist():
    paths = re.findall(r"\$URL(/api/[^\s?'\"]*)", README)
    assert len(paths) > 5
    for path in paths:
        resolve(path.replace("$ID", "r0m5x2k9q7a1b2c"))


def test_requirements_are_explained():
    page = (ROOT / "docs" / "dependencies.md").read_text()
    explained = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    lines = [line for file in sorted((ROOT / "requirements").glob("*.in")) for line in file.read_text().splitlines()]
    direct = {re.split(r"[~<>=;\[ ]", line, maxsplit=1)[0] for line in lines if line and line[0] not in "#-"}
    assert sorted(explained) == sorted(direct)


def _names() -> dict[str, set[str]]:
    """Return what is defined in each module and class, by the module's or class's own short name."""
    found: dict[str, set[str]] = {}
    for file in sources():
        tree = ast.parse(file.read_text())
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        for name, body in [(file.stem, tree.body), *((each.name, each.body) for each in classes)]:
            defined = found.setdefault(name, set())
            for node in body:
                match node:
                    case ast.FunctionDef(name=inner) | ast.ClassDef(name=inner) | ast.AnnAssign(target=ast.Name(inner)):
                        defined.add(inner)
                    case ast.Assign(targets=targets):
                        defined |= {part.id for part in ast.walk(ast.Tuple(targets)) if isinstance(part, ast.Name)}
    return found


def test_code_that_the_pages_name_exists():
    """`outbox/claims.py`, `claims.mark_started` and `Drain.run` are files, functions and methods."""
    for path in re.findall(r"`((?:linkit|sms_providers|outbox|tests|docs)/[\w/.]+\.(?:py|md))`", EVERYTHING):
        assert (ROOT / path).is_file(), f"{path} does not exist"
    names = _names()
    for owner, name in re.findall(r"`([A-Za-z_]+)\.([A-Za-z_]+)(?:\(\))?`", EVERYTHING):
        if owner in names and name not in ("py", "md", "html"):
            assert name in names[owner], f"{owner}.{name} does not exist"
