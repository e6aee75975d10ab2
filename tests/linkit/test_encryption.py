"""Secrets in the database: ciphertext, readable with any of the keys and with no other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from linkit.checks import encryption_keys_are_usable
from linkit.encryption import EncryptedJSONField
from sms_providers.models import OrganizationApp

SECRET = "s3cret-كلمة-🔑"


@pytest.fixture
def app(install: Callable[..., OrganizationApp]) -> OrganizationApp:
    return install("mora-sms", username=SECRET)


def column(app: OrganizationApp) -> str:
    """Return the column as the database has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM sms_providers_organizationapp WHERE id = %s", [app.pk])
        (stored,) = cursor.fetchone()
    return str(stored)


def credentials(app: OrganizationApp) -> dict[str, str]:
    found: dict[str, str] = OrganizationApp.objects.get(pk=app.pk).credentials
    return found


def test_the_column_holds_ciphertext(app: OrganizationApp):
    stored = column(app)
    assert stored.startswith("gAAAA")
    for part in (SECRET, "api_key", "username", json.dumps(SECRET)[1:-1]):
        assert part not in stored
    assert credentials(app)["username"] == SECRET


def test_the_same_secret_never_looks_the_same(app: OrganizationApp):
    before = column(app)
    app.save()
    assert column(app) != before
    assert credentials(app)["username"] == SECRET


def test_a_new_key_in_front_reads_the_old_and_writes_the_new(app: OrganizationApp, settings: Settings):
    (old,) = settings.FIELD_ENCRYPTION_KEYS
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    assert credentials(app)["username"] == SECRET
    OrganizationApp.objects.get(pk=app.pk).save()
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert credentials(app)["username"] == SECRET
    settings.FIELD_ENCRYPTION_KEYS = [old]
    with pytest.raises(ImproperlyConfigured):
        credentials(app)


def test_a_wrong_key_raises_and_says_what_to_do(app: OrganizationApp, settings: Settings):
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(ImproperlyConfigured, match="FIELD_ENCRYPTION_KEYS"):
        credentials(app)


@pytest.mark.parametrize("stored", ["", "plain text", '{"api_key": "x"}', "gAAAAA", "é"])
def test_what_is_no_ciphertext_raises(app: OrganizationApp, stored: str):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sms_providers_organizationapp SET credentials = %s WHERE id = %s", [stored, app.pk])
    with pytest.raises(ImproperlyConfigured):
        credentials(app)


def test_a_dump_holds_no_secret(app: OrganizationApp):
    dumped = serializers.serialize("json", OrganizationApp.objects.all())
    assert SECRET not in dumped
    assert json.dumps(SECRET)[1:-1] not in dumped


def test_null_stays_null():
    field = EncryptedJSONField()
    assert field.get_prep_value(None) is None
    assert field.from_db_value(None, None, connection) is None


@pytest.mark.parametrize("value", [{}, [], "", 0, {"a": {"b": [1, None, "ü"]}}])
def test_any_json_comes_back_as_it_was(value: object):
    field = EncryptedJSONField()
    assert field.from_db_value(field.get_prep_value(value), None, connection) == value


def test_the_start_fails_without_a_usable_key(settings: Settings):
    assert encryption_keys_are_usable(None) == []
    for keys in ([], ["short"], [Fernet.generate_key().decode(), "not base64 at all, and not 32 bytes long"]):
        settings.FIELD_ENCRYPTION_KEYS = keys
        (found,) = encryption_keys_are_usable(None)
        assert found.id == "linkit.E001"
        assert not any(key and key in found.msg for key in keys)
