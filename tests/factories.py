"""Test objects, made through the product's own verbs where there is one."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

from billing import ledger
from contacts.models import Contact
from linkit import tokens
from linkit.models import Membership, Organization, Role, User
from sms_providers import catalogue, installing
from sms_providers.models import OrganizationApp, SenderId

PASSWORD = "a fairly long passphrase"
ALL_SCOPES = ("read", "send", "manage")

# Credentials that the local gateway takes (tests/gateway) and that are well-formed for the real provider.
CREDENTIALS: dict[str, dict[str, str]] = {
    slug: adapter.example_credentials() for slug, adapter in catalogue.adapters().items()
}

_numbers = itertools.count(1)


def mobile() -> str:
    """Return a Saudi mobile number in E.164 that nobody else in this process has been given."""
    return f"+9665{next(_numbers):08d}"


def make_organization(name: str = "", **fields: Any) -> Organization:
    return Organization.objects.create(name=name or f"Organization {next(_numbers)}", **fields)


def make_user(
    organization: Organization | None = None,
    *,
    role: str = Role.OPERATOR,
    email: str = "",
    password: str = PASSWORD,
    **fields: Any,
) -> User:
    """Make a person, and a member of `organization` when one is given."""
    user = User.objects.create_user(email or f"user{next(_numbers)}@example.com", password, **fields)
    if organization is not None:
        Membership.objects.create(user=user, organization=organization, role=role)
    return user


def make_api_key(
    organization: Organization, *, scopes: tuple[str, ...] = ALL_SCOPES, is_test: bool = False, **fields: Any
) -> str:
    """Make an API key and return its secret."""
    name = fields.pop("name", f"key {next(_numbers)}")
    _, secret = tokens.issue_api_key(organization=organization, name=name, scopes=scopes, is_test=is_test, **fields)
    return secret


#: The arguments of `installing.install` that are no credentials.
_INSTALLATION = {"default_sender", "is_enabled", "priority", "max_per_second"}


def install(organization: Organization, slug: str, **given: Any) -> OrganizationApp:
    """Install an app with credentials that work at the local gateway.

    `given` changes credentials by field name (None leaves one out), or sets priority, default_sender, ....
    """
    options = {name: given.pop(name) for name in _INSTALLATION & set(given)}
    credentials = {**CREDENTIALS[slug], **given}
    credentials = {name: value for name, value in credentials.items() if value is not None}
    return installing.install(organization=organization, slug=slug, credentials=credentials, **options)


def make_sender(organization: Organization | None, app: OrganizationApp | None, **fields: Any) -> SenderId:
    """Make a sender ID that sends through `app`; without an organization it is shared."""
    given = {"sender_id": "MyBrand", "country": "SA", **fields}
    return SenderId.objects.create(organization=organization, app=app, **given)


def make_contact(organization: Organization, primary_phone: str = "", **fields: Any) -> Contact:
    return Contact.objects.create(organization=organization, primary_phone=primary_phone or mobile(), **fields)


def top_up(organization: Organization, amount: str | Decimal) -> None:
    """Give an organization credits."""
    ledger.top_up(organization=organization, amount=Decimal(amount))
