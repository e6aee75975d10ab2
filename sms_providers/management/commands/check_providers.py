"""Ask every installed app's provider whether the credentials work."""

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from linkit import clock
from linkit.errors import LinkitError
from linkit.models import Organization
from sms_providers import installing
from sms_providers.installing import Verdict
from sms_providers.models import OrganizationApp


class Command(BaseCommand):
    help = (
        "Test the credentials of every installed app and say in words what is wrong. Sends nothing."
        " Exit code 0: every app that is switched on works; 1: one does not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", help="Its name; default: all.")
        parser.add_argument("--json", action="store_true", help="One JSON list, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        apps = OrganizationApp.objects.installed().select_related("organization").defer("credentials")
        if name := options["organization"]:
            if not Organization.objects.filter(name__iexact=name).exists():
                raise CommandError(f"There is no organization named {name!r}.")
            apps = apps.filter(organization__name__iexact=name)
        found = []
        for app in apps.order_by("organization__name", "priority", "installed_at", "pk"):
            verdict = _test(app)
            found.append(_row(app, verdict))
            if not options["json"]:
                self.stdout.write(_line(app, verdict))
        if options["json"]:
            self.stdout.write(json.dumps(found, ensure_ascii=False, indent=2))
        elif not found:
            self.stdout.write("No app is installed.")
        failed = sum(row["enabled"] and not row["working"] for row in found)
        if failed:
            raise CommandError(f"{failed} of {len(found)} installed apps would not send.")


def _test(app: OrganizationApp) -> Verdict:
    """Test one app; what keeps it from being asked is a verdict too, and stops no other."""
    try:
        return installing.test(app=app)
    except LinkitError as error:
        return Verdict(False, error.message, error.reason, clock.now())
    except ImproperlyConfigured as error:
        return Verdict(False, f"Its credentials cannot be read. {error}", "credentials_unreadable", clock.now())


def _row(app: OrganizationApp, verdict: Verdict) -> dict[str, Any]:
    return {
        "organization": app.organization.name,
        "id": app.pk,
        "slug": app.slug,
        "enabled": app.is_enabled,
        "working": verdict.is_working,
        "reason": verdict.reason,
        "message": verdict.message,
        "checked_at": verdict.checked_at.isoformat(),
    }


def _line(app: OrganizationApp, verdict: Verdict) -> str:
    mark = "ok  " if verdict.is_working else "FAIL"
    off = "" if app.is_enabled else " (switched off)"
    return f"{mark} {app.organization.name}: {app.slug}{off}: {verdict.message}"
