"""The made-up provider of docs/adding-a-provider.md, loaded from the page so that the page is run as it stands."""

from __future__ import annotations

import importlib
import re
import sys
import types
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "adding-a-provider.md"


@cache
def module(path: str) -> types.ModuleType:
    """Return the module whose code block begins with `# <path>`, importable by its name from then on."""
    name = path.removesuffix(".py").replace("/", ".")
    (code,) = re.findall(rf"```python\n# {re.escape(path)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = types.ModuleType(name)
    found.__file__ = str(PAGE)
    exec(compile(code, f"{PAGE.name}: {path}", "exec"), found.__dict__)
    sys.modules[name] = found
    parent, _, attribute = name.rpartition(".")
    setattr(importlib.import_module(parent), attribute, found)
    return found
