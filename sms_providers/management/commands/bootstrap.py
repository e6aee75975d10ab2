"""`manage.py bootstrap`: an organization that can be used at once. It is here because it installs an app."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from billing import ledger
from linkit import tokens
from linkit.errors import LinkitError
from linkit.models import Membership, Organization, Role, User
from sms_providers import installing
from sms_providers.models import SANDBOX, SenderId

_LOCK = 0x6C6B7362  # of this command, among all advisory locks of the database
_TRIES = 3
_FIRST_PASSWORD_CHARACTERS = 20


@dataclass(frozen=True)
class Access:
    """What is printed. `password` is None once the person has chosen another one, which nobody can show."""

    organization_id: str
    email: str
    password: str | None
    api_key: str
    console_url: str


class Command(BaseCommand):
    help = (
        "Make an organization with an administrator and an API key, and print how to log in and call."
        " Repeat it as often as you like: what is there already is kept and shown again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", required=True, metavar="NAME", help="Found whatever its capitals.")
        parser.add_argument("--email", required=True, help="The administrator's e-mail address, to log in with.")
        parser.add_argument("--password", help="The administrator's password. Without it a first one is made.")
        parser.add_argument(
            "--sandbox",
            action="store_true",
            help="Install the sandbox app, with a sender ID: no account, no SMS.",
        )
        parser.add_argument("--credits", type=Decimal, help="The opening balance, once. They are real credits.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON object.")

    def handle(
        self,
        *,
        organization: str,
        email: str,
        password: str | None = None,
        sandbox: bool = False,
        credits: Decimal | None = None,
        as_json: bool = False,
        **options: Any,
    ) -> None:
        _require_migrations()
        access = self._bootstrap(
            name=organization.strip(), email=email.strip(), password=password, sandbox=sandbox, credits=credits
        )
        if as_json:
            self.stdout.write(json.dumps(asdict(access)))
            return
        shown = asdict(access) | {"password": access.password or "(changed since, so it cannot be shown)"}
        for label, value in shown.items():
            self.stdout.write(f"{label.replace('_', ' ') + ':':<17}{value}")

    def _bootstrap(
        self, *, name: str, email: str, password: str | None, sandbox: bool, credits: Decimal | None
    ) -> Access:
        for tries_left in reversed(range(_TRIES)):
            try:
                with transaction.atomic():
                    _wait_for_turn()
                    return self._make(name=name, email=email, password=password, sandbox=sandbox, credits=credits)
            except IntegrityError:
                # Somebody made the same thing in the console at this moment; it is found next time.
                if not tries_left:
                    raise
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
        raise AssertionError("the last try returns or raises")

    def _make(self, *, name: str, email: str, password: str | None, sandbox: bool, credits: Decimal | None) -> Access:
        organization = _organization(name)
        user = _user(email, password)
        Membership.objects.update_or_create(user=user, organization=organization, defaults={"role": Role.ADMIN})
        if sandbox:
            _install_sandbox(organization)
        if credits is not None:
            _open_account(organization, credits)
        if not user.is_active:
            self.stderr.write(f"{user.email} is switched off and cannot log in.")
        if not organization.is_active:
            self.stderr.write(f"{organization.name} is switched off: its keys and people are refused.")
        return Access(
            organization_id=str(organization.pk),
            email=user.email,
            password=_valid_password(user, password),
            api_key=tokens.bootstrap_api_key(organization=organization, created_by=user),
            console_url=f"{settings.PUBLIC_URL}/admin/",
        )


def _install_sandbox(organization: Organization) -> None:
    """Install the sandbox with a sender ID that sends through it, unless it is there already."""
    try:
        app = installing.install(organization=organization, slug=SANDBOX, credentials={})
    except installing.AlreadyInstalled:
        return
    SenderId.objects.create(
        organization=organization,
        sender_id="Sandbox",
        country=organization.default_region,
        description="Simulated: nothing leaves.",
        app=app,
    )


def _open_account(organization: Organization, amount: Decimal) -> None:
    """Give the opening balance, unless the account has been moved before."""
    if ledger.open_account(organization).transactions.exists():
        return
    try:
        ledger.top_up(organization=organization, amount=amount, description="Opening balance")
    except LinkitError as error:
        raise CommandError(f"--credits: {error.message}") from None


def _require_migrations() -> None:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise CommandError(f"The database does not answer: {str(error).strip()}") from None
    if missing:
        raise CommandError("The database is not migrated. Run `manage.py migrate` first.")


def _wait_for_turn() -> None:
    """Let one of these commands run after the other, or two could each make the installation's first user.

    On SQLite the transaction itself does that: it takes the write lock when it begins.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _organization(name: str) -> Organization:
    """Return the organization of this name, or failing that of this name in other capitals, or else a new one."""
    named = Organization.objects.filter(name=name).first() or Organization.objects.filter(name__iexact=name).first()
    if named is not None:
        return named
    organization = Organization(name=name)
    try:
        organization.full_clean(validate_unique=False)
    except ValidationError as error:
        raise CommandError(f"--organization: {' '.join(error.messages)}") from None
    organization.save(force_insert=True)
    return organization


def _first_password(email: str) -> str:
    # Derived, so that a repeated command can show it although only its hash is stored.
    return tokens.derived_secret(purpose=f"password:{email}", length=_FIRST_PASSWORD_CHARACTERS)


def _user(email: str, password: str | None) -> User:
    """Return the person with this address, who may log in to the console, with `password` if one is given.

    The first person of the installation becomes its superuser; nobody else could make one.
    """
    user = User.objects.filter(email__iexact=email).first()
    is_new = user is None
    if user is None:
        user = User(email=User.objects.normalize_email(email), is_superuser=not User.objects.exists())
    if password is not None and (is_new or not user.check_password(password)):
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(f"--password: {' '.join(error.messages)}") from None
        user.set_password(password)
    elif is_new:
        user.set_password(_first_password(user.email))
    user.is_staff = True
    if is_new:
        try:
            user.full_clean(validate_unique=False, validate_constraints=False)
        except ValidationError as error:
            raise CommandError(f"--email: {' '.join(error.messages)}") from None
        user.save(force_insert=True)
    else:
        user.save(update_fields=["password", "is_staff"])
    return user


def _valid_password(user: User, password: str | None) -> str | None:
    """Return the password that was given, or the first one while it still opens the door."""
    if password is not None:
        return password
    first = _first_password(user.email)
    return first if user.check_password(first) else None
