"""`manage.py bootstrap`: what a new installation, and everybody who scripts one, runs first."""

import io
import json
import threading
from decimal import Decimal

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from linkit import tokens
from linkit.models import Membership, Organization, Role, Token, User
from sms_providers import installing
from sms_providers.models import OrganizationApp
from tests import factories
from tests.conftest import Api

PASSWORD = "three green parrots"


def bootstrap(**options):
    """Run the command with --json and return what it printed."""
    printed = io.StringIO()
    given = {"organization": "Acme", "email": "amal@example.com", "as_json": True, **options}
    call_command("bootstrap", stdout=printed, **given)
    return json.loads(printed.getvalue())


def test_the_json_has_exactly_these_fields(db, settings):
    settings.PUBLIC_URL = "https://sms.example.org"
    access = bootstrap()
    organization = Organization.objects.get()
    assert access == {
        "organization_id": str(organization.pk),
        "email": "amal@example.com",
        "password": access["password"],
        "api_key": access["api_key"],
        "console_url": "https://sms.example.org/admin/",
    }
    assert organization.name == "Acme"


def test_everything_printed_works(db, anonymous: Api):
    access = bootstrap(sandbox=True)
    login = anonymous.post("/api/v1/auth/login", {"email": access["email"], "password": access["password"]})
    assert login.status_code == 200
    assert login.json()["user"]["organization_id"] == access["organization_id"]
    me = anonymous.using(access["api_key"]).get("/api/v1/auth/me")
    assert me.status_code == 200
    assert me.json()["organization_id"] == access["organization_id"]
    assert set(Token.objects.api_keys().get().scopes) == {"read", "send", "manage"}


def test_words_for_people(db):
    printed = io.StringIO()
    call_command("bootstrap", organization="Acme", email="amal@example.com", stdout=printed)
    lines = dict(line.split(":", 1) for line in printed.getvalue().splitlines())
    assert list(lines) == ["organization id", "email", "password", "api key", "console url"]
    assert lines["api key"].strip().startswith("lk_live_")


def test_a_repeat_changes_nothing_and_shows_the_same(db):
    first = bootstrap(sandbox=True)
    assert bootstrap(organization=" aCME ", email="AMAL@example.com", sandbox=True) == first
    assert [model.objects.count() for model in (Organization, User, Membership, Token, OrganizationApp)] == [1] * 5


def test_the_first_person_is_superuser_and_later_ones_are_staff(db):
    bootstrap()
    bootstrap(organization="Beta", email="badr@example.com")
    amal, badr = User.objects.order_by("email")
    assert (amal.is_superuser, amal.is_staff) == (True, True)
    assert (badr.is_superuser, badr.is_staff) == (False, True)
    assert set(Membership.objects.values_list("user__email", "organization__name", "role")) == {
        ("amal@example.com", "Acme", Role.ADMIN),
        ("badr@example.com", "Beta", Role.ADMIN),
    }


def test_one_person_may_have_two_organizations(db):
    first, second = bootstrap(), bootstrap(organization="Beta")
    assert first["organization_id"] != second["organization_id"]
    assert first["api_key"] != second["api_key"]
    assert first["password"] == second["password"]
    assert User.objects.get().memberships.count() == 2


def test_a_member_becomes_admin_with_console_access(db):
    user = factories.make_user(factories.make_organization("Acme"), email="amal@example.com", role=Role.VIEWER)
    bootstrap()
    user.refresh_from_db()
    assert user.is_staff
    assert not user.is_superuser
    assert user.memberships.get().role == Role.ADMIN


def test_the_exact_name_wins_over_other_capitals(db):
    factories.make_organization("acme")
    exact = factories.make_organization("Acme")
    assert bootstrap()["organization_id"] == str(exact.pk)


def test_a_password_that_was_changed_is_not_shown(db):
    bootstrap()
    user = User.objects.get()
    user.set_password(PASSWORD)
    user.save()
    assert bootstrap()["password"] is None
    assert authenticate(username=user.email, password=PASSWORD), "the repeat must not set it back"


def test_a_given_password_is_set(db):
    assert bootstrap(password=PASSWORD)["password"] == PASSWORD
    assert authenticate(username="amal@example.com", password=PASSWORD)
    before = User.objects.get().password
    bootstrap(password=PASSWORD)
    assert User.objects.get().password == before, "the same password is not hashed anew: sessions would end"
    bootstrap(password=PASSWORD + " again")
    assert not authenticate(username="amal@example.com", password=PASSWORD)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"password": "12345"}, "--password: This password is too short"),
        ({"password": "amal@example.com"}, "--password: The password is too similar"),
        ({"email": "amal"}, "--email: Enter a valid email address"),
        ({"organization": "  "}, "--organization: This field cannot be blank"),
        ({"organization": "x" * 121}, "--organization: Ensure this value has at most 120"),
    ],
)
def test_bad_input_is_refused_in_words_and_nothing_is_made(db, options, said):
    with pytest.raises(CommandError, match=said):
        bootstrap(**options)
    assert not Organization.objects.exists()
    assert not User.objects.exists()


def test_a_weak_password_leaves_the_old_one(db):
    first = bootstrap()
    with pytest.raises(CommandError, match="--password"):
        bootstrap(password="12345")
    assert bootstrap() == first


def test_a_revoked_key_is_replaced_and_stays_revoked(db, anonymous: Api):
    former = bootstrap()["api_key"]
    tokens.revoke(Token.objects.get())
    new = bootstrap()["api_key"]
    assert new != former
    assert anonymous.using(former).get("/api/v1/auth/me").status_code == 401
    assert bootstrap()["api_key"] == new


def test_sandbox_only_when_asked_for_and_again_after_an_uninstall(db):
    bootstrap()
    assert not OrganizationApp.objects.exists()
    bootstrap(sandbox=True)
    app = OrganizationApp.objects.get()
    assert (app.slug, app.is_usable) == ("sandbox-sms", True)
    installing.uninstall(app=app)
    bootstrap(sandbox=True)
    app.refresh_from_db()
    assert app.is_usable


def test_a_disabled_sandbox_stays_disabled(db):
    bootstrap(sandbox=True)
    OrganizationApp.objects.update(is_enabled=False)
    bootstrap(sandbox=True)
    assert not OrganizationApp.objects.get().is_enabled


def test_what_is_switched_off_is_said(db):
    bootstrap()
    User.objects.update(is_active=False)
    Organization.objects.update(is_active=False)
    said = io.StringIO()
    bootstrap(stderr=said)
    assert "amal@example.com is switched off" in said.getvalue()
    assert "Acme is switched off" in said.getvalue()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_one_of_each_and_one_superuser():
    found, emails = [], ["amal@example.com", "amal@example.com", "badr@example.com", "badr@example.com"]
    names = ["Acme", "ACME", "acme", "aCme"]
    barrier = threading.Barrier(len(emails))

    def run(name, email):
        try:
            barrier.wait()
            found.append(bootstrap(organization=name, email=email, sandbox=True))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in zip(names, emails, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(emails)
    assert len({access["api_key"] for access in found}) == 1
    assert Organization.objects.count() == Token.objects.count() == OrganizationApp.objects.count() == 1
    assert User.objects.count() == 2
    assert User.objects.filter(is_superuser=True).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_not_migrated_is_said(monkeypatch):
    from django.db.migrations.executor import MigrationExecutor

    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, targets: [("something", False)])
    with pytest.raises(CommandError, match="not migrated"):
        bootstrap()


def test_the_sandbox_comes_with_a_sender_id_and_credits_as_asked(db, anonymous: Api):
    """A contact can be texted at once; a repeat adds nothing."""
    access = bootstrap(sandbox=True, credits=Decimal(1000))
    assert bootstrap(sandbox=True, credits=Decimal(1000))["api_key"] == access["api_key"]
    api = anonymous.using(access["api_key"])
    assert api.get("/api/credits/balance").json()["balance"] == 1000
    (sender,) = api.get("/api/sender-ids/available").json()["data"]
    assert (sender["senderId"], sender["isShared"], sender["country"]) == ("Sandbox", False, "SA")


@pytest.mark.parametrize("credits", ["-1", "0", "1E+20"])
def test_an_opening_balance_that_cannot_be_meant_is_refused(db, credits: str):
    with pytest.raises(CommandError, match="--credits"):
        bootstrap(credits=Decimal(credits))


def test_nobody_gets_credits_unasked(db, anonymous: Api):
    """They are real: a shared sender ID would send for them."""
    api = anonymous.using(bootstrap(sandbox=True)["api_key"])
    assert api.get("/api/credits/balance").json()["balance"] == 0


def test_without_the_sandbox_there_is_no_sender_id(db, anonymous: Api):
    api = anonymous.using(bootstrap()["api_key"])
    assert api.get("/api/sender-ids/available").json()["data"] == []
