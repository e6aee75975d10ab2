"""Install, change, uninstall and test an app: what the App Store's doors call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from linkit import clock
from linkit.errors import Conflict, InvalidInput, Missing
from linkit.models import Organization
from sms_providers import balances, catalogue, circuits, signals
from sms_providers.adapters.base import NotOffered, ProviderAdapter, ProviderRefused
from sms_providers.models import OrganizationApp
from sms_providers.reasons import REASONS, Kind, noted
from sms_providers.results import Result
from sms_providers.transport import Budget


class AlreadyInstalled(Conflict):
    reason = "already_installed"


def _clean(slug: str, credentials: Mapping[str, Any]) -> dict[str, str]:
    adapter = catalogue.find(slug)
    clean, wrong = adapter.clean_credentials(credentials)
    if wrong:
        fields = {f"credentials.{name}": texts for name, texts in wrong.items()}
        first = next(iter(wrong.values()))[0]
        raise InvalidInput(" ".join([first, _("Nothing was saved.")]), fields=fields, reason="invalid_credentials")
    return clean


def install(
    *,
    organization: Organization,
    slug: str,
    credentials: Mapping[str, Any],
    default_sender: str = "",
    is_enabled: bool = True,
    priority: int = 100,
    max_per_second: int | None = None,
    balance_alert: Decimal | None = None,
    is_metered: bool = False,
) -> OrganizationApp:
    """Install an app with its credentials. One that was installed before keeps its id.

    `is_metered` is not kept either, nor what was left at the provider: the credentials are others now.

    Raises `InvalidInput` for an unknown slug or bad credentials and `AlreadyInstalled`.
    """
    settings_ = {
        "credentials": _clean(slug, credentials),
        "default_sender": default_sender,
        "is_enabled": is_enabled,
        "priority": priority,
        "max_per_second": max_per_second,
        "balance_alert": balance_alert,
        "is_metered": is_metered,
    }
    taken = AlreadyInstalled(f"{slug} is already installed; change it with PATCH /api/v1/apps/{slug}.")
    try:
        with transaction.atomic():
            rows = OrganizationApp.objects.defer("credentials").select_for_update()
            former = rows.filter(organization=organization, slug=slug).first()
            if former is None:
                app = OrganizationApp.objects.create(organization=organization, slug=slug, **settings_)
            elif former.uninstalled_at is None:
                raise taken
            else:
                app = former
                for name, value in settings_.items():
                    setattr(app, name, value)
                app.installed_at, app.uninstalled_at, app.last_sync_at = clock.now(), None, None
                balances.forget(app)
                app.save()
    except IntegrityError:
        raise taken from None
    app.refresh_from_db()  # installed_at is the database's
    return app


def find(*, organization: Organization, slug: str) -> OrganizationApp:
    """Return the installed app, enabled or not. Raises `Missing`."""
    app = OrganizationApp.objects.installed().filter(organization=organization, slug=slug).first()
    if app is None:
        raise Missing(f"The app '{slug}' is not installed.")
    return app


def _locked(app: OrganizationApp) -> OrganizationApp:
    """Return the row as it is now, locked in the caller's transaction. Raises `Missing` once it is uninstalled."""
    current = OrganizationApp.objects.defer("credentials").select_for_update().get(pk=app.pk)
    if current.uninstalled_at is not None:
        raise Missing(_("The app '%(app)s' is not installed.") % {"app": app.slug})
    return current


def change(*, app: OrganizationApp, credentials: Mapping[str, Any] | None = None, **changes: Any) -> OrganizationApp:
    """Change an installation: credentials, and `default_sender`, `is_enabled`, `priority`, `max_per_second`,
    `balance_alert`.

    And `is_metered`, which is a superuser's to change: the caller sees to that.

    Credentials that are not given stay, unless no key decrypts them; an empty one is removed. Raises `InvalidInput`,
    and `Missing` when it has been uninstalled meanwhile.
    """
    with transaction.atomic():
        current = _locked(app)
        # Loaded in any case: what was read is encrypted with the newest key when it is saved.
        stored = current.readable_credentials
        if credentials is not None:
            # What no key decrypts is entered anew. A field that the app has no more is left behind.
            known = {field.name for field in catalogue.find(app.slug).credential_fields}
            kept = {name: value for name, value in (stored or {}).items() if name in known}
            current.credentials = _clean(app.slug, {**kept, **credentials})
            if current.credentials != stored:  # another account's, perhaps
                balances.forget(current)
        for name, value in changes.items():
            setattr(current, name, value)
        current.save()
    circuits.close(app.pk)  # what kept it from working may be mended: nobody need wait to try
    return current


def uninstall(*, app: OrganizationApp) -> None:
    """Wipe the credentials and keep the row for history. Raises `Conflict` while messages are pinned to it."""
    with transaction.atomic():
        current = _locked(app)
        signals.app_uninstalling.send(OrganizationApp, app=current)
        current.credentials, current.is_enabled, current.uninstalled_at = {}, False, clock.now()
        balances.forget(current)
        current.save()
    catalogue.forget(app)


@dataclass(frozen=True)
class Verdict:
    """Whether an installation's credentials work, in words. None: the provider has no way to tell."""

    is_working: bool | None
    message: str
    reason: str
    checked_at: datetime


def test(*, app: OrganizationApp) -> Verdict:
    """Ask the provider for the balance, or else the sender names, and say what the answer tells. Sends nothing.

    The words are in the reader's language, so they are not for the database. Raises `InvalidInput` for an app that is
    not in the catalogue any more.
    """
    kind = catalogue.find(app.slug)
    credentials = app.readable_credentials
    if credentials is None:
        message = _("Its stored credentials cannot be read: no key of FIELD_ENCRYPTION_KEYS decrypts them.")
        return Verdict(False, message, "credentials_unreadable", clock.now())
    wrong = kind.clean_credentials(credentials)[1]
    if wrong:  # the app wants others than when it was installed
        problems = (text for texts in wrong.values() for text in texts)
        message = " ".join([_("The stored credentials need correcting."), *problems])
        return Verdict(False, message, "invalid_credentials", clock.now())
    adapter = catalogue.adapter_for(app)
    can, budget = adapter.capabilities, Budget(limit=settings.PROVIDER_CALL_LIMIT_WEB)
    ends_at = budget.ends_at
    unanswered = []
    for is_offered, question in ((can.balance, _balance_in_words), (can.sender_names, _sender_names_in_words)):
        if not is_offered:
            continue
        try:
            found = question(app, adapter, budget.until(ends_at))
        except NotOffered as refusal:
            unanswered.append(noted(refusal.result.reason, refusal.result.message))
        except ProviderRefused as refusal:
            return Verdict(False, _why(refusal.result), refusal.result.reason, clock.now())
        else:
            note_answer(app)
            return Verdict(True, " ".join([_("The credentials work."), found]), "working", clock.now())
    no_call = _("%(app)s has no call that tests credentials.") % {"app": adapter.name}
    why = unanswered[0] if unanswered else no_call
    message = " ".join([why, _("To be sure, send a message to yourself.")])
    return Verdict(None, message, "not_testable", clock.now())


def _why(result: Result) -> str:
    """Return the provider's no in words, with what to do about it when it is the account's."""
    reason = REASONS.get(result.reason)
    step = reason.advice if reason and reason.kind is Kind.ACCOUNT else ""
    said = noted(result.reason, result.message) or _("The provider refused.")
    return f"{said} {step}".strip()


def _balance_in_words(app: OrganizationApp, adapter: ProviderAdapter, budget: Budget) -> str:
    balance = adapter.balance(budget)
    if app.slug in balances.telling():
        balances.keep(app, balance)
    left = f"{balance.amount.normalize():f} {balance.currency or _(balance.unit)}".strip()
    told = _("Balance: %(balance)s.") % {"balance": left}
    return f"{told} {_(balance.note)}".strip()


def _sender_names_in_words(app: OrganizationApp, adapter: ProviderAdapter, budget: Budget) -> str:
    names = adapter.sender_names(budget)
    if not names:
        return _("Sender names: none.")
    return _("Sender names: %(names)s.") % {"names": _(", ").join(names)}


def note_answer(app: OrganizationApp) -> None:
    """Remember that the provider has just answered a question: it works."""
    OrganizationApp.objects.filter(pk=app.pk).update(last_sync_at=Now())
    circuits.close(app.pk)
