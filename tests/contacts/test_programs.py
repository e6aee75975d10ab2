"""SMS programs: drafted, launched, written to the outbox, sent, paused, cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.models import Sum
from django.db.models.functions import Now

from billing import ledger
from billing.models import CreditTransaction, Kind
from contacts import programs
from contacts.models import Audience, Contact, CustomAttribute, SmsProgram
from linkit import clock
from linkit.errors import Conflict
from linkit.models import Organization, Role
from outbox.bulk import leases, work
from outbox.bulk.models import BulkJob, JobStatus
from outbox.dispatch import Drain
from outbox.models import Message
from sms_providers import installing
from sms_providers.models import OrganizationApp, SenderId, SmsLog
from tests import factories
from tests.conftest import Api

PROGRAMS = "/api/sms-programs"
RATE = Decimal("1.887")


@pytest.fixture
def people(organization: Organization) -> list[Contact]:
    return [factories.make_contact(organization, first_name=name) for name in ("Sara", "Ali", "")]


@pytest.fixture
def audience(organization: Organization, people: list[Contact]) -> Audience:
    made = Audience.objects.create(organization=organization, name="Customers")
    made.contacts.set(people)
    return made


@pytest.fixture
def draft(api: Api, organization: Organization, sender: SenderId, audience: Audience) -> dict[str, Any]:
    """A draft for three contacts, with credits for five messages."""
    factories.top_up(organization, 5 * RATE)
    body = {
        "name": "Sale",
        "messageTemplate": "Hello {{ $contact.firstName }}!",
        "senderId": str(sender.pk),
        "audienceId": str(audience.pk),
    }
    response = api.post(PROGRAMS, body)
    assert response.status_code == 201, response.content
    made: dict[str, Any] = response.json()
    return made


def work_all() -> None:
    """Do what workers do, until nothing is left to do."""
    stop = threading.Event()
    while work.do_next(stop):
        pass
    Drain().run()
    while work.do_next(stop):
        pass


def step(api: Api, program: dict[str, Any], name: str) -> Any:
    return api.post(f"{PROGRAMS}/{program['id']}/{name}")


def read(api: Api, program: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"{PROGRAMS}/{program['id']}").json()
    return found


def test_a_draft_sends_nothing(api: Api, draft: dict[str, Any]):
    assert draft["status"] == "draft"
    assert draft["progress"] == {"sent": 0, "failed": 0, "pending": 0, "unknown": 0, "total": 0}
    work_all()
    assert not Message.objects.exists()
    assert [row["id"] for row in api.get(PROGRAMS).json()["data"]] == [draft["id"]]


def test_a_program_is_sent_and_charged(api: Api, organization: Organization, draft: dict[str, Any]):
    launched = step(api, draft, "launch")
    assert launched.status_code == 200
    assert launched.json()["status"] == "pending"
    stop = threading.Event()
    assert work.do_next(stop)
    waiting = read(api, draft)
    assert (waiting["status"], waiting["progress"]["pending"]) == ("sending", 3)
    work_all()
    done = read(api, draft)
    assert (done["status"], done["finishedAt"] is not None) == ("completed", True)
    assert done["progress"] == {"sent": 3, "failed": 0, "pending": 0, "unknown": 0, "total": 3}
    # Lenient: who has no first name is greeted without one.
    assert sorted(SmsLog.objects.values_list("text", flat=True)) == ["Hello !", "Hello Ali!", "Hello Sara!"]
    log = SmsLog.objects.first()
    assert log is not None
    assert (log.source, str(log.program_id), log.sender_id) == ("program", draft["id"], "MyBrand")
    assert ledger.balance_of(organization).balance == 2 * RATE
    charges = [row for row in api.get("/api/credits/transactions").json()["data"] if row["type"] == "sms_charge"]
    assert {row["smsProgramId"] for row in charges} == {draft["id"]}
    assert [row["amount"] for row in charges] == [-1.887] * 3
    call_command("audit_credits")


def test_named_contacts_instead_of_an_audience(
    api: Api, organization: Organization, sender: SenderId, people: list[Contact]
):
    factories.top_up(organization, "10")
    body = {"name": "Two", "messageTemplate": "Hi", "senderId": str(sender.pk)}
    program = api.post(PROGRAMS, {**body, "contactIds": [str(each.pk) for each in people[:2]] * 2}).json()
    step(api, program, "launch")
    work_all()
    assert set(SmsLog.objects.values_list("recipient", flat=True)) == {each.primary_phone for each in people[:2]}


def test_it_goes_to_who_is_there_when_it_is_launched(
    api: Api, organization: Organization, draft: dict[str, Any], audience: Audience, people: list[Contact]
):
    newcomer = factories.make_contact(organization, first_name="New")
    audience.contacts.add(newcomer)
    people[0].deleted_at = clock.now()
    people[0].save()
    step(api, draft, "launch")
    work_all()
    expected = {newcomer.primary_phone, people[1].primary_phone, people[2].primary_phone}
    assert set(SmsLog.objects.values_list("recipient", flat=True)) == expected


def test_credits_that_run_out_pause_it(api: Api, organization: Organization, draft: dict[str, Any]):
    ledger.adjust(organization=organization, amount=-4 * RATE, description="spent")
    step(api, draft, "launch")
    work_all()
    Message.objects.update(next_attempt_at=Now())  # a second later
    work_all()
    paused = read(api, draft)
    assert (paused["status"], paused["isPaused"], paused["reason"]) == ("sending", True, "insufficient_credits")
    assert paused["progress"] == {"sent": 1, "failed": 0, "pending": 2, "unknown": 0, "total": 3}
    factories.top_up(organization, "20")
    assert step(api, draft, "resume").json()["isPaused"] is False
    Message.objects.update(next_attempt_at=Now())
    work_all()
    assert read(api, draft)["progress"]["sent"] == 3
    total = CreditTransaction.objects.filter(kind=Kind.SMS_CHARGE).aggregate(total=Sum("amount"))["total"]
    assert total == -3 * RATE
    call_command("audit_credits")


def test_without_credits_it_is_not_launched(api: Api, organization: Organization, draft: dict[str, Any]):
    ledger.adjust(organization=organization, amount=-5 * RATE, description="spent")
    response = step(api, draft, "launch")
    assert (response.status_code, response.json()["error"]) == (402, "InsufficientCreditsError")
    assert read(api, draft)["status"] == "draft"
    assert not BulkJob.objects.exists()


def test_a_cancelled_program_sends_no_more(api: Api, organization: Organization, draft: dict[str, Any]):
    step(api, draft, "launch")
    assert work.do_next(threading.Event())
    cancelled = step(api, draft, "cancel")
    assert cancelled.status_code == 200
    work_all()
    done = read(api, draft)
    assert (done["status"], done["reason"]) == ("cancelled", "cancelled")
    assert done["progress"] == {"sent": 0, "failed": 3, "pending": 0, "unknown": 0, "total": 3}
    assert ledger.balance_of(organization).available == 5 * RATE
    assert step(api, draft, "cancel").status_code == 409


def test_a_program_that_is_cancelled_while_it_is_written(api: Api, draft: dict[str, Any], monkeypatch):
    monkeypatch.setattr(programs, "_BATCH", 1)
    step(api, draft, "launch")
    job = leases.take()
    assert job is not None
    stop = threading.Event()
    stop.set()
    programs.write(job, stop)
    assert Message.objects.count() == 1
    step(api, draft, "cancel")
    with pytest.raises(leases.LeaseLost):
        programs.write(job, threading.Event())
    work_all()
    assert read(api, draft)["status"] == "cancelled"
    assert Message.objects.count() == 1
    assert not SmsLog.objects.exists()


def test_a_writer_that_died_is_followed_by_another(api: Api, draft: dict[str, Any], monkeypatch):
    """After one batch the worker is gone. The next one goes on behind it: nobody twice, nobody left out."""
    monkeypatch.setattr(programs, "_BATCH", 1)
    step(api, draft, "launch")
    job = leases.take()
    assert job is not None
    stop = threading.Event()
    stop.set()
    programs.write(job, stop)
    BulkJob.objects.update(work_expires_at=Now())
    work_all()
    assert Message.objects.count() == 3
    assert Message.objects.values("recipient").distinct().count() == 3
    assert list(Message.objects.order_by("row_number").values_list("row_number", flat=True)) == [1, 2, 3]
    assert read(api, draft)["progress"]["sent"] == 3


def test_what_cannot_be_sent_is_told(api: Api, organization: Organization, draft: dict[str, Any], people):
    tier = CustomAttribute.objects.create(organization=organization, name="note", display_name="Note", type="text")
    Contact.objects.filter(pk=people[0].pk).update(attribute_values={str(tier.pk): "x" * 1000})
    template = "{{ $contact.customAttributes.note }}{{ $contact.customAttributes.note }}"
    api.put(f"{PROGRAMS}/{draft['id']}", {"messageTemplate": template})
    step(api, draft, "launch")
    work_all()
    done = read(api, draft)
    assert (done["status"], done["progress"]["failed"]) == ("failed", 3)
    by_phone = {failure["phone"]: failure["message"] for failure in done["failures"]}
    assert "2,000 characters" in by_phone[people[0].primary_phone]
    assert by_phone[people[1].primary_phone] == "The message is empty."
    assert not SmsLog.objects.exists()


def test_a_mixed_program_is_completed(api: Api, draft: dict[str, Any], people: list[Contact]):
    Contact.objects.filter(pk=people[0].pk).update(primary_phone="+966555555504")
    Contact.objects.filter(pk=people[1].pk).update(primary_phone="+966555555509")
    step(api, draft, "launch")
    work_all()
    done = read(api, draft)
    assert done["status"] == "completed"
    assert done["progress"] == {"sent": 1, "failed": 1, "pending": 0, "unknown": 1, "total": 3}
    assert [failure["reason"] for failure in done["failures"]] == ["invalid_recipient"]
    assert api.get("/api/credits/balance").json()["held"] == 1.887


def test_a_test_key_simulates_for_nothing(api: Api, organization: Organization, sender: SenderId, audience: Audience):
    tester = api.using(factories.make_api_key(organization, is_test=True))
    body = {"name": "Try", "messageTemplate": "Hi", "senderId": str(sender.pk), "audienceId": str(audience.pk)}
    program = tester.post(PROGRAMS, body).json()
    step(tester, program, "launch")
    work_all()
    assert read(tester, program)["progress"]["sent"] == 3
    assert set(SmsLog.objects.values_list("is_test", "credit_cost")) == {(True, None)}


def test_the_platforms_gateway_sends_for_a_tenant(
    api: Api, organization: Organization, other_organization: Organization, install: Callable, audience: Audience
):
    """Its installation is another organization's: the rows are pinned to it and charged to the tenant."""
    platform = install(other_organization, "sandbox-sms")
    shared = factories.make_sender(None, platform, sender_id="Platform")
    factories.top_up(organization, "10")
    body = {"name": "Lent", "messageTemplate": "Hi", "senderId": str(shared.pk), "audienceId": str(audience.pk)}
    program = api.post(PROGRAMS, body).json()
    step(api, program, "launch")
    work_all()
    assert read(api, program)["progress"]["sent"] == 3
    assert set(SmsLog.objects.values_list("organization", "app")) == {(organization.pk, platform.pk)}
    assert ledger.balance_of(organization).balance == 10 - 3 * RATE
    assert ledger.balance_of(other_organization).balance == 0


def test_programs_are_not_bulk_jobs(api: Api, draft: dict[str, Any]):
    step(api, draft, "launch")
    work_all()
    jobs = "/api/v1/sms-providers/sandbox-sms/bulk-jobs"
    assert api.get(jobs).json()["data"] == []
    job = BulkJob.objects.get()
    for path in ("", "/errors.csv"):
        assert api.get(f"{jobs}/{job.pk}{path}").status_code == 404
    assert api.post(f"{jobs}/{job.pk}/retry-failed").status_code == 404
    assert api.get("/api/v1/sms-providers/sandbox-sms/progress").json()["job_id"] is None


def test_a_draft_can_be_changed_and_deleted(api: Api, draft: dict[str, Any], people: list[Contact], sender: SenderId):
    url = f"{PROGRAMS}/{draft['id']}"
    changed = api.put(url, {"name": "New", "contactIds": [str(people[0].pk)]}).json()
    assert (changed["name"], changed["audienceId"]) == ("New", None)
    assert programs.recipients(SmsProgram.objects.get()).get() == people[0]
    assert api.delete(url).status_code == 204
    assert api.get(url).status_code == 404


def test_what_was_launched_stays_as_it_is(api: Api, draft: dict[str, Any]):
    step(api, draft, "launch")
    url = f"{PROGRAMS}/{draft['id']}"
    for response in (
        api.put(url, {"name": "New"}),
        api.delete(url),
        step(api, draft, "launch"),
        step(api, draft, "resume"),
    ):
        assert (response.status_code, response.json()["error"]) == (409, "ConflictException")
    assert "'pending'" in step(api, draft, "launch").json()["message"]


def test_a_cancelled_draft_is_over(api: Api, draft: dict[str, Any]):
    assert step(api, draft, "cancel").json()["status"] == "cancelled"
    for name in ("launch", "cancel", "resume"):
        assert step(api, draft, name).status_code == 409
    assert api.delete(f"{PROGRAMS}/{draft['id']}").status_code == 204


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"messageTemplate": "{{" * 100_000}, "messageTemplate"),
        ({"senderId": "x"}, "senderId"),
        ({"audienceId": None}, "audienceId"),
        ({"audienceId": str(uuid4())}, "audienceId"),
        ({"audienceId": None, "contactIds": [str(uuid4())]}, "contactIds"),
        ({"contactIds": [str(uuid4())]}, "contactIds"),
        ({"audienceId": None, "contactIds": "x"}, "contactIds"),
        ({"audienceId": None, "contactIds": [5]}, "contactIds.0"),
    ],
)
def test_bad_input_makes_no_program(api: Api, sender: SenderId, audience: Audience, change: dict, field: str):
    body = {"name": "Sale", "messageTemplate": "Hi", "senderId": str(sender.pk), "audienceId": str(audience.pk)}
    response = api.post(PROGRAMS, {**body, **change})
    assert response.status_code == 400
    assert field in response.json()["fieldErrors"]
    assert not SmsProgram.objects.exists()


def test_another_organizations_rows_are_not_there(
    api: Api, other_organization: Organization, sender: SenderId, audience: Audience, draft: dict[str, Any]
):
    stranger = api.using(factories.make_api_key(other_organization))
    body = {"name": "Sale", "messageTemplate": "Hi", "senderId": str(sender.pk), "audienceId": str(audience.pk)}
    assert stranger.post(PROGRAMS, body).json()["error"] == "SenderIdNotFoundError"
    theirs = factories.make_sender(other_organization, None)
    assert "audienceId" in stranger.post(PROGRAMS, {**body, "senderId": str(theirs.pk)}).json()["fieldErrors"]
    missing = stranger.get(f"{PROGRAMS}/{uuid4()}").json()
    for response in (stranger.get(f"{PROGRAMS}/{draft['id']}"), step(stranger, draft, "launch")):
        assert response.status_code == 404
        assert response.json()["message"] == missing["message"]
    assert stranger.get(f"{PROGRAMS}/no-uuid").status_code == 400
    assert stranger.get(PROGRAMS).json()["data"] == []


def test_an_empty_audience_is_not_launched(api: Api, draft: dict[str, Any]):
    Contact.objects.update(deleted_at=Now())
    response = step(api, draft, "launch")
    assert response.status_code == 400
    assert "no contact" in response.json()["message"]


def test_contacts_that_go_before_they_are_written(api: Api, draft: dict[str, Any]):
    step(api, draft, "launch")
    Contact.objects.update(deleted_at=Now())
    work_all()
    done = read(api, draft)
    assert (done["status"], done["reason"]) == ("failed", "no_contacts")


def test_a_gateway_with_a_program_under_way_stays(api: Api, draft: dict[str, Any], sandbox: OrganizationApp):
    step(api, draft, "launch")
    with pytest.raises(Conflict):
        installing.uninstall(app=sandbox)


def test_a_gateway_that_is_switched_off_pauses_it(api: Api, draft: dict[str, Any], sandbox: OrganizationApp):
    step(api, draft, "launch")
    assert work.do_next(threading.Event())
    installing.change(app=sandbox, is_enabled=False)
    work_all()
    assert read(api, draft)["reason"] == "no_app"
    assert BulkJob.objects.get().status == JobStatus.PAUSED


def test_who_may_launch(anonymous: Api, api: Api, organization: Organization, draft: dict[str, Any]):
    sends = api.using(factories.make_api_key(organization, scopes=("read", "send")))
    assert sends.get(PROGRAMS).status_code == 200
    assert step(sends, draft, "launch").status_code == 403
    operator = factories.make_user(organization, role=Role.OPERATOR)
    login = {"email": operator.email, "password": factories.PASSWORD}
    session = anonymous.using(anonymous.post("/api/v1/auth/login", login).json()["token"])
    assert step(session, draft, "launch").status_code == 403
    assert step(anonymous, draft, "launch").status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_two_launches_at_once_are_one(api: Api, organization: Organization, draft: dict[str, Any]):
    program = SmsProgram.objects.get()
    barrier, results = threading.Barrier(4), []

    def launch() -> None:
        try:
            barrier.wait()
            programs.launch(program=program)
            results.append("launched")
        except Conflict:
            results.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["launched", "refused", "refused", "refused"]
    assert BulkJob.objects.count() == 1


def test_a_number_that_changes_hands_meanwhile_is_texted_once(api: Api, draft: dict[str, Any], monkeypatch):
    """One contact is written, then gives its number to another that comes later."""
    monkeypatch.setattr(programs, "_BATCH", 1)
    step(api, draft, "launch")
    job = leases.take()
    assert job is not None
    stop = threading.Event()
    stop.set()
    programs.write(job, stop)
    first, second, _ = Contact.objects.order_by("pk")
    number = first.primary_phone
    Contact.objects.filter(pk=first.pk).update(primary_phone=factories.mobile())
    Contact.objects.filter(pk=second.pk).update(primary_phone=number)
    BulkJob.objects.update(work_expires_at=Now())
    work_all()
    assert SmsLog.objects.filter(recipient=number).count() == 1
    done = read(api, draft)
    assert done["progress"] == {"sent": 2, "failed": 1, "pending": 0, "unknown": 0, "total": 3}
    assert [(failure["phone"], failure["reason"]) for failure in done["failures"]] == [(number, "same_number")]


def test_an_audience_stays_while_its_messages_are_written(api: Api, draft: dict[str, Any], audience: Audience):
    step(api, draft, "launch")
    url = f"/api/audience/{audience.pk}"
    assert api.delete(url).status_code == 409
    work_all()
    assert api.delete(url).status_code == 204
    assert read(api, draft)["progress"]["sent"] == 3


def test_a_change_to_nobody_is_refused(api: Api, draft: dict[str, Any]):
    nobody: list[dict[str, Any]] = [{"audienceId": None}, {"contactIds": []}]
    for body in nobody:
        assert api.put(f"{PROGRAMS}/{draft['id']}", body).status_code == 400
    assert read(api, draft)["audienceId"] == draft["audienceId"]


def test_what_the_platform_pays_is_not_shown(
    api: Api, organization: Organization, other_organization: Organization, install: Callable, audience: Audience
):
    platform = install(other_organization, "sandbox-sms")
    shared = factories.make_sender(None, platform)
    factories.top_up(organization, "10")
    body = {"name": "Lent", "messageTemplate": "Hi", "senderId": str(shared.pk), "audienceId": str(audience.pk)}
    program = api.post(PROGRAMS, body).json()
    step(api, program, "launch")
    work_all()
    SmsLog.objects.update(provider_cost=Decimal("0.026"), provider_currency="SAR")
    log = SmsLog.objects.first()
    assert log is not None
    shown = api.get(f"/api/v1/sms/logs/{log.pk}").json()
    assert (shown["cost"], shown["currency"], shown["attempts"][0]["response"]) == (None, "", None)
    assert api.get(f"/api/v1/sms/outbox/{log.queued_id}").json()["response"] is None
    OrganizationApp.objects.update(organization=organization)
    own = api.get(f"/api/v1/sms/logs/{log.pk}").json()
    assert (own["cost"], own["currency"]) == ("0.02600", "SAR")
