"""SMS programs in the console: a draft is made, looked over, launched and watched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from contacts.models import Audience, SmsProgram
from linkit.models import Organization
from outbox.bulk import work
from outbox.dispatch import Drain
from sms_providers.models import OrganizationApp, SenderId, SmsLog
from tests import factories

LIST, ADD = "/admin/contacts/smsprogram/", "/admin/contacts/smsprogram/add/"
Console = Callable[[str], Client]


@pytest.fixture
def sender(organization: Organization, sandbox: OrganizationApp) -> SenderId:
    return factories.make_sender(organization, sandbox)


@pytest.fixture
def audience(organization: Organization) -> Audience:
    made = Audience.objects.create(organization=organization, name="Customers")
    made.contacts.set([factories.make_contact(organization, first_name=name) for name in ("Sara", "")])
    return made


@pytest.fixture
def form(organization: Organization, sender: SenderId, audience: Audience) -> dict[str, Any]:
    factories.top_up(organization, "10")
    return {
        "name": "Sale",
        "audience": str(audience.pk),
        "sender": str(sender.pk),
        "template": "Hello {{ $contact.firstName }},\r\nsale!",
    }


@pytest.fixture
def draft(console: Console, form: dict[str, Any]) -> SmsProgram:
    response = console("admin").post(ADD, form)
    assert response.status_code == 302, response.content.decode()
    return SmsProgram.objects.get()


def url(program: SmsProgram, page: str = "change") -> str:
    return reverse(f"admin:contacts_smsprogram_{page}", args=[program.pk])


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


def work_all() -> None:
    while work.do_next(threading.Event()):
        pass
    Drain().run()


def test_a_working_day(console: Console, draft: SmsProgram):
    admin = console("admin")
    assert draft.template == "Hello {{ $contact.firstName }},\nsale!"
    page = text_of(admin.get(url(draft)))
    assert "Nothing is sent before somebody launches it" in page
    assert "Hello Sara, sale!" in page
    assert "1.887" in page
    assert "firstName" in page  # what the second one does not have
    asked = text_of(admin.get(url(draft, "launch")))
    assert '<bdi dir="ltr">2</bdi></strong> contacts' in asked
    assert not SmsLog.objects.exists()
    assert admin.post(url(draft, "launch")).status_code == 302
    assert "are being queued" in text_of(admin.get(url(draft)))
    work_all()
    done = text_of(admin.get(url(draft)))
    assert "only simulated" in done
    assert admin.get(url(draft, "progress")).json()["sent"] == 2
    assert "Completed" in text_of(admin.get(LIST))
    history = text_of(admin.get(f"{LIST}{draft.pk}/history/"))
    assert "Made a draft." in history
    assert "Launched." in history


def test_a_draft_is_changed_and_deleted(console: Console, draft: SmsProgram, form: dict[str, Any]):
    admin = console("admin")
    assert "Sale" in text_of(admin.get(url(draft, "edit")))
    assert admin.post(url(draft, "edit"), {**form, "name": "Winter"}).status_code == 302
    assert SmsProgram.objects.get().name == "Winter"
    assert "Yes, delete" in text_of(admin.get(url(draft, "remove")))
    assert SmsProgram.objects.exists()
    assert admin.post(url(draft, "remove")).status_code == 302
    assert not SmsProgram.objects.exists()


def test_what_is_refused_is_said(console: Console, draft: SmsProgram, organization: Organization):
    admin = console("admin")
    SenderId.objects.update(status="inactive")
    said = text_of(admin.post(url(draft, "launch"), follow=True))
    assert "not active" in said
    SenderId.objects.update(status="active")
    admin.post(url(draft, "launch"))
    assert "this program is" in text_of(admin.post(url(draft, "launch"), follow=True))
    assert "this program is" in text_of(admin.post(url(draft, "edit"), _form_of(draft), follow=True))
    assert admin.post(url(draft, "cancel")).status_code == 302
    work_all()
    assert "Cancelled" in text_of(admin.get(url(draft)))
    assert not SmsLog.objects.exists()


def _form_of(program: SmsProgram) -> dict[str, Any]:
    return {"name": "X", "audience": program.audience_id, "sender": program.sender_id, "template": "Hi"}


@pytest.mark.parametrize(
    "change", [{"name": ""}, {"audience": ""}, {"sender": ""}, {"template": ""}, {"template": "x" * 5001}]
)
def test_a_wrong_form_keeps_its_input(console: Console, form: dict[str, Any], change: dict[str, Any]):
    response = console("admin").post(ADD, {**form, **change})
    assert response.status_code == 200
    assert "Please correct" in text_of(response)
    assert not SmsProgram.objects.exists()


def test_others_rows_cannot_be_chosen(console: Console, other_organization: Organization, form: dict[str, Any]):
    theirs = Audience.objects.create(organization=other_organization, name="Theirs")
    admin = console("admin")
    assert "Theirs" not in text_of(admin.get(ADD))
    assert admin.post(ADD, {**form, "audience": str(theirs.pk)}).status_code == 200
    secret = factories.make_sender(other_organization, None)
    assert admin.post(ADD, {**form, "sender": str(secret.pk)}).status_code == 200
    assert not SmsProgram.objects.exists()


def test_without_a_sender_id_the_page_says_so(console: Console, organization: Organization):
    assert "no active sender ID" in text_of(console("admin").get(ADD))


@pytest.mark.parametrize("who", ["viewer", "operator"])
def test_who_may_only_look(console: Console, draft: SmsProgram, form: dict[str, Any], who: str):
    client = console(who)
    assert client.get(LIST).status_code == 200
    assert "Launch" not in text_of(client.get(url(draft)))
    assert client.get(ADD).status_code == 403
    for page in ("launch", "cancel", "resume", "edit", "remove"):
        assert client.post(url(draft, page), form).status_code == 403
    assert SmsProgram.objects.get().status == "draft"


def test_a_stranger_finds_nothing(console: Console, draft: SmsProgram, form: dict[str, Any]):
    client = console("stranger")
    assert "Sale" not in text_of(client.get(LIST))
    assert client.get(url(draft, "progress")).status_code == 404
    for page in ("change", "launch", "edit", "remove"):
        assert client.get(url(draft, page)).status_code == 302
    client.post(url(draft, "launch"))
    assert SmsProgram.objects.get().status == "draft"
    assert console("superuser").get(url(draft)).status_code == 200
