"""The language of a page: as chosen, else the browser's. Calls of the API are answered in English, always."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import translation

from tests import factories
from tests.conftest import Api
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

COOKIE = settings.LANGUAGE_COOKIE_NAME
ARABIC_LOGIN = "ادخل"


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(factories.make_user(is_staff=True, is_superuser=True), BACKEND)
    return client


def test_a_page_is_in_the_language_that_was_chosen(browser: Client):
    url = f"{reverse('admin:linkit_apikey_changelist')}?state=all&q=x"
    page = browser.get(url)
    assert '<html lang="en" dir="ltr"' in " ".join(page.text.split())
    assert 'name="language" value="ar"' in page.text
    assert 'value="/admin/linkit/apikey/?state=all&amp;q=x"' in page.text
    answer = browser.post(reverse("set_language"), {"language": "ar", "next": url})
    assert (answer.status_code, answer["Location"]) == (302, url)
    cookie = answer.cookies[COOKIE]
    assert (cookie.value, cookie["httponly"], cookie["samesite"]) == ("ar", True, "Lax")
    arabic = browser.get(url)
    assert '<html lang="ar" dir="rtl"' in " ".join(arabic.text.split())
    assert arabic["Content-Language"] == "ar"
    assert 'name="language" value="en" lang="en">English<' in arabic.text
    browser.post(reverse("set_language"), {"language": "en", "next": url})
    assert browser.get(url)["Content-Language"] == "en"


def test_without_a_choice_the_browsers_language_counts(client: Client):
    for wanted, language in [("ar-SA,ar;q=0.9,en;q=0.8", "ar"), ("fr", "en"), ("", "en"), ("ar;q=\x7f,*", "en")]:
        page = client.get(reverse("admin:login"), headers={"accept-language": wanted})
        assert page["Content-Language"] == language, wanted
        assert (ARABIC_LOGIN in page.text) is (language == "ar")
        assert "Accept-Language" in page["Vary"]
    client.cookies[COOKIE] = "en"
    assert client.get(reverse("admin:login"), headers={"accept-language": "ar"})["Content-Language"] == "en"


@pytest.mark.parametrize("language", ["xx", "", "../ar", "ar\x00", "AR" * 100, "en-<script>"])
def test_an_unknown_language_changes_nothing(client: Client, language: str):
    answer = client.post(reverse("set_language"), {"language": language, "next": "/admin/login/"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/")
    assert COOKIE not in answer.cookies
    client.cookies[COOKIE] = "xx"
    page = client.get(reverse("admin:login"))
    assert (page.status_code, page["Content-Language"]) == (200, "en")


@pytest.mark.parametrize(
    "way", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:///evil.example"]
)
def test_the_switch_leads_to_no_other_site(client: Client, way: str):
    answer = client.post(reverse("set_language"), {"language": "ar", "next": way})
    assert answer.status_code == 302
    assert "evil" not in answer["Location"]
    assert "javascript" not in answer["Location"]


def test_the_switch_needs_a_form_of_ours():
    client = Client(enforce_csrf_checks=True)
    assert client.post(reverse("set_language"), {"language": "ar"}).status_code == 403
    assert COOKIE not in client.get(reverse("set_language") + "?language=ar").cookies


def test_calls_of_the_api_are_in_english(api: Api, browser: Client):
    def answers(**more: Any) -> list[str]:
        calls = [
            api.post("/api/v1/sms/outbox", {"mobile": "12", "message": ""}, **more),
            api.get("/api/v1/sms/outbox/00000000-0000-4000-8000-000000000000", **more),
            api.post("/api/contacts", {"primaryPhone": "12"}, **more),
            api.get("/api/nothing", **more),
        ]
        return [call.text.partition('"timestamp"')[0] for call in calls]

    english = answers()
    api.cookies[COOKIE] = "ar"
    assert answers(headers={"accept-language": "ar"}) == english
    page = browser.get(reverse("admin:index"), headers={"accept-language": "ar"})
    assert page["Content-Language"] == "ar"
    assert answers(headers={"accept-language": "ar"}) == english, "the thread has just made an Arabic page"
    assert translation.get_language() == "en"


def test_a_page_that_breaks_leaves_the_thread_in_english(browser: Client, api: Api, monkeypatch: pytest.MonkeyPatch):
    def break_down(*_: Any, **__: Any) -> None:
        assert translation.get_language() == "ar"
        raise RuntimeError

    from linkit.console import ConsoleSite

    monkeypatch.setattr(ConsoleSite, "each_context", break_down)
    browser.raise_request_exception = False
    assert browser.get(reverse("admin:index"), headers={"accept-language": "ar"}).status_code == 500
    assert translation.get_language() == "en"
    assert api.get("/api/v1/auth/me").status_code == 200


def test_two_people_at_once_have_their_own_languages(transactional_db: None):
    found: dict[str, list[str]] = {}

    def look(language: str) -> None:
        client = Client(headers={"accept-language": language})
        found[language] = [client.get(reverse("admin:login"))["Content-Language"] for _ in range(5)]

    threads = [threading.Thread(target=look, args=[language]) for language in ("ar", "en")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"ar": ["ar"] * 5, "en": ["en"] * 5}


def test_errors_of_pages_are_in_the_readers_language(client: Client):
    english = client.get("/nothing")
    assert (english.status_code, english["Content-Language"]) == (404, "en")
    assert client.get("/nothing", headers={"accept-language": "ar"})["Content-Language"] == "ar"


def test_an_error_is_a_page_in_the_readers_language(client: Client):
    missing = client.get("/nowhere", headers={"accept": "text/html", "accept-language": "ar"})
    assert missing.status_code == 404
    assert 'dir="rtl"' in missing.text
    assert "There is nothing here" not in missing.text
    assert missing.headers["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
    assert "style=" not in missing.text


def test_a_form_without_its_token_says_that_nothing_was_done():
    careful = Client(enforce_csrf_checks=True)
    answer = careful.post(reverse("admin:login"), {"username": "x", "password": "y"}, headers={"accept": "text/html"})
    assert answer.status_code == 403
    assert "Nothing was done" in answer.text
    assert "CSRF" not in answer.text
