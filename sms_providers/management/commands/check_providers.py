"""Ask every installed app's provider whether the credentials work."""

import json
from typing import Any

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
        " Exit code 1: an app that is switched on did not pass."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", help="Its name; default: all.")
        parser.add_argument("--json", action="store_true", help="One JSON list, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        apps = OrganizationApp.objects.installed().select_related("organization")
        apps = apps.filter(organization__is_active=True)  # others send nothing
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
        failed = sum(row["enabled"] and row["working"] is False for row in found)
        if failed:
            raise CommandError(f"{failed} of {len(found)} installed apps did not pass.")


def _test(app: OrganizationApp) -> Verdict:
    """Test one app; one that has left the catalogue stops no other."""
    try:
        return installing.test(app=app)
    except LinkitError as error:
        return Verdict(False, error.message, error.reason, clock.now())


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
    mark = {True: "ok  ", False: "FAIL", None: "?   "}[verdict.is_working]
    off = "" if app.is_enabled else " (switched off)"
    return f"{mark} {app.organization.name}: {app.slug}{off}: {verdict.message}"
