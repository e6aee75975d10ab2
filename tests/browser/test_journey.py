"""A first day at the console: from the printed login to the settled message, in each language."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import pages
from tests.browser.watching import LAPTOP, PHONE

pytestmark = [pytest.mark.postgres, pytest.mark.e2e, pytest.mark.timeout(240)]

SLOW, UNKNOWN, REFUSED = "+966555555510", "+966555555509", "+966555555504"  # numbers that the sandbox knows
PER_SECOND, ROWS = 20, 160
WRONG = [("12", "Too short"), ("not a number", "Hello"), ("0501230000", "")]
PICTURES = {
    "dashboard": pages.HOME,
    "app-store": pages.APP_STORE,
    "sms-log": pages.LOG,
    "contacts": pages.CONTACTS,
    "credits": pages.CREDITS,
}
TWICE = ("dashboard", "bulk-progress")  # in Arabic as well


def file_of(language: str) -> str:
    """Rows for some seconds of sending, with wrong ones among them. Another text each time: a file is sent once."""
    good = [(f"05012{number:05}", f"Hello {number} ({language})") for number in range(ROWS)]
    ends = [(UNKNOWN, "Did it arrive?"), (REFUSED, "Nobody there"), (SLOW, "Slowly")]
    rows = [good[0], WRONG[0], *good[1:60], WRONG[1], *ends, *good[60:], WRONG[2]]
    return "mobile,message\n" + "".join(f"{mobile},{text}\n" for mobile, text in rows)


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_a_first_day(visit, used_product, camera, tmp_path: Path, language: str):
    me = visit(language)
    page = me.page

    def picture(name: str) -> None:
        if language == "en":
            camera.take(page, name)
        elif name in TWICE:
            camera.take(page, f"{name}-{language}")

    me.log_in(used_product.printed("E-mail"), used_product.printed("Password"))
    me.look()

    # The demo has the sandbox already, so it goes first.
    me.uninstall_the_first()
    me.follow(pages.APPS)
    me.open(pages.APP_STORE)
    assert page.locator(".card").count() == 10
    me.look()
    me.install(pages.SANDBOX, max_per_second=str(PER_SECOND))
    me.test_connection()
    me.look()

    # One message: what makes it expensive is marked. A wrong number, and everything that was typed is still there.
    text = "Your table is ready — see you at 8"
    me.write(recipient="12", text=text)
    assert page.locator("#send-preview mark").all_inner_texts() == ["—"]
    assert (me.text_of("#send-encoding"), me.text_of("#send-parts")) == ("UCS-2", "1")
    assert me.choose_a_sender() == "Sandbox"
    picture("send-one")
    me.submit()
    page.locator(".errorlist").first.wait_for()
    assert page.input_value("textarea[name=text]") == text
    me.look()
    page.fill("[name=recipient]", "0501234567")
    me.submit()
    assert "sandbox" in me.wait_for_the_answer()
    assert me.text_of(".sms-text") == text
    me.look()

    # Another one through whichever app can. The page shows by itself what became of it.
    me.write(recipient="0501234568", text="Hello 😀", through="any")
    me.submit()
    assert "sandbox" in me.wait_for_the_answer()
    me.look()

    # A file with wrong rows: checked, confirmed, watched, paused and resumed.
    file = tmp_path / f"{language}.csv"
    file.write_text(file_of(language))
    me.drop_file(file)
    me.submit()
    page.locator(".tiles").wait_for()
    for mobile, _ in WRONG:
        assert mobile in page.locator("#content").inner_text()
    me.look()
    picture("bulk-check")
    me.submit()
    page.locator("[data-follow]").wait_for()
    sent = me.wait_for_more_than("sent", 0)
    sent = me.wait_for_more_than("sent", sent)
    picture("bulk-progress")
    me.act("pause")
    me.look()
    me.act("resume")
    me.wait_for_more_than("sent", sent)
    me.wait_until_ended()
    assert (me.figure("sent"), me.figure("unknown"), me.figure("pending")) == (ROWS + 1, 1, 0)
    assert me.figure("failed") == len(WRONG) + 1
    me.look()

    # The rows that were not sent, as they were.
    with page.expect_download() as download:
        page.click("a[download]")
    download.value.save_as(tmp_path / "errors.csv")
    errors = (tmp_path / "errors.csv").read_text("utf-8-sig")
    assert all(mobile in errors for mobile, _ in WRONG)
    assert "Hello 0 " not in errors

    # What nobody knows, until a person does.
    page.click('a[href*="status__exact=dispatch_timeout"]')
    me.first_row()
    page.locator(".banner").wait_for()
    assert UNKNOWN in me.text_of("h1")
    me.look()
    picture("message")
    me.settle_as_sent()
    assert page.locator('#content a[href$="/sent/"]').count() == 0
    page.click(".historylink")
    assert page.locator("#change-history tbody tr").count() == 1

    me.follow(pages.AUDIT)
    assert page.locator("#result_list tbody tr").count() >= 7, "installing, testing, sending, pausing, settling"
    me.look()
    for name, path in PICTURES.items():
        me.open(path)
        picture(name)
    page.set_viewport_size(PHONE)
    me.open(pages.HOME)
    picture("phone")
    page.set_viewport_size(LAPTOP)
    me.log_out()
    me.open(pages.HOME)
    page.locator("#login-form").wait_for()
