"""Looks over a browser's shoulder: what went wrong, whom it asked, what people cannot use, what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect, Page, ViewportSize

LAPTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}

_SERIOUS = ("serious", "critical")
_LEFT = "net::ERR_ABORTED"  # by going on to another page, or by a download
_INLINE_STYLE = "Applying inline style violates"
# How much wider than the window a page is, and what of it sticks out.
_TOO_WIDE = """() => {
  const root = document.documentElement, room = root.clientWidth;
  if (root.scrollWidth <= room) return [];
  const isClipped = (element) => {
    for (let each = element.parentElement; each && each !== document.body; each = each.parentElement) {
      if (getComputedStyle(each).overflowX !== "visible") return true;
    }
    return false;
  };
  const out = [...document.body.querySelectorAll("*")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width && (box.right > room + 1 || box.left < -1) && !isClipped(element);
  });
  const name = (e) => [e.tagName.toLowerCase() + (e.id && "#" + e.id), ...e.classList].join(".");
  return [root.scrollWidth + " px in a window of " + room, ...out.slice(0, 4).map(name)];
}"""


class Watched:
    """A browser of its own, without cookies, that remembers everything that should not have happened in it."""

    def __init__(self, browser: Browser, *, url: str, **options: Any) -> None:
        self._host = urlsplit(url).netloc
        self._wrong: dict[str, list[str]] = {}  # what, and where
        self._is_measured = False
        self._context = browser.new_context(**{"base_url": url, "viewport": LAPTOP, "locale": "en-GB", **options})
        self._context.on("console", self._said)
        self._context.on("weberror", lambda error: self.note(f"script error: {error.error}"))
        self._context.on("request", self._asked)
        self._context.on("requestfailed", self._failed)
        self._context.on("response", self._answered)
        self._context.set_default_timeout(15_000)
        self.page: Page = self._context.new_page()

    def note(self, what: str, *, on: str = "") -> None:
        """Remember something wrong, on the page that is shown unless another one is named."""
        where = self._wrong.setdefault(what, [])
        if (on or self.page.url) not in where:
            where.append(on or self.page.url)

    def _said(self, message: Any) -> None:
        # What the Content Security Policy forbids is said here too. axe-core tries styles of its own.
        if message.type == "error" and not (self._is_measured and message.text.startswith(_INLINE_STYLE)):
            self.note(f"console: {message.text} {message.location['url']}")

    def _asked(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self._host:
            self.note(f"left the host: {request.url}")

    def _failed(self, request: Any) -> None:
        if request.failure != _LEFT:
            self.note(f"failed: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.note(f"{response.status}: {response.request.method} {response.url}")

    def close(self) -> list[str]:
        """End it, and return what went wrong."""
        self._context.close()
        return [f"{what}\n    on {_some(where)}" for what, where in self._wrong.items()]

    def look(self) -> None:
        """Note what on this page does not fit, on a laptop or a phone, and what keeps people from using it."""
        for what in [*self._too_wide(), *self._unusable()]:
            self.note(what)

    def _too_wide(self) -> list[str]:
        """Return what makes the page scroll sideways."""
        found: list[str] = []
        for size in (PHONE, LAPTOP):
            self.page.set_viewport_size(size)
            if out := self.page.evaluate(_TOO_WIDE):
                found.append(f"too wide: {', '.join(out)}")
        return found

    def _unusable(self) -> list[str]:
        """Return what axe-core finds serious or critical."""
        from axe_playwright_python.sync_playwright import Axe

        # Not the style sheets by a request of its own: axe-core looks for imported ones beside the page.
        options = {"resultTypes": ["violations"], "preload": False}
        self._is_measured = True
        found = Axe().run(self.page, options=options).response["violations"]
        self._is_measured = False
        return [
            f"{each['id']} ({each['impact']}): {' '.join(map(str, node['target']))}: {_why(node)}; {each['help']}"
            for each in found
            if each["impact"] in _SERIOUS
            for node in each["nodes"]
        ]


def _some(places: list[str]) -> str:
    paths = [urlsplit(place).path for place in places]
    return ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")


def _why(node: dict[str, Any]) -> str:
    checks = [*node["any"], *node["all"], *node["none"]]
    return str(checks[0]["message"] if checks else node["html"][:100])


class Camera:
    """Takes pictures of pages into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, page: Page, name: str) -> None:
        """Picture the upper part of what the window shows, or all of a phone's."""
        size = page.viewport_size or LAPTOP
        height = min(size["height"], 640) if size["width"] > size["height"] else size["height"]
        part: FloatRect = {"x": 0, "y": 0, "width": size["width"], "height": height}
        page.screenshot(path=self._folder / f"{name}.png", clip=part, animations="disabled")
