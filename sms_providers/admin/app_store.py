"""The App Store in the console: cards, the installation form, *test connection*, uninstall."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters

from linkit.errors import Conflict, InvalidInput, LinkitError
from linkit.markup import badge, ltr, moment
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Section, TenantAdmin, reach
from sms_providers import catalogue, circuits, installing
from sms_providers.adapters.base import Capabilities, ProviderAdapter
from sms_providers.forms import InstallationForm
from sms_providers.models import OrganizationApp

# What is typed into a form never gets into an error report.
_hides_input = method_decorator(sensitive_post_parameters())


class InstalledFilter(admin.SimpleListFilter):
    """What is installed, unless another choice is made."""

    title = "installed"
    parameter_name = "installed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Uninstalled"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        return [{**first, "display": "Installed"}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "all":
                return queryset
            case "no":
                return queryset.filter(uninstalled_at__isnull=False)
        return queryset.filter(uninstalled_at__isnull=True)


def _abilities(can: Capabilities) -> list[str]:
    words = {
        "Shows the balance": can.balance,
        "Lists sender names": can.sender_names,
        "Holds scheduled messages": can.scheduling,
        "Delivery receipts": can.receipts,
        "Tells what became of an unknown outcome": can.look_up,
    }
    return [word for word, is_so in words.items() if is_so] or ["Sends"]


def _needs(adapter: type[ProviderAdapter]) -> str:
    """Say what an operator has to have at hand to install this app."""
    required = [field.label for field in adapter.credential_fields if field.is_required]
    if required:
        return f"Needs: {', '.join(required)}."
    either = [field.label for field in adapter.credential_fields if field.is_secret]
    return f"Needs one of: {', '.join(either)}." if either else "Needs no account."


@admin.register(OrganizationApp)
class OrganizationAppAdmin(TenantAdmin):
    """Installed apps. Every change goes through `installing`, and no stored secret into a page."""

    add_scope = change_scope = Scope.MANAGE
    section, position = Section.APPS, 10
    hidden_lookups = ["credentials"]
    add_label = "Install an app"
    empty_message = "No app is installed. Install one to send through it; the sandbox needs no account."
    list_display = [
        "app", "organization", "state", "credentials_set", "priority", "sender", "rate", "last_answer",
    ]  # fmt: skip
    list_filter = [InstalledFilter, "is_enabled", OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["slug", "organization__name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        resting = list(circuits.not_closed())
        return super().get_queryset(request).defer("credentials").annotate(is_resting=Q(pk__in=resting))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("add/<slug:slug>/", view(self.install_view), name="sms_providers_organizationapp_install"),
            path("<int:pk>/test/", view(self.test_view), name="sms_providers_organizationapp_test"),
            path("<int:pk>/uninstall/", view(self.uninstall_view), name="sms_providers_organizationapp_uninstall"),
            *super().get_urls(),
        ]

    @admin.display(description="App", ordering="slug")
    def app(self, app: OrganizationApp) -> str:
        return catalogue.app_name(app.slug)

    @admin.display(description="Default sender")
    def sender(self, app: OrganizationApp) -> str:
        return app.default_sender or "–"

    @admin.display(description="Most a second")
    def rate(self, app: OrganizationApp) -> SafeString:
        return ltr(app.max_per_second) if app.max_per_second else SafeString("no limit")

    @admin.display(description="Credentials")
    def credentials_set(self, app: OrganizationApp) -> SafeString:
        adapter = catalogue.adapters().get(app.slug)
        if app.uninstalled_at:
            return badge("Wiped", "off")
        if adapter is None:
            return badge("Not in the catalogue", "unsure")
        if not adapter.credential_fields:
            return badge("None needed", "plain")
        credentials = app.readable_credentials
        if credentials is None:
            return badge("Cannot be read", "bad")
        lacking = [f.label for f in adapter.credential_fields if f.is_required and not credentials.get(f.name)]
        return badge(f"Missing: {', '.join(lacking)}", "unsure") if lacking else badge("Set", "good")

    @admin.display(description="Last answer", ordering="last_sync_at")
    def last_answer(self, app: OrganizationApp) -> SafeString:
        return moment(app.last_sync_at)

    @admin.display(description="State")
    def state(self, app: OrganizationApp) -> SafeString:
        if app.uninstalled_at:
            return badge("Uninstalled", "off")
        shown = badge("In use", "good") if app.is_enabled else badge("Switched off", "off")
        if getattr(app, "is_resting", False) and app.is_enabled:
            shown = badge("Left alone after failures", "bad")
        return format_html("{} {}", shown, badge("Metered", "pending")) if app.is_metered else shown

    # --- install ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        """Show the catalogue as cards, for one organization."""
        organization = self._organization(request)
        organizations = reach(request).organizations(Scope.MANAGE)
        installed = {app.slug: app for app in OrganizationApp.objects.installed().filter(organization=organization)}
        cards = [
            {
                # Not the class itself: a template would call it.
                "name": adapter.name,
                "slug": slug,
                "letter": adapter.name[:1],
                "abilities": _abilities(adapter.capabilities),
                "needs": _needs(adapter),
                "installed": installed.get(slug),
            }
            for slug, adapter in catalogue.adapters().items()
        ]
        context = {
            "title": "Install an app",
            "cards": cards,
            "organization": organization,
            "organizations": organizations if len(organizations[:2]) > 1 else [],
        }
        return self.page(request, "sms_providers/app_store.html", context)

    def _organization(self, request: HttpRequest) -> Organization:
        """Return the organization that the URL names, else the first. Raises `PermissionDenied` or `Http404`."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        organizations = reach(request).organizations(Scope.MANAGE)
        named = request.GET.get("organization", "")
        if not named:
            found = organizations.first()
        else:
            try:
                found = organizations.filter(pk=UUID(named)).first()
            except ValueError:
                found = None
        if found is None:
            raise Http404
        return found

    @_hides_input
    def install_view(self, request: HttpRequest, slug: str) -> HttpResponse | TemplateResponse:
        organization = self._organization(request)
        adapter = catalogue.adapters().get(slug)
        if adapter is None:
            raise Http404
        present = OrganizationApp.objects.installed().filter(organization=organization, slug=slug).first()
        if present is not None:
            self.message_user(request, f"{adapter.name} is already installed.", messages.WARNING)
            return HttpResponseRedirect(_url(present))
        form = InstallationForm(request.POST or None, adapter=adapter, may_meter=reach(request).is_superuser)
        if form.is_valid():
            try:
                app = installing.install(
                    organization=organization, slug=slug, credentials=form.credentials(), **form.settings()
                )
            except InvalidInput as problem:
                form.refuse(problem)
            except Conflict:
                self.message_user(request, f"{adapter.name} has been installed meanwhile.", messages.WARNING)
                return HttpResponseRedirect(reverse("admin:sms_providers_organizationapp_changelist"))
            else:
                self.note(request, app, "Installed.", flag=ADDITION)
                self.message_user(request, f"{adapter.name} is installed. Test the connection now.", messages.SUCCESS)
                return HttpResponseRedirect(_url(app))
        return self._form_page(request, form, adapter, organization, f"Install {adapter.name}")

    # --- change ---

    @_hides_input
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        app: OrganizationApp | None = self.fetch(request, object_id)
        if app is None:
            return self.missing(request, object_id)
        adapter = catalogue.adapters().get(app.slug)
        may_change = self.has_change_permission(request, app)
        if request.method == "POST" and not may_change:
            raise PermissionDenied
        if not may_change or app.uninstalled_at is not None:
            return self._facts_page(request, app, adapter, may_change=may_change)
        may_meter = reach(request).is_superuser
        form = InstallationForm(request.POST or None, instance=app, adapter=adapter, may_meter=may_meter)
        if form.is_valid():
            try:
                installing.change(app=app, credentials=form.credentials() if adapter else None, **form.settings())
            except InvalidInput as problem:
                form.refuse(problem)
            except LinkitError as problem:  # uninstalled meanwhile
                self.message_user(request, problem.message, messages.ERROR)
                return HttpResponseRedirect(_url(app))
            else:
                changed = form.changed_names()
                if changed:
                    self.note(request, app, f"Changed: {', '.join(changed)}.")
                self.message_user(request, "Saved." if changed else "Nothing was changed.", messages.SUCCESS)
                return HttpResponseRedirect(_url(app))
        return self._form_page(request, form, adapter, app.organization, catalogue.app_name(app.slug), app=app)

    def _form_page(
        self,
        request: HttpRequest,
        form: InstallationForm,
        adapter: type[ProviderAdapter] | None,
        organization: Organization,
        title: str,
        app: OrganizationApp | None = None,
    ) -> TemplateResponse:
        context = {
            "title": title,
            "form": form,
            "is_known": adapter is not None,
            "name": adapter.name if adapter else title,
            "organization": organization,
            "app": app,
            "original": app,
            # The page never gives a typed secret back either, so it has to be typed again.
            "must_retype": bool(form.errors) and any(field.is_secret for field in form.credential_fields),
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "sms_providers/installation.html", context)

    def _facts_page(
        self, request: HttpRequest, app: OrganizationApp, adapter: type[ProviderAdapter] | None, *, may_change: bool
    ) -> TemplateResponse:
        fields = adapter.credential_fields if adapter else ()
        context = {
            "title": catalogue.app_name(app.slug),
            "app": app,
            "original": app,
            "state": self.state(app),
            "rate": self.rate(app),
            "credentials": [(field.label, bool((app.readable_credentials or {}).get(field.name))) for field in fields],
            "can_install": may_change and app.uninstalled_at is not None and adapter is not None,
        }
        return self.page(request, "sms_providers/installation_facts.html", context)

    # --- test and uninstall ---

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        app = self.fetch(request, str(pk), Scope.MANAGE)
        if app is None:
            return self.missing(request, str(pk))
        if request.method == "POST":
            if app.uninstalled_at is not None:
                self.message_user(request, "It is not installed.", messages.ERROR)
                return HttpResponseRedirect(_url(app))
            try:
                verdict = installing.test(app=app)
            except LinkitError as problem:  # the app is not in the catalogue any more
                self.message_user(request, problem.message, messages.ERROR)
            else:
                level = {True: messages.SUCCESS, False: messages.ERROR, None: messages.WARNING}[verdict.is_working]
                self.message_user(request, verdict.message, level)
                self.note(request, app, f"Tested the connection: {verdict.reason.replace('_', ' ')}.")
        return HttpResponseRedirect(_url(app))

    def uninstall_view(self, request: HttpRequest, pk: int) -> HttpResponse | TemplateResponse:
        app = self.fetch(request, str(pk), Scope.MANAGE)
        if app is None:
            return self.missing(request, str(pk))
        if request.method != "POST":
            context = {"title": "Uninstall?", "app": app, "name": catalogue.app_name(app.slug), "back": _url(app)}
            return self.page(request, "sms_providers/uninstall.html", context)
        try:
            installing.uninstall(app=app)
        except LinkitError as problem:
            self.message_user(request, problem.message, messages.ERROR)
            return HttpResponseRedirect(_url(app))
        self.note(request, app, "Uninstalled; its credentials are wiped.")
        self.message_user(request, f"{catalogue.app_name(app.slug)} is uninstalled and its credentials are wiped.")
        return HttpResponseRedirect(reverse("admin:sms_providers_organizationapp_changelist"))


def _url(app: OrganizationApp) -> str:
    return reverse("admin:sms_providers_organizationapp_change", args=[app.pk])
