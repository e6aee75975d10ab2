"""The operator's console: Django's admin under our name, in the time zone of whoever looks at it."""

from __future__ import annotations

from functools import update_wrapper
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import UsernameField
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext

from linkit import dashboard, lockout, notices
from linkit.tenancy import ConsoleAdmin, Page, Section, reach


class LoginForm(AdminAuthenticationForm):
    """E-mail and password. Somebody who is locked out is told so, as in the API."""

    username = UsernameField(label=_lazy("E-mail"), widget=forms.EmailInput(attrs={"autofocus": True}))

    def clean(self) -> dict[str, Any]:
        if lockout.is_locked(self.request, self.cleaned_data.get("username") or ""):
            minutes = -(-int(settings.LOGIN_LOCKOUT.total_seconds()) // 60)
            text = ngettext(
                "Too many failed log-ins. Try again in %(minutes)s minute.",
                "Too many failed log-ins. Try again in %(minutes)s minutes.",
                minutes,
            )
            raise ValidationError(text % {"minutes": minutes}, code="locked")
        return super().clean()


class ConsoleSite(AdminSite):
    """The console. Each `ConsoleAdmin` says where it stands in the navigation."""

    site_header = site_title = "Linkit SMS"
    index_template = "linkit/dashboard.html"
    index_title = _lazy("Console")
    site_url = None  # there is no other site to view
    login_form = LoginForm

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # Nothing of ours is deleted in bulk: rows with a history are switched off, revoked or uninstalled.
        self.disable_action("delete_selected")

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        guarded = super().admin_view(view, cacheable)

        def in_local_time(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            # The thread goes on to answer API calls, so the zone must not outlive this request; and a page that
            # renders itself later would render in UTC.
            with timezone.override(self.time_zone(request)):
                response: HttpResponseBase = guarded(request, *args, **kwargs)
                return response.render() if isinstance(response, SimpleTemplateResponse) else response

        return update_wrapper(in_local_time, guarded)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the dashboard."""
        context = {"title": _("Dashboard"), "panels": dashboard.panels(request), **(extra_context or {})}
        return super().index(request, context)

    def time_zone(self, request: HttpRequest) -> str:
        """Return the zone that all organizations in reach share, else UTC."""
        if not self.has_permission(request):
            return settings.TIME_ZONE
        zones = reach(request).organizations().order_by().values_list("time_zone", flat=True).distinct()[:2]
        return zones[0] if len(zones) == 1 else settings.TIME_ZONE

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            **super().each_context(request),
            "console_whose": self._whose(request) if self.has_permission(request) else "",
            "console_notices": notices.current(request) if self.has_permission(request) else [],
            "console_time_zone": timezone.get_current_timezone_name(),
            "console_version": settings.VERSION,
        }

    def _whose(self, request: HttpRequest) -> str:
        if reach(request).is_superuser:
            return _("All organizations")
        names = list(reach(request).organizations().values_list("name", flat=True)[:4])
        return _(", ").join(names) if len(names) < 4 else _("%(name)s and others") % {"name": names[0]}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the navigation by section. The stock order is by package, which is of no use to an operator."""
        sections: dict[str, list[tuple[int, dict[str, Any]]]] = {section: [] for section in Section}
        for package in super().get_app_list(request, app_label):
            for entry in package["models"]:
                model_admin = self.get_model_admin(entry["model"])
                if not isinstance(model_admin, ConsoleAdmin):
                    continue
                for name, url, section, position in (Page(*page) for page in model_admin.console_pages(request)):
                    page = {
                        "name": name,
                        "object_name": url.strip("/").replace("/", "-"),
                        "admin_url": url,
                        "add_url": None,
                    }
                    place = model_admin.position - 1 if position is None else position
                    sections[section or model_admin.section].append((place, page))
                sections[model_admin.section].append(
                    (model_admin.position, {**entry, "name": model_admin.list_title or entry["name"]})
                )
        found: list[dict[str, Any]] = [
            {
                "name": Section(section).label,
                "app_label": section,
                "app_url": "",
                "has_module_perms": True,
                "models": [entry for _, entry in sorted(entries, key=lambda each: each[0])],
            }
            for section, entries in sections.items()
            if entries
        ]
        # A page below a list has the list's URL at its beginning: the longest match is where we are.
        entries = [entry for section in found for entry in section["models"]]
        here = [entry for entry in entries if entry["admin_url"] and request.path.startswith(entry["admin_url"])]
        if here:
            max(here, key=lambda entry: len(entry["admin_url"]))["is_current"] = True
        return found
