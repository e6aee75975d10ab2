"""One running product, as a newcomer starts it, and a Chromium that looks at it.

Without Playwright or Chromium these tests are skipped, and say why; with BROWSER_TESTS=required, as in `make browser`,
they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import services
from tests.browser.pages import Console
from tests.browser.watching import Camera, Watched
from tests.e2e.test_up import Up

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def _chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUM)), None)


def _lacking() -> str:
    """Say what these tests need and do not find."""
    if not find_spec("playwright") or not find_spec("axe_playwright_python"):
        return "Playwright is not installed; `make browser` installs it."
    if not _chromium():
        return "There is no Chromium. Install it (Debian: apt install chromium) or say where it is: CHROMIUM=/path."
    return ""


# Of the package, not of the session: Playwright runs an event loop in this thread, and Django lets nobody near the
# database under one.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    if lacking := _lacking():
        (pytest.fail if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip)(lacking)
    from playwright.sync_api import sync_playwright

    # Whatever a page asks of another host fails at once, also where there is a network.
    only_ours = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        # As root, in a container of CI, Chromium has no sandbox. It is shown nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox", only_ours])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the product's data."""
    return tmp_path_factory.mktemp("product") / "var"


@pytest.fixture(scope="package")
def product(chromium: Browser, var: Path) -> Iterator[Up]:
    """`manage.py up` on an empty folder, once there is a browser to look at it."""
    run = Up(var, services.free_port())
    try:
        yield run.wait_until_ready()
    finally:
        run.clean_up()


@pytest.fixture(scope="package")
def used_product(product: Up, var: Path) -> Up:
    """The product with a month behind it."""
    # As in a second terminal: what is empty is found in the folder.
    empty = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEYS"), "")
    ours = {"DJANGO_SETTINGS_MODULE": "linkit.settings.base", "VAR_DIR": str(var), "PUBLIC_URL": product.url}
    command = [
        sys.executable,
        "manage.py",
        "shell",
        "--no-imports",
        "-c",
        "from tests.browser import history as h; h.make()",
    ]
    subprocess.run(command, cwd=services.ROOT, env={**os.environ, **empty, **ours}, check=True, timeout=60)
    return product


@pytest.fixture(scope="package")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    """Takes the pictures of docs/console.md into the folder that SCREENSHOTS names; else where nobody keeps them."""
    wanted = os.environ.get("SCREENSHOTS")
    folder = services.ROOT / wanted if wanted else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return Camera(folder)


@pytest.fixture
def visit(chromium: Browser, product: Up) -> Iterator[Callable[..., Console]]:
    """Return a maker of people at the console: `visit("ar")`, `visit("en", color_scheme="dark")`.

    When the test is over, nothing must have gone wrong in any of their browsers.
    """
    opened: list[Watched] = []

    def arrive(language: str, **options: Any) -> Console:
        watched = Watched(chromium, url=product.url, **options)
        opened.append(watched)
        return Console(watched, language=language)

    yield arrive
    wrong = [each for watched in opened for each in watched.close()]
    assert not wrong, "\n".join(wrong)
