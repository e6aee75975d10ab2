"""What the tests know of the console's pages: by address, name and role, never by a word, so that any language will do.

One `Console` is one person at a browser. Its methods are what such a person does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.watching import Watched
from tests.stack import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

HOME = "/admin/"
APPS, APP_STORE = "/admin/sms_providers/organizationapp/", "/admin/sms_providers/organizationapp/add/"
SEND_ONE, SEND_FILE = "/admin/outbox/message/send/", "/admin/outbox/bulkjob/send/"
LOG, OUTBOX, JOBS = "/admin/sms_providers/smslog/", "/admin/outbox/message/", "/admin/outbox/bulkjob/"
CONTACTS, AUDIT = "/admin/contacts/contact/", "/admin/linkit/auditentry/"
CREDITS = "/admin/billing/creditaccount/"

SANDBOX = "sandbox-sms"
# Everything of one language in one process: two products are enough, and two processors are busy.
LANGUAGES = [pytest.param(each, marks=pytest.mark.xdist_group(each)) for each in ("en", "ar")]
DIRECTION = {"en": "ltr", "ar": "rtl"}


class Console:
    """One person at the console, in one language."""

    def __init__(self, watched: Watched, *, language: str) -> None:
        self.watched, self.language = watched, language
        self.page: Page = watched.page

    # --- everywhere ---

    def open(self, path: str) -> None:
        self.page.goto(path)

    def follow(self, path: str) -> None:
        """Click a link to that page: in the navigation, or on the first page, which has it in its middle."""
        self.page.locator(f'a[href="{path}"]:visible').first.click()
        self.page.wait_for_url(f"**{path}")

    def submit(self, scope: str = "#content") -> None:
        """Press the button that the page is about."""
        self.page.locator(f"{scope} .submit-row [type=submit]").first.click()

    def first_row(self) -> None:
        """Open what the list has first."""
        self.page.locator("#result_list tbody th a").first.click()

    @property
    def said(self) -> Locator:
        """What the page says about what was just done: ready to be waited for."""
        return self.page.locator(".messagelist li")

    @property
    def went_well(self) -> Locator:
        return self.page.locator(".messagelist li.success")

    def text_of(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def look(self) -> None:
        """Note whatever is wrong with the page that is shown: its language, what does not fit, what cannot be used."""
        root = self.page.locator("html")
        said = (root.get_attribute("lang"), root.get_attribute("dir"))
        if said != (self.language, DIRECTION[self.language]):
            self.watched.note(f"the language is {said}")
        self.watched.look()

    # --- coming and going ---

    def choose_language(self) -> None:
        """On the login page, unless it is in that language already."""
        if self.page.locator("html").get_attribute("lang") != self.language:
            self.page.locator(f'#language-form [name=language][value="{self.language}"]').click()
            self.page.locator(f'html[lang="{self.language}"]').wait_for(state="attached")

    def log_in(self, email: str, password: str) -> None:
        self.open(HOME)
        self.choose_language()
        self.page.fill("#id_username", email)
        self.page.fill("#id_password", password)
        self.page.click("#login-form [type=submit]")
        self.page.locator("#logout-form").wait_for(state="attached")

    def log_out(self) -> None:
        self.page.click("#logout-form [type=submit]")
        self.page.wait_for_url("**/admin/logout/")

    # --- apps ---

    def uninstall_the_first(self) -> None:
        """From the list of what is installed, through the page that asks."""
        self.follow(APPS)
        self.first_row()
        self.page.click('a[href$="/uninstall/"]')
        self.submit()
        self.said.first.wait_for()

    def install(self, slug: str, **settings: str) -> None:
        """From its card in the App Store; the answer is the page of the installation."""
        self.open(APP_STORE)
        self.page.locator(f'.card a[href*="/add/{slug}/"]').first.click()
        for name, value in settings.items():
            self.page.fill(f"[name={name}]", value)
        self.submit()
        self.went_well.wait_for()

    def test_connection(self) -> None:
        self.page.click('form[action$="/test/"] [type=submit]')
        self.went_well.wait_for()

    # --- sending ---

    def write(self, *, recipient: str, text: str, through: str = "") -> None:
        """Fill in the form of one message; `through` is the value of a choice, such as `any`."""
        self.follow(SEND_ONE)
        if through:
            self.page.select_option("#send-one [name=app]", through)
        self.page.fill("[name=recipient]", recipient)
        self.page.fill("textarea[name=text]", text)

    def choose_a_sender(self) -> str:
        """Take the first of the provider's own sender names, and return it."""
        self.page.locator("#senders-names button").first.click()
        return self.page.input_value("[name=sender_id]")

    def wait_for_the_answer(self) -> str:
        """Wait until the page of a message shows what the provider said, and return that."""
        answer = self.page.locator("#content pre.code").first
        answer.wait_for(state="attached")
        return answer.text_content() or ""

    def settle_as_sent(self) -> None:
        """On the page of a message of unknown outcome."""
        self.page.click('#content a[href$="/sent/"]')
        self.submit()
        self.went_well.wait_for()

    # --- files ---

    def drop_file(self, file: Path) -> None:
        """Drop a file from the desktop on the page for files, as Chromium itself would tell the page."""
        self.follow(SEND_FILE)
        box = self.page.locator("[name=file]").bounding_box()
        assert box is not None
        mouse = self.page.context.new_cdp_session(self.page)
        dragged = {
            "x": box["x"] + box["width"] / 2,
            "y": box["y"] + box["height"] / 2,
            "data": {"items": [], "files": [str(file)], "dragOperationsMask": 1},
        }
        for kind in ("dragEnter", "dragOver", "drop"):
            mouse.send("Input.dispatchDragEvent", {"type": kind, **dragged})
        mouse.detach()

    def figure(self, name: str) -> int:
        """A figure of the job's page, as it stands there now."""
        return int(re.sub(r"\D", "", self.text_of(f"[data-progress={name}]")) or 0)

    def act(self, name: str) -> None:
        """Press one of the job's buttons, say yes if the page asks, and wait until the button is gone."""
        button = f'form[action$="/{name}/"] [type=submit], #content a[href$="/{name}/"]'
        self.page.locator(button).first.click()
        if self.page.url.endswith(f"/{name}/"):
            self.submit()
        self.page.wait_for_url("**/change/")
        self.page.locator(button).first.wait_for(state="detached")

    def wait_until_ended(self) -> None:
        """Wait for the page, which follows its job and shows the end by itself."""
        self.page.locator("[data-follow]").wait_for(state="detached", timeout=60_000)

    def wait_for_more_than(self, figure: str, count: int) -> int:
        return eventually(lambda: max(0, self.figure(figure) - count), seconds=30, what=f"more {figure}") + count
