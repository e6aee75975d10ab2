"""An SMS to chosen contacts, and to one, in the console: written, looked over with its cost, sent once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing import ledger
from contacts import attributes, services
from contacts.admin import choosing
from contacts.models import AttributeType, Contact, SmsProgram
from linkit.audit import in_words
from linkit.models import Membership, Organization, Role, User
from outbox.bulk import work
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers.models import OrganizationApp, SenderId, SmsLog
from tests import factories
from tests.console.conftest import BACKEND

pytestmark = pytest.mark.django_db

LIST = "/admin/contacts/contact/"
TEMPLATE = "Hello {{ $contact.firstName }},\r\nsale!"

Console = Callable[[str], Client]
Form = dict[str, Any]


@pytest.fixture
def sender(organization: Organization, sandbox: OrganizationApp) -> SenderId:
    factories.top_up(organization, "10")
    return factories.make_sender(organization, sandbox)


@pytest.fixture
def ali(organization: Organization) -> Contact:
    return factories.make_contact(organization, first_name="Ali")


@pytest.fixture
def nameless(organization: Organization) -> Contact:
    return factories.make_contact(organization)


def form_for(sender: SenderId, *contacts: Contact, **changes: Any) -> Form:
    return {
        "action": "send_to_chosen",
        "_selected_action": [str(contact.pk) for contact in contacts],
        "once": str(uuid.uuid4()),
        "name": "Chosen",
        "sender": str(sender.pk),
        "template": TEMPLATE,
        **changes,
    }


def look(browser: Client, form: Form, where: str = LIST) -> tuple[Any, Form]:
    """Return the page that shows what would be sent, and what its button sends."""
    page = browser.post(where, form)
    assert page.status_code == 200
    return page, {**form, "seen": page.context["form"]["seen"].value(), "once": page.context["form"]["once"].value()}


def page_of(program: SmsProgram) -> str:
    return reverse("admin:contacts_smsprogram_change", args=[program.pk])


def send_page(contact: Contact) -> str:
    return reverse("admin:contacts_contact_send", args=[contact.pk])


def work_all() -> None:
    while work.do_next(threading.Event()):
        pass
    Drain().run()


# --- to chosen contacts ---


@pytest.mark.parametrize("who", ["operator", "admin", "superuser"])
def test_chosen_contacts_get_a_text_once_each(
    console: Console, organization: Organization, sender: SenderId, ali: Contact, nameless: Contact, who: str
):
    other = factories.make_contact(organization, first_name="Omar")
    browser = console(who)
    asked = browser.post(LIST, {"action": "send_to_chosen", "_selected_action": [ali.pk, nameless.pk], "index": "0"})
    assert "2</bdi> contacts" in asked.text
    assert " (2)" in asked.context["form"]["name"].value()
    assert 'data-counter="text-counter"' in asked.text
    page, confirmed = look(browser, form_for(sender, ali, nameless))
    found = page.context["preview"]
    assert (found.sendable, found.parts, found.missing) == (2, 2, {"firstName": 1})
    assert found.cost == Decimal("3.774")
    assert "3.774" in page.text
    assert "Hello Ali,\nsale!" in page.text
    assert "Send 2 messages" in page.text
    assert not SmsProgram.objects.exists()
    answer = browser.post(LIST, confirmed)
    program = SmsProgram.objects.get()
    assert answer["Location"] == page_of(program)
    assert "are being queued" in browser.get(page_of(program)).text
    work_all()
    texts = dict(SmsLog.objects.values_list("recipient", "text"))
    assert texts == {ali.primary_phone: "Hello Ali,\nsale!", nameless.primary_phone: "Hello ,\nsale!"}
    assert other.primary_phone not in texts
    assert ledger.balance_of(organization).balance == Decimal(10) - Decimal("3.774")
    entry = LogEntry.objects.get()
    assert (in_words(entry), entry.object_repr) == ("Launched for 2 chosen contacts.", "Chosen")


def test_sending_the_form_twice_sends_once(console: Console, sender: SenderId, ali: Contact, nameless: Contact):
    browser = console("operator")
    _, confirmed = look(browser, form_for(sender, ali))
    browser.post(LIST, confirmed)
    answer = browser.post(LIST, confirmed, follow=True)
    assert "nothing was sent again" in answer.text
    program = SmsProgram.objects.get()
    assert answer.redirect_chain == [(page_of(program), 302)]
    work_all()
    assert Message.objects.count() == 1
    # Back, and something else written: that is another intent, which is looked over first.
    changed = {**confirmed, "template": "Other", "_selected_action": [str(nameless.pk)]}
    page, changed = look(browser, changed)
    assert "has changed since you looked it over" in page.text
    page, changed = look(browser, changed)
    assert "with other content" in page.text
    browser.post(LIST, changed)
    assert SmsProgram.objects.count() == 2


def test_what_is_sent_is_what_was_shown(
    console: Console, organization: Organization, sender: SenderId, ali: Contact, nameless: Contact
):
    browser = console("operator")
    _, confirmed = look(browser, form_for(sender, ali))
    other = factories.make_sender(organization, sender.app, sender_id="Other")
    for change in (
        {"template": "Different"},
        {"sender": str(other.pk)},
        {"_selected_action": [str(ali.pk), str(nameless.pk)]},
        {"seen": ""},
        {"seen": "x"},
    ):
        assert browser.post(LIST, {**confirmed, **change}).status_code == 200, change
    _, confirmed = look(browser, form_for(sender, ali, template="Hello {{ $contact.firstName }}" + "x" * 70))
    services.change(contact=ali, fields={"first_name": "علي"})  # another price: two parts
    assert browser.post(LIST, confirmed).status_code == 200
    assert not SmsProgram.objects.exists()


def test_input_is_kept_on_an_error(console: Console, sender: SenderId, ali: Contact):
    browser = console("operator")
    for wrong in ({"name": ""}, {"sender": ""}, {"template": ""}, {"template": "x" * 5001}, {"once": ""}):
        page = browser.post(LIST, {**form_for(sender, ali), **wrong})
        assert page.status_code == 200
        assert page.context["form"].errors, wrong
        kept = {"name": "Chosen", "template": TEMPLATE, **wrong}
        assert page.context["form"]["name"].value() == kept["name"]
        assert page.context["form"]["template"].value() == kept["template"]
        assert f'name="_selected_action" value="{ali.pk}"' in page.text
    assert not SmsProgram.objects.exists()


def test_without_credits_nothing_is_launched(console: Console, organization: Organization, ali: Contact, sandbox: Any):
    sender = factories.make_sender(organization, sandbox)
    browser = console("operator")
    page, confirmed = look(browser, form_for(sender, ali))
    assert "more credits than are available" in page.text
    page = browser.post(LIST, confirmed)
    assert page.context["form"].non_field_errors()
    assert not SmsProgram.objects.exists()
    factories.top_up(organization, "5")
    browser.post(LIST, confirmed)
    assert SmsProgram.objects.get().job is not None


def test_a_text_that_no_contact_can_get_is_not_offered(console: Console, sender: SenderId, nameless: Contact):
    browser = console("operator")
    page, confirmed = look(browser, form_for(sender, nameless, template="{{ $contact.firstName }}"))
    assert "Nothing of this can be sent" in page.text
    assert "The message is empty." in page.text
    assert browser.post(LIST, confirmed).status_code == 200
    assert not SmsProgram.objects.exists()


def test_a_selection_has_an_end(
    console: Console, sender: SenderId, ali: Contact, nameless: Contact, monkeypatch: pytest.MonkeyPatch
):
    browser = console("operator")
    page = browser.post(LIST, {"action": "send_to_chosen", "index": "0"}, follow=True)
    assert "Items must be selected" in page.text
    page, confirmed = look(browser, form_for(sender, ali, select_across="1"))
    assert page.context["preview"].sendable == 2
    assert 'name="select_across" value="1"' in page.text
    browser.post(LIST, confirmed)
    assert SmsProgram.objects.get().contacts.count() == 2
    monkeypatch.setattr(choosing, "_MOST_AT_ONCE", 1)
    page = browser.post(LIST, form_for(sender, ali, select_across="1"), follow=True)
    assert "At most 1 contacts at once" in page.text


def test_others_contacts_and_sender_ids_are_out_of_reach(
    console: Console, organization: Organization, other_organization: Organization, sender: SenderId, ali: Contact
):
    theirs = factories.make_contact(other_organization, first_name="Eve")
    browser = console("operator")
    page = browser.post(LIST, form_for(sender, theirs), follow=True)
    assert "not there any more" in page.text
    page, confirmed = look(browser, form_for(sender, ali, theirs))
    assert page.context["preview"].sendable == 1
    browser.post(LIST, confirmed)
    assert list(SmsProgram.objects.get().contacts.all()) == [ali]
    secret = factories.make_sender(other_organization, None, sender_id="Secret")
    page = browser.post(LIST, form_for(secret, ali))
    assert "sender" in page.context["form"].errors
    assert "Secret" not in page.text
    assert browser.get(send_page(theirs)).status_code == 302
    page = console("superuser").post(LIST, form_for(sender, ali, theirs), follow=True)
    assert "Choose contacts of one organization." in page.text
    assert SmsProgram.objects.count() == 1


@pytest.mark.parametrize("who", ["viewer", "stranger", "loner"])
def test_nobody_else_sends(console: Console, sender: SenderId, ali: Contact, who: str):
    browser = console(who)
    assert browser.post(LIST, form_for(sender, ali)).status_code in (302, 403, 405)
    for answer in (browser.get(send_page(ali)), browser.post(send_page(ali), form_for(sender, ali))):
        assert answer.status_code == (403 if who == "viewer" else 302)
    if who == "viewer":
        assert "send_to_chosen" not in browser.get(LIST).text
        page = browser.get(reverse("admin:contacts_contact_change", args=[ali.pk])).text
        assert send_page(ali) not in page
    assert not SmsProgram.objects.exists()
    assert not SmsLog.objects.exists()


def test_an_operator_here_who_only_looks_there(
    organization: Organization, other_organization: Organization, sender: SenderId
):
    person: User = factories.make_user(organization, role=Role.OPERATOR, is_staff=True)
    Membership.objects.create(user=person, organization=other_organization, role=Role.VIEWER)
    browser, theirs = Client(), factories.make_contact(other_organization)
    browser.force_login(person, BACKEND)
    assert browser.post(LIST, form_for(sender, theirs)).status_code == 403
    assert browser.get(send_page(theirs)).status_code == 403


def test_whoever_sent_may_stop_it(console: Console, sender: SenderId, ali: Contact):
    browser = console("operator")
    _, confirmed = look(browser, form_for(sender, ali))
    browser.post(LIST, confirmed)
    program = SmsProgram.objects.get()
    cancel = reverse("admin:contacts_smsprogram_cancel", args=[program.pk])
    assert cancel in browser.get(page_of(program)).text
    colleague = console("operator")
    assert cancel not in colleague.get(page_of(program)).text
    assert colleague.post(cancel).status_code == 403
    assert "Yes, cancel" in browser.get(cancel).text
    browser.post(cancel)
    work_all()
    assert SmsProgram.objects.select_related("job").get().status == "cancelled"
    assert not SmsLog.objects.exists()


# --- to one contact ---


def test_one_contact_gets_a_text_after_a_look(
    console: Console, organization: Organization, sender: SenderId, ali: Contact
):
    browser = console("operator")
    assert send_page(ali) in browser.get(reverse("admin:contacts_contact_change", args=[ali.pk])).text
    assert "Preview" in browser.get(send_page(ali)).text
    page, confirmed = look(browser, form_for(sender, template=TEMPLATE), send_page(ali))
    assert "Hello Ali,\nsale!" in page.text
    assert "1.887" in page.text
    assert "Yes, send" in page.text
    assert not SmsLog.objects.exists()
    answer = browser.post(send_page(ali), confirmed)
    log = SmsLog.objects.get()
    assert answer["Location"] == reverse("admin:sms_providers_smslog_change", args=[log.pk])
    assert (log.recipient, log.text, log.user is not None) == (ali.primary_phone, "Hello Ali,\nsale!", True)
    assert ledger.balance_of(organization).balance == Decimal(10) - Decimal("1.887")
    again = browser.post(send_page(ali), confirmed, follow=True)
    assert "nothing was sent again" in again.text
    changed = {**confirmed, "template": "Other"}
    page, changed = look(browser, changed, send_page(ali))
    page, changed = look(browser, changed, send_page(ali))
    assert "with other content" in page.text
    assert SmsLog.objects.count() == 1
    entry = LogEntry.objects.get()
    assert (in_words(entry), entry.object_repr) == ("Sent by hand to a contact.", str(log.pk))


def test_one_contact_must_have_what_the_text_says(
    console: Console, organization: Organization, sender: SenderId, nameless: Contact
):
    age = attributes.create(organization=organization, display_name="Age", type=AttributeType.NUMBER)
    browser = console("operator")
    page = browser.post(send_page(nameless), form_for(sender))
    assert "does not have: firstName" in page.context["form"].errors["template"][0]
    template = "You are {{ $contact.customAttributes.age }}"
    assert browser.post(send_page(nameless), form_for(sender, template=template)).context["form"].errors["template"]
    assert browser.post(send_page(nameless), form_for(sender, template=" ")).context["form"].errors["template"]
    services.change(contact=nameless, fields={"attribute_values": {str(age.pk): 44}})
    page, _ = look(browser, form_for(sender, template=template), send_page(nameless))
    assert "You are 44" in page.text
    assert not SmsLog.objects.exists()


def test_one_contact_without_credits(console: Console, organization: Organization, ali: Contact, sandbox: Any):
    sender = factories.make_sender(organization, sandbox)
    browser = console("operator")
    page, confirmed = look(browser, form_for(sender), send_page(ali))
    assert "more credits than are available" in page.text
    page = browser.post(send_page(ali), confirmed)
    assert page.context["form"].non_field_errors()
    assert page.context["form"]["template"].value() == TEMPLATE
    SenderId.objects.update(status="inactive")
    assert "no active sender ID" in browser.get(send_page(ali)).text
    assert not SmsLog.objects.exists()
