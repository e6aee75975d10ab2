"""`manage.py check_providers`: every installation's credentials, in words, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import responses
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import override_settings

from linkit.models import Organization
from sms_providers import catalogue
from sms_providers.models import SANDBOX, OrganizationApp, SmsLog
from tests import factories
from tests.gateway import Gateway

Install = Callable[..., OrganizationApp]


def check(capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[str, int]:
    """Run the command and return what it printed, with its exit code."""
    try:
        call_command("check_providers", **options)
    except CommandError as failure:
        return capsys.readouterr().out, failure.returncode
    return capsys.readouterr().out, 0


def test_every_app_of_the_catalogue_works_with_good_credentials(
    organization: Organization, install: Install, gateway: Gateway, capsys: pytest.CaptureFixture[str]
):
    for slug in catalogue.adapters():
        install(slug)
    printed, code = check(capsys)
    assert code == 0
    lines = printed.splitlines()
    assert len(lines) == len(catalogue.adapters())
    for slug in catalogue.adapters():
        assert any(line.startswith(f"ok   Acme: {slug}: The credentials work.") for line in lines), slug
    assert not SmsLog.objects.exists()
    assert gateway.journal.entries == []


@pytest.mark.parametrize("slug", [slug for slug in catalogue.adapters() if slug != SANDBOX])
def test_wrong_credentials_are_said_in_words_and_never_shown(
    slug: str, install: Install, gateway: Gateway, capsys: pytest.CaptureFixture[str]
):
    secret = {field.name: "Wrong-key-0" for field in catalogue.find(slug).credential_fields if field.is_secret}
    given = {name: value for name, value in secret.items() if name in factories.CREDENTIALS[slug]}
    install(slug, **given)
    printed, code = check(capsys, json=True)
    assert code == 1
    (row,) = json.loads(printed)
    assert (row["organization"], row["slug"], row["working"], row["enabled"]) == ("Acme", slug, False, True)
    assert row["reason"] == "bad_credentials"
    assert " " in row["message"]
    assert "Wrong-key-0" not in printed


def test_one_organization(
    organization: Organization, other_organization: Organization, install: Install, capsys: pytest.CaptureFixture[str]
):
    install("sandbox-sms")
    install(other_organization, "sandbox-sms")
    assert "Stranger" not in check(capsys, organization="acme")[0]
    assert check(capsys)[0].count("sandbox-sms") == 2
    with pytest.raises(CommandError, match="There is no organization"):
        call_command("check_providers", organization="Nobody")


def test_what_cannot_be_asked_stops_no_other(install: Install, gateway: Gateway, capsys: pytest.CaptureFixture[str]):
    broken = install("mora-sms", priority=1)
    old = install("taqnyat-sms", priority=2)
    install("sandbox-sms", priority=3)
    OrganizationApp.objects.filter(pk=old.pk).update(credentials={"sender": "MyBrand"})
    with override_settings(FIELD_ENCRYPTION_KEYS=[Fernet.generate_key().decode()]):
        OrganizationApp.objects.filter(pk=broken.pk).update(credentials={"api_key": "x"})
    printed, code = check(capsys, json=True)
    rows = {row["slug"]: row for row in json.loads(printed)}
    assert code == 1
    assert rows["mora-sms"]["reason"] == "credentials_unreadable"
    assert "FIELD_ENCRYPTION_KEYS" in rows["mora-sms"]["message"]
    assert rows["taqnyat-sms"]["reason"] == "invalid_credentials"
    assert "Bearer token is required" in rows["taqnyat-sms"]["message"]
    assert rows["sandbox-sms"]["working"]


@responses.activate
def test_an_app_that_answers_no_question_is_neither_good_nor_bad(install: Install, capsys: pytest.CaptureFixture[str]):
    install("unifonic-sms")
    for call in ("GetBalance", "GetSenderIDs"):
        responses.post(f"https://el.cloud.unifonic.com/rest/Account/{call}", status=404, body="<html>")
    printed, code = check(capsys)
    assert code == 0
    assert printed.startswith("?    Acme: unifonic-sms: Unifonic does not tell the balance of this account here")
    assert "send a message to yourself" in printed
    (row,) = json.loads(check(capsys, json=True)[0])
    assert (row["working"], row["reason"]) == (None, "not_testable")


def test_what_is_wrong_comes_with_the_next_step(install: Install, gateway: Gateway, capsys: pytest.CaptureFixture[str]):
    install("mora-sms", api_key="wrong")
    assert "Change the app's credentials, then test the connection." in check(capsys)[0]


def test_an_organization_that_is_switched_off_is_left_out(
    organization: Organization, install: Install, capsys: pytest.CaptureFixture[str]
):
    install("sandbox-sms")
    organization.is_active = False
    organization.save()
    assert check(capsys) == ("No app is installed.\n", 0)


def test_an_app_that_is_switched_off_is_tested_and_raises_no_alarm(
    install: Install, settings: Any, capsys: pytest.CaptureFixture[str]
):
    settings.SMS_PROVIDER_BASE_URLS = {"mora-sms": "http://127.0.0.1:1"}
    install("mora-sms", is_enabled=False)
    printed, code = check(capsys)
    assert code == 0
    assert printed.startswith("FAIL Acme: mora-sms (switched off): Mora SMS could not be reached")


def test_an_app_that_left_the_catalogue(install: Install, settings: Any, capsys: pytest.CaptureFixture[str]):
    install("mora-sms")
    settings.SMS_PROVIDERS = ["sms_providers.adapters.sandbox.SandboxSms"]
    printed, code = check(capsys)
    assert (code, printed.startswith("FAIL Acme: mora-sms: There is no SMS app")) == (1, True)


@pytest.mark.django_db
def test_nothing_installed(capsys: pytest.CaptureFixture[str]):
    assert check(capsys) == ("No app is installed.\n", 0)
    assert check(capsys, json=True) == ("[]\n", 0)
