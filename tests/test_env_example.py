""".env.example is the list of variables that operators read: it must name what is read, and nothing else."""

import ast
import re

from django.conf import settings


def read_by_settings() -> set[str]:
    """Return the names in every `env.<type>("NAME", …)` of the settings."""
    tree = ast.parse((settings.BASE_DIR / "linkit/settings/base.py").read_text())
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(name)), *_]):
                names.add(name)
    return names


def read_by_compose() -> set[str]:
    """Return the names in every `${NAME…}` of compose.yaml."""
    return set(re.findall(r"\$\{(\w+)", (settings.BASE_DIR / "compose.yaml").read_text()))


def described() -> list[tuple[str, str]]:
    """Return each variable of the example with the line above it."""
    lines = (settings.BASE_DIR / ".env.example").read_text().splitlines()
    pairs = zip(lines[1:], lines, strict=False)
    return [(found[1], above) for line, above in pairs if (found := re.fullmatch(r"#?([A-Z_]+)=.*", line))]


def test_the_settings_read_something():
    assert {"SECRET_KEY", "DATABASE_URL", "SMS_PROVIDER_BASE_URLS", "OUTBOX_LEASE_SECONDS"} <= read_by_settings()


def test_every_variable_is_listed_and_none_is_stale():
    names = [name for name, _ in described()]
    assert len(names) == len(set(names)), "a variable is listed twice"
    assert set(names) == read_by_settings() | read_by_compose()


def test_every_variable_is_explained():
    assert [name for name, above in described() if not above.startswith("# ")] == []


def test_nothing_is_set_by_copying_it():
    """A copy of the example changes nothing until a # is taken away."""
    lines = (settings.BASE_DIR / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
