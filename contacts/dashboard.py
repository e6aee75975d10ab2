"""What the first page of the console knows about SMS programs: those that have paused."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from contacts.models import SmsProgram
from linkit.dashboard import MOST, Need
from linkit.permissions import Scope
from linkit.tenancy import reach
from outbox.bulk.models import JobStatus


def needs(request: HttpRequest) -> Iterable[Need]:
    """Name the programs that have paused, for want of credits or of their gateway."""
    who = reach(request)
    programs = SmsProgram.objects.filter(job__status=JobStatus.PAUSED, is_test=False).select_related("organization")
    paused = list(who.narrow(programs, "organization", Scope.READ).order_by("job__paused_at", "pk")[: MOST + 1])
    for program in paused[:MOST]:
        url = reverse("admin:contacts_smsprogram_change", args=[program.pk])
        yield Need("unsure", _("Paused"), _paused(program, is_wide=who.is_wide), url, _("Look at the program"))
    if len(paused) > MOST:
        url = reverse("admin:contacts_smsprogram_changelist")
        yield Need("unsure", _("Paused"), _("More programs are paused."), url, _("Look at the programs"))


def _paused(program: SmsProgram, *, is_wide: bool) -> SafeString:
    if is_wide:
        whose = program.organization.name
        return format_html(_("The program <bdi>{}</bdi> (<bdi>{}</bdi>) has paused."), program, whose)
    return format_html(_("The program <bdi>{}</bdi> has paused."), program)
