"""Every page that links lead to: nothing fails on it, it fits, and everybody can use it, in each language and theme."""

from __future__ import annotations

import re

import pytest
import requests

from tests.browser import pages
from tests.stack import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.e2e, pytest.mark.timeout(240)]

THEMES = {"en": "light", "ar": "dark"}  # each once, as colours know no language
# What stands in an address for one row among many, and for one app among ten.
_ROW = re.compile(r"/(\d+|r[0-9a-z]{14}|[0-9a-f-]{36})(?=/)")
_APP = re.compile(r"(?<=/organizationapp/add/)[^/]+")
_LINKS = """() => [...document.querySelectorAll("a[href]:not([download])")]
  .filter((link) => link.origin === location.origin).map((link) => link.pathname + link.search)"""
_NOT_A_PAGE = re.compile("/export/$|/errors/$")  # a download at once


# What belongs to one row beside its own page looks alike everywhere, and each takes a second: in one language only.
# So are forms that add something, whose fields are those of the page that changes it.
ASIDE = {
    "en": re.compile(r"/\*/(?!change/|history/|$)."),
    "ar": re.compile(r"/\*/history/|(?<!organizationapp)/add/$|/add/\*/$"),
}


def kind_of(path: str) -> str:
    """Return what `path` shares with every page like it."""
    return _APP.sub("*", _ROW.sub("/*", path.partition("?")[0]))


@pytest.fixture(scope="module")
def lived_in(product):
    """The product with one of most things."""
    headers = {"Authorization": f"Bearer {product.printed('API key')}"}

    def call(path: str, body: dict[str, object] | None = None, **files: tuple[str, str]) -> dict[str, object]:
        url = f"{product.url}/api/{path}"
        sent = {"json": body} if body is not None else {"files": files}
        answer = requests.post(url, headers=headers, timeout=30, **sent)
        assert answer.ok, answer.text
        return answer.json()

    call("contact", {"firstName": "Sara", "primaryPhone": "+966501234567"})
    call("custom-attributes", {"displayName": "Loyalty", "type": "text"})
    for mobile in ("+966501234567", "+966555555504", "+966555555509"):
        call("v1/sms/outbox", {"mobile": mobile, "message": "Hello"})
    call("v1/sms-providers/sandbox-sms/bulk-send", file=("rows.csv", "mobile,message\n0501234567,Hello\n12,Hello\n"))

    def is_settled() -> bool:
        answer = requests.get(f"{product.url}/api/v1/sms/outbox", headers=headers, timeout=30)
        return "pending" not in answer.text

    eventually(is_settled, what="the messages to be settled")
    return product


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_page(visit, lived_in, language: str):
    me = visit(language, color_scheme=THEMES[language])
    me.open(pages.HOME)
    me.choose_language()
    me.look()
    me.log_in(lived_in.printed("E-mail"), lived_in.printed("Password"))
    seen: set[str] = set()
    ahead = [pages.HOME]
    while ahead:
        path = ahead.pop(0)
        kind = kind_of(path)
        if kind in seen or not kind.startswith(pages.HOME) or _NOT_A_PAGE.search(kind):
            continue
        if any(other != language and aside.search(kind) for other, aside in ASIDE.items()):
            continue
        seen.add(kind)
        me.open(path)
        me.look()
        ahead += me.page.evaluate(_LINKS)
    assert len(seen) > 40, "somebody has lost the way"
