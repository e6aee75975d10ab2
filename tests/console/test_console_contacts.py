"""Contacts, custom attributes and audiences in the console: who may what, forms, lists, what is chosen in a list."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from contacts import attributes, audiences, services
from contacts import console as contacts_console
from contacts.admin import choosing
from contacts.models import AttributeType, Audience, AudienceMember, Contact, CustomAttribute
from linkit import clock, pagination, tenancy
from linkit.audit import in_words
from linkit.models import Organization
from tests import factories

pytestmark = pytest.mark.django_db

CONTACTS = "admin:contacts_contact"
ATTRIBUTES = "admin:contacts_customattribute"
AUDIENCES = "admin:contacts_audience"
WRITERS = ["operator", "admin", "superuser"]
EVERYBODY = ["viewer", *WRITERS, "stranger", "loner"]
TYPES = {
    AttributeType.TEXT: ("مرحبا, “text”", "مرحبا, “text”"),
    AttributeType.NUMBER: ("٤٤٫٥", 44.5),
    AttributeType.BOOLEAN: ("false", False),
    AttributeType.DATE: ("2001-02-03", "2001-02-03"),
    AttributeType.PHONE_NUMBER: ("0501234567", "+966501234567"),
    AttributeType.EMAIL: ("a@example.com", "a@example.com"),
    AttributeType.URL: ("https://example.com/?a=1", "https://example.com/?a=1"),
}

Make = Callable[..., Contact]
_moments = itertools.count()


@pytest.fixture
def make(organization: Organization) -> Make:
    """Return a maker of contacts: `make(first_name="Ali", values={attribute: 44})`."""

    def contact(owner: Organization = organization, values: Any = None, **given: Any) -> Contact:
        stored = {str(attribute.pk): value for attribute, value in (values or {}).items()}
        fields = {"primary_phone": factories.mobile(), **given, "attribute_values": stored}
        return of_another_moment(services.create(organization=owner, fields=fields))

    return contact


def of_another_moment(contact: Contact) -> Contact:
    """Let each contact be newer than the one before: SQLite's clock has milliseconds, and lists go by it."""
    contact.created_at = clock.now() + timedelta(seconds=next(_moments))
    Contact.objects.filter(pk=contact.pk).update(created_at=contact.created_at)
    return contact


@pytest.fixture
def age(organization: Organization) -> CustomAttribute:
    return attributes.create(organization=organization, display_name="Customer Age", type=AttributeType.NUMBER)


@pytest.fixture
def audience(organization: Organization) -> Audience:
    return audiences.create(organization=organization, name="Friends")


def url(page: str, *args: Any) -> str:
    return reverse(page, args=args)


def typed(form: Any, **changes: str) -> dict[str, str]:
    """Return what a browser sends for a form that somebody has changed here and there."""
    data = {}
    for field in form:
        shown = str(field.value() or "")
        data[field.html_name] = changes.get(field.name, shown)
        if field.field.show_hidden_initial:
            data[field.html_initial_name] = shown
    return data


def names(page: Any) -> list[str]:
    return [str(contact) for contact in page.context["cl"].result_list]


# --- who ---


@pytest.mark.parametrize("who", EVERYBODY)
def test_pages_open_by_role(console: Any, make: Make, age: CustomAttribute, audience: Audience, who: str):
    rows = {CONTACTS: make(), ATTRIBUTES: age, AUDIENCES: audience}
    browser = console(who)
    sees, writes = who not in ("stranger", "loner"), who in WRITERS
    for name, row in rows.items():
        assert browser.get(url(f"{name}_changelist")).status_code == (403 if who == "loner" else 200)
        assert browser.get(url(f"{name}_add")).status_code == (200 if writes or who == "stranger" else 403)
        for page in ("change", "history"):
            answer = browser.get(url(f"{name}_{page}", row.pk))
            assert answer.status_code == (200 if sees else 302), (name, page)
        code = 200 if writes else 403 if who == "viewer" else 302
        assert browser.get(url(f"{name}_delete", row.pk)).status_code == code
    assert browser.get(url(f"{CONTACTS}_import")).status_code == (200 if writes or who == "stranger" else 403)
    assert browser.get(url(f"{CONTACTS}_export")).status_code == (403 if who == "loner" else 200)


@pytest.mark.parametrize("who", ["viewer", "stranger", "loner"])
def test_nobody_else_writes(console: Any, make: Make, age: CustomAttribute, audience: Audience, who: str):
    contact = make(first_name="Ali")
    browser = console(who)
    for name, row in {CONTACTS: contact, ATTRIBUTES: age, AUDIENCES: audience}.items():
        data = {"primary_phone": "0501234567", "first_name": "Eve", "name": "Eve", "description": "Eve"}
        answer = browser.post(url(f"{name}_change", row.pk), data)
        missing = browser.post(url(f"{name}_change", uuid.uuid4()), data)
        assert answer.status_code == (403 if who == "viewer" else missing.status_code)
        assert browser.post(url(f"{name}_delete", row.pk)).status_code in (302, 403)
    organization = {"organization": str(age.organization_id)}
    for name, data in {
        CONTACTS: {"primary_phone": factories.mobile()},
        ATTRIBUTES: {**organization, "display_name": "Eve", "type": "text"},
        AUDIENCES: {**organization, "name": "Eve"},
    }.items():
        where = url(f"{name}_add") + f"?organization={age.organization_id}"
        assert browser.post(where, data).status_code in (200, 403, 404)
    chosen = {"action": "delete_chosen", "_selected_action": str(contact.pk), "confirmed": "1"}
    browser.post(url(f"{CONTACTS}_changelist"), chosen)
    contact.refresh_from_db()
    assert (contact.first_name, contact.deleted_at) == ("Ali", None)
    assert set(Contact.objects.all()) == {contact}
    assert list(CustomAttribute.objects.values_list("description", "deleted_at")) == [("", None)]
    assert list(Audience.objects.values_list("name", flat=True)) == ["Friends"]
    assert not LogEntry.objects.exists()


def test_the_navigation_has_them_and_every_page_keeps_to_the_content_security_policy(
    console: Any, make: Make, age: CustomAttribute, audience: Audience
):
    contact = make(values={age: 44})
    audiences.add(audience=audience, contact_ids=[contact.pk])
    pages = [url(f"{CONTACTS}_{page}") for page in ("changelist", "add", "import", "export")]
    pages += [url(f"{name}_{page}") for name in (ATTRIBUTES, AUDIENCES) for page in ("changelist", "add")]
    for name, row in {CONTACTS: contact, ATTRIBUTES: age, AUDIENCES: audience}.items():
        pages += [url(f"{name}_{page}", row.pk) for page in ("change", "history", "delete")]
    for who in ("superuser", "viewer"):
        browser = console(who)
        index = browser.get(url("admin:index")).text
        assert all(url(f"{name}_changelist") in index for name in (CONTACTS, ATTRIBUTES, AUDIENCES))
        for page in pages:
            answer = browser.get(page)
            if answer.status_code == 403 and who == "viewer":
                continue
            assert answer.status_code == 200, page
            assert answer["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
            for forbidden in ("<style", " style=", " onclick=", "<script>", "http://cdn", "https://cdn"):
                assert forbidden not in answer.text, (page, forbidden)


# --- the list ---


def test_the_list_shows_and_finds(console: Any, make: Make, age: CustomAttribute, audience: Audience):
    vip = attributes.create(organization=age.organization, display_name="VIP", type=AttributeType.BOOLEAN)
    ali = make(first_name="Ali", city="Riyadh", primary_email="ali@example.com", values={age: 44, vip: True})
    sara = make(full_name="سارة القحطاني", gender="female")
    audiences.add(audience=audience, contact_ids=[ali.pk])
    browser = console("viewer")
    page = browser.get(url(f"{CONTACTS}_changelist"))
    assert names(page) == ["سارة القحطاني", "Ali"]
    for shown in ("Customer Age: 44, VIP: yes", "Friends", "Riyadh", "ali@example.com", ali.primary_phone):
        assert shown in page.text
    for query, found in {
        "q=ali": ["Ali"],
        "q=سارة": ["سارة القحطاني"],
        "q=example.com": ["Ali"],
        f"q=0{sara.primary_phone[4:]}": ["سارة القحطاني"],
        "q=ali+sara": [],
        "gender__exact=female": ["سارة القحطاني"],
        "gender__exact=female&q=ali": [],
        f"audience={audience.pk}": ["Ali"],
        f"audience={audience.pk}&q=ali": ["Ali"],
        f"audience={audience.pk}&q=سارة": [],
        f"audience={uuid.uuid4()}": [],
        "audience=x": [],
        "o=1": ["Ali", "سارة القحطاني"],
    }.items():
        assert names(browser.get(f"{url(f'{CONTACTS}_changelist')}?{query}")) == found, query


def test_a_search_that_finds_more_than_a_list_shows_is_cut(console: Any, make: Make, monkeypatch: Any):
    for module in (pagination, tenancy, contacts_console.find_contacts.__globals__["search"]):
        monkeypatch.setattr(module, "COUNT_CAP", 2, raising=False)
    monkeypatch.setitem(contacts_console.find_contacts.__globals__, "COUNT_CAP", 2)
    monkeypatch.setattr(contacts_console.find_contacts.__globals__["search"], "_CAP", 3)
    made = [make(first_name=f"Ali {number}") for number in range(5)]
    for query in ("q=ali", "q=ali&o=3", "q=ali&gender__exact=", ""):
        page = console("viewer").get(f"{url(f'{CONTACTS}_changelist')}?{query}")
        assert "of more" in page.text, query
        assert set(names(page)) <= {str(contact) for contact in made}
    assert names(console("viewer").get(f"{url(f'{CONTACTS}_changelist')}?q=ali"))[0] == "Ali 4"


def test_a_list_asks_few_questions(
    console: Any, make: Make, age: CustomAttribute, audience: Audience, django_assert_max_num_queries: Any
):
    found = [make(first_name=f"Ali {number}", values={age: number}) for number in range(20)]
    audiences.add(audience=audience, contact_ids=[contact.pk for contact in found])
    browser = console("superuser")
    browser.get(url(f"{CONTACTS}_changelist"))
    with django_assert_max_num_queries(15) as captured:
        assert len(names(browser.get(url(f"{CONTACTS}_changelist")))) == 20
    for query in captured.captured_queries:
        assert "COUNT(" not in query["sql"] or "LIMIT" in query["sql"], query["sql"]


def test_others_are_not_in_the_list(console: Any, make: Make, other_organization: Organization):
    theirs = make(other_organization, first_name="Eve")
    strange = audiences.create(organization=other_organization, name="Strangers", contact_ids=[theirs.pk])
    make(first_name="Ali")
    browser = console("admin")
    page = browser.get(url(f"{CONTACTS}_changelist"))
    assert names(page) == ["Ali"]
    assert "Strangers" not in page.text
    for query in ("q=eve", f"audience={strange.pk}", f"organization={other_organization.pk}", "q=9665"):
        assert "Eve" not in names(browser.get(f"{url(f'{CONTACTS}_changelist')}?{query}"))
    wide = console("superuser").get(url(f"{CONTACTS}_changelist"))
    assert set(names(wide)) == {"Ali", "Eve"}
    assert "Strangers (Stranger)" in wide.text
    chosen = console("superuser").get(f"{url(f'{CONTACTS}_changelist')}?organization={other_organization.pk}&q=e")
    assert names(chosen) == ["Eve"]


@pytest.mark.parametrize("name", [CONTACTS, ATTRIBUTES, AUDIENCES])
def test_odd_input_breaks_nothing(console: Any, make: Make, age: CustomAttribute, audience: Audience, name: str):
    make(values={age: 1})
    browser = console("superuser")
    odd = [
        "q=%00", "q=%25", "q=_", "q=" + "x" * 3000, "q=%ED%A0%80", "q='\"\\", "q=" + "+".join("ab" * 40), "p=-1", "p=x",
        "o=99.-7.x", "audience=%00", "gender__exact=%00", "gender__exact=x", "organization=x", "zzz=1", "%00=1", "e=1",
        "search_text__contains=a", "attribute_values__x=1", "deleted_at__isnull=False",
    ]  # fmt: skip
    for query in odd:
        for page in ("changelist", "export") if name == CONTACTS else ("changelist",):
            answer = browser.get(f"{url(f'{name}_{page}')}?{query}", follow=True)
            assert answer.status_code in (200, 400, 404), (page, query)
    for path in ("%00", "x", "x" * 500, str(uuid.uuid4())):
        for page in ("change", "history", "delete"):
            app, model = name.removeprefix("admin:").split("_")
            assert browser.get(f"/admin/{app}/{model}/{path}/{page}/").status_code in (302, 403, 404)


# --- one contact ---


@pytest.mark.parametrize("who", WRITERS)
def test_add_a_contact_with_typed_attributes(console: Any, organization: Organization, who: str):
    made = {
        type: attributes.create(organization=organization, display_name=f"My {type.name}", type=type) for type in TYPES
    }
    browser = console(who)
    where = f"{url(f'{CONTACTS}_add')}?organization={organization.pk}"
    data = {
        "primary_phone": "٠٥٠ ١٢٣ ٤٥٦٧", "first_name": " Ali ", "primary_email": "ali@example.com", "gender": "male",
        "channels": "sms, whatsapp،sms", "city": "الرياض",
        **{f"attribute_{made[type].pk}": text for type, (text, _) in TYPES.items()},
    }  # fmt: skip
    page = browser.get(where).text
    assert all(f'name="attribute_{attribute.pk}"' in page for attribute in made.values())
    assert 'type="date"' in page
    answer = browser.post(where, data, follow=True)
    contact = Contact.objects.get()
    assert "Ali is added." in answer.text
    assert (contact.organization, contact.primary_phone, contact.first_name) == (organization, "+966501234567", "Ali")
    assert (contact.channels, contact.gender, contact.city) == (["sms", "whatsapp"], "male", "الرياض")
    assert contact.attribute_values == {str(made[type].pk): value for type, (_, value) in TYPES.items()}
    assert "ali" in contact.search_text
    entry = LogEntry.objects.get()
    assert (in_words(entry), entry.object_repr) == ("Added.", str(contact.pk))


def test_errors_stand_beside_their_fields_and_the_input_stays(console: Any, organization: Organization, make: Make):
    made = {type: attributes.create(organization=organization, display_name=type.name, type=type) for type in TYPES}
    taken = make()
    wrong = {
        AttributeType.TEXT: "x" * 1001, AttributeType.NUMBER: "old", AttributeType.DATE: "2001-02-30",
        AttributeType.PHONE_NUMBER: "12", AttributeType.EMAIL: "a@", AttributeType.URL: "ftp://x",
    }  # fmt: skip
    data = {
        "primary_phone": "12", "first_name": "Kept", "primary_email": "no mail", "zip": "9" * 21, "gender": "x",
        **{f"attribute_{made[type].pk}": text for type, text in wrong.items()},
    }  # fmt: skip
    browser = console("operator")
    page = browser.post(url(f"{CONTACTS}_add"), data)
    assert page.status_code == 200
    names = {"primary_phone", "primary_email", "zip", "gender", *(f"attribute_{made[type].pk}" for type in wrong)}
    assert set(page.context["form"].errors) == names
    for text in ('value="Kept"', 'value="no mail"', 'value="2001-02-30"', "There is no such day.", "too short"):
        assert text in page.text
    page = browser.post(url(f"{CONTACTS}_add"), {"primary_phone": taken.primary_phone, "first_name": "Kept"})
    assert "already" in page.context["form"].errors["primary_phone"][0]
    assert 'value="Kept"' in page.text
    page = browser.post(url(f"{CONTACTS}_add"), {"primary_phone": ""})
    assert "This field is required" in str(page.context["form"].errors["primary_phone"])
    assert "Null characters" in browser.post(url(f"{CONTACTS}_add"), {"primary_phone": "05\x00"}).text
    assert Contact.objects.count() == 1


def test_change_what_was_typed_and_nothing_else(console: Any, make: Make, age: CustomAttribute):
    note = attributes.create(organization=age.organization, display_name="Note", type=AttributeType.TEXT)
    hidden = attributes.create(organization=age.organization, display_name="Old", type=AttributeType.TEXT)
    contact = make(
        first_name="Ali ", address="Line one\nline two", city="Riyadh", values={age: 44, note: "", hidden: "kept"}
    )
    attributes.delete(attribute=hidden)
    browser = console("operator")
    where = url(f"{CONTACTS}_change", contact.pk)
    form = browser.get(where).context["form"]
    assert "Nothing was changed." in browser.post(where, typed(form), follow=True).text
    # Somebody else, or a program, changes another field while the page is open.
    services.change(contact=contact, fields={"city": "Jeddah", "attribute_values": {str(age.pk): 45}})
    data = typed(form, last_name="Smith", **{f"attribute_{note.pk}": "=1+1"})
    data = {name: text.replace("\n", "\r\n") for name, text in data.items()}  # as browsers send it
    browser.post(where, data)
    contact = Contact.objects.get()
    assert (contact.first_name, contact.last_name, contact.city) == ("Ali ", "Smith", "Jeddah")
    assert contact.address == "Line one\nline two"
    assert contact.attribute_values == {str(age.pk): 45, str(note.pk): "=1+1", str(hidden.pk): "kept"}
    assert in_words(LogEntry.objects.latest("pk")) == "Changed: Last name, Note."
    form = browser.get(where).context["form"]
    browser.post(where, typed(form, last_name="", **{f"attribute_{age.pk}": ""}))
    contact = Contact.objects.get()
    assert contact.last_name == ""
    assert str(age.pk) not in contact.attribute_values


def test_a_number_that_somebody_has_is_an_error_of_its_field(console: Any, make: Make):
    first, second = make(first_name="Ali"), make(first_name="Sara")
    browser = console("operator")
    where = url(f"{CONTACTS}_change", second.pk)
    page = browser.get(where)
    answer = browser.post(where, typed(page.context["form"], primary_phone=first.primary_phone, city="Kept"))
    assert list(answer.context["form"].errors) == ["primary_phone"]
    assert 'value="Kept"' in answer.text
    services.delete(contact=first)
    browser.post(where, typed(page.context["form"], primary_phone=first.primary_phone))
    second.refresh_from_db()
    assert second.primary_phone == first.primary_phone


def test_a_deleted_contact_is_gone(console: Any, make: Make, audience: Audience):
    contact = make(first_name="Ali")
    audiences.add(audience=audience, contact_ids=[contact.pk])
    browser = console("operator")
    where = url(f"{CONTACTS}_delete", contact.pk)
    asked = browser.get(where).text
    assert "leaves all audiences" in asked
    assert Contact.objects.live().exists()
    answer = browser.post(where, follow=True)
    assert "“Ali” is deleted." in answer.text
    assert names(answer) == []
    contact.refresh_from_db()
    assert contact.deleted_at is not None
    assert not AudienceMember.objects.exists()
    entry = LogEntry.objects.get()
    assert (in_words(entry), entry.object_repr) == ("Deleted.", str(contact.pk))
    for page in ("change", "delete", "history"):
        assert browser.get(url(f"{CONTACTS}_{page}", contact.pk)).status_code == 302
    assert browser.post(where).status_code == 302
    assert LogEntry.objects.count() == 1


def test_viewers_see_all_values(console: Any, make: Make, age: CustomAttribute, audience: Audience):
    contact = make(first_name="Ali", channels=["sms"], values={age: 44})
    audiences.add(audience=audience, contact_ids=[contact.pk])
    page = console("viewer").get(url(f"{CONTACTS}_change", contact.pk)).text
    for text in ("Ali", "Customer Age", "44", "sms", "Friends", contact.primary_phone):
        assert text in page
    assert "Save" not in page
    assert "Delete" not in page


def test_a_superuser_chooses_the_organization(console: Any, age: CustomAttribute, other_organization: Organization):
    browser = console("superuser")
    where = f"{url(f'{CONTACTS}_add')}?organization={other_organization.pk}"
    page = browser.get(where).text
    assert "For the organization" in page
    assert "Customer Age" not in page
    browser.post(where, {"primary_phone": "0501234567"})
    assert Contact.objects.get().organization == other_organization
    assert browser.get(f"{url(f'{CONTACTS}_add')}?organization=x").status_code == 404
    data = {"organization": str(other_organization.pk), "display_name": "Shoe size", "type": "number"}
    browser.post(url(f"{ATTRIBUTES}_add"), data)
    assert list(attributes.live(other_organization)) == ["shoe_size"]
    browser.post(url(f"{AUDIENCES}_add"), {"organization": str(other_organization.pk), "name": "Theirs"})
    assert Audience.objects.get().organization == other_organization


# --- attributes ---


def test_an_attribute_is_added_described_and_deleted(console: Any, organization: Organization, make: Make):
    browser = console("operator")
    data = {"organization": str(organization.pk), "display_name": "Customer Age", "type": "number", "description": ""}
    answer = browser.post(url(f"{ATTRIBUTES}_add"), data, follow=True)
    assert "customer_age" in answer.text
    age = CustomAttribute.objects.get()
    assert (age.name, age.type) == ("customer_age", "number")
    assert "already" in browser.post(url(f"{ATTRIBUTES}_add"), data).context["form"].errors["display_name"][0]
    arabic = browser.post(url(f"{ATTRIBUTES}_add"), {**data, "display_name": "العمر"})
    assert "Latin letters" in arabic.context["form"].errors["display_name"][0]
    where = url(f"{ATTRIBUTES}_change", age.pk)
    page = browser.get(where).text
    assert "{{ $contact.customAttributes.customer_age }}" in page
    browser.post(where, {"description": "In years", "display_name": "Other", "type": "text", "name": "x"})
    age.refresh_from_db()
    assert (age.description, age.display_name, age.type, age.name) == (
        "In years", "Customer Age", "number", "customer_age",
    )  # fmt: skip
    contact = make(values={age: 44})
    assert "hidden for good" in browser.get(url(f"{ATTRIBUTES}_delete", age.pk)).text
    assert attributes.live(organization)
    answer = browser.post(url(f"{ATTRIBUTES}_delete", age.pk), follow=True)
    assert "No custom attribute." in answer.text
    assert not attributes.live(organization)
    assert "Customer Age" not in browser.get(url(f"{CONTACTS}_changelist")).text
    assert "Customer Age" not in browser.get(url(f"{CONTACTS}_change", contact.pk)).text
    assert browser.get(where).status_code == 302
    said = [in_words(entry) for entry in LogEntry.objects.order_by("pk")]
    assert said == ["Added.", "Changed: description.", "Deleted."]


def test_attributes_have_a_limit(console: Any, organization: Organization, monkeypatch: Any):
    monkeypatch.setattr(attributes, "MAX_ATTRIBUTES", 0)
    data = {"organization": str(organization.pk), "display_name": "Age", "type": "number"}
    page = console("operator").post(url(f"{ATTRIBUTES}_add"), data)
    assert "delete one first" in page.text


# --- audiences ---


def test_an_audience_is_added_renamed_and_deleted(console: Any, organization: Organization, make: Make):
    browser = console("operator")
    data = {"organization": str(organization.pk), "name": "Friends", "description": ""}
    browser.post(url(f"{AUDIENCES}_add"), data)
    audience = Audience.objects.get()
    assert audience.created_by is not None
    assert "already" in browser.post(url(f"{AUDIENCES}_add"), data).context["form"].errors["name"][0]
    contact = make()
    audiences.add(audience=audience, contact_ids=[contact.pk])
    where = url(f"{AUDIENCES}_change", audience.pk)
    assert "1 contact" in browser.get(where).text
    browser.post(where, {"name": "Best friends", "description": "All"})
    audience.refresh_from_db()
    assert (audience.name, audience.description) == ("Best friends", "All")
    audiences.create(organization=organization, name="Taken")
    page = browser.post(where, {"name": "Taken", "description": "All"})
    assert "already" in page.context["form"].errors["name"][0]
    assert f'?audience={audience.pk}"><bdi dir="ltr">1</bdi>' in browser.get(url(f"{AUDIENCES}_changelist")).text
    assert "its contacts stay" in browser.get(url(f"{AUDIENCES}_delete", audience.pk)).text
    browser.post(url(f"{AUDIENCES}_delete", audience.pk))
    assert not Audience.objects.filter(pk=audience.pk).exists()
    assert Contact.objects.live().exists()
    entry = LogEntry.objects.latest("pk")
    assert (in_words(entry), entry.object_id) == ("Deleted.", str(audience.pk))


def chosen(action: str, *contacts: Contact, **more: Any) -> dict[str, Any]:
    return {"action": action, "_selected_action": [str(contact.pk) for contact in contacts], **more}


def test_chosen_contacts_go_into_an_audience_and_out(console: Any, make: Make, audience: Audience):
    ali, sara, omar = (make(first_name=name) for name in ("Ali", "Sara", "Omar"))
    browser, where = console("operator"), url(f"{CONTACTS}_changelist")
    asked = browser.post(where, chosen("add_to_audience", ali, sara, index="0"))
    assert "2</bdi> contacts" in asked.text
    assert not AudienceMember.objects.exists()
    answer = browser.post(
        where, chosen("add_to_audience", ali, sara, confirmed="yes", audience=audience.pk), follow=True
    )
    assert "2 added to “Friends”." in answer.text
    answer = browser.post(where, chosen("add_to_audience", sara, omar, confirmed="yes", audience=audience.pk))
    assert set(audience.contacts.all()) == {ali, sara, omar}
    answer = browser.post(where, chosen("add_to_audience", ali, confirmed="yes", name="New ones"))
    assert set(Audience.objects.get(name="New ones").contacts.all()) == {ali}
    for data in ({}, {"audience": audience.pk, "name": "Both"}, {"name": "Friends"}, {"audience": uuid.uuid4()}):
        page = browser.post(where, chosen("add_to_audience", ali, confirmed="yes", **data))
        assert page.status_code == 200
        assert page.context["form"].errors, data
    answer = browser.post(
        where, chosen("take_out_of_audience", ali, confirmed="yes", audience=audience.pk), follow=True
    )
    assert "1 taken out of “Friends”." in answer.text
    assert set(audience.contacts.all()) == {sara, omar}
    assert "Contacts taken out of it: 1." in {in_words(entry) for entry in LogEntry.objects.all()}


def test_all_of_a_narrowed_list_can_be_chosen(console: Any, make: Make, audience: Audience, monkeypatch: Any):
    found = [make(first_name="Ali", last_name=str(number)) for number in range(3)]
    make(first_name="Sara")
    browser, where = console("operator"), f"{url(f'{CONTACTS}_changelist')}?q=ali"
    asked = browser.post(where, chosen("add_to_audience", found[0], select_across="1", index="0"))
    assert "3</bdi> contacts" in asked.text
    assert 'name="select_across" value="1"' in asked.text
    browser.post(where, chosen("add_to_audience", found[0], select_across="1", confirmed="yes", audience=audience.pk))
    assert set(audience.contacts.all()) == set(found)
    monkeypatch.setattr(choosing, "_MOST_AT_ONCE", 2)
    answer = browser.post(where, chosen("add_to_audience", found[0], select_across="1", index="0"), follow=True)
    assert "At most 2 contacts at once" in answer.text


def test_chosen_contacts_are_deleted_after_a_question(console: Any, make: Make):
    ali, sara = make(first_name="Ali"), make(first_name="Sara")
    browser, where = console("operator"), url(f"{CONTACTS}_changelist")
    assert "Yes, delete" in browser.post(where, chosen("delete_chosen", ali, index="0")).text
    # Of a list that has got longer meanwhile it is asked again.
    asked = browser.post(where, chosen("delete_chosen", ali, select_across="1", confirmed="1"))
    assert "2</bdi> contacts" in asked.text
    assert Contact.objects.live().count() == 2
    answer = browser.post(where, chosen("delete_chosen", ali, confirmed="1"), follow=True)
    assert "1 contact deleted." in answer.text
    assert set(Contact.objects.live()) == {sara}
    entry = LogEntry.objects.get()
    assert (in_words(entry), entry.object_repr) == ("Contacts deleted: 1.", "Acme")


def test_contacts_of_two_organizations_are_not_chosen_together(
    console: Any, make: Make, other_organization: Organization, audience: Audience
):
    ali, eve = make(first_name="Ali"), make(other_organization, first_name="Eve")
    where = url(f"{CONTACTS}_changelist")
    data = {"confirmed": "yes", "audience": audience.pk}
    answer = console("superuser").post(where, chosen("add_to_audience", ali, eve, **data), follow=True)
    assert "Choose contacts of one organization." in answer.text
    page = console("superuser").post(where, chosen("add_to_audience", eve, **data))
    assert "audience" in page.context["form"].errors  # another organization's
    console("operator").post(where, chosen("add_to_audience", eve, **data))
    console("operator").post(where, chosen("delete_chosen", eve, confirmed="1"))
    assert not AudienceMember.objects.exists()
    eve.refresh_from_db()
    assert eve.deleted_at is None


def test_viewers_have_no_actions(console: Any, make: Make):
    page = console("viewer").get(url(f"{CONTACTS}_changelist"))
    assert "delete_chosen" not in page.text
    assert console("viewer").post(url(f"{CONTACTS}_changelist"), chosen("delete_chosen", make())).status_code == 405
