"""The App Store in the console: cards, the installation form, *test connection*, uninstall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db.models import Case, DateTimeField, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop
from django.views.decorators.debug import sensitive_post_parameters

from linkit.errors import Conflict, InvalidInput, LinkitError
from linkit.markup import badge, ltr, moment
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, Page, Section, TenantAdmin, reach
from sms_providers import catalogue, circuits, installing, standing
from sms_providers.adapters.base import Capabilities, ProviderAdapter
from sms_providers.forms import InstallationForm
from sms_providers.models import OrganizationApp

# What is typed into a form never gets into an error report.
_hides_input = method_decorator(sensitive_post_parameters())


class InstalledFilter(admin.SimpleListFilter):
    """What is installed, unless another choice is made."""

    title = _lazy("installed")
    parameter_name = "installed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Uninstalled")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        return [{**first, "display": _("Installed")}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "all":
                return queryset
            case "no":
                return queryset.filter(uninstalled_at__isnull=False)
        return queryset.filter(uninstalled_at__isnull=True)


def _abilities(can: Capabilities) -> list[str]:
    words = {
        _("Shows the balance"): can.balance,
        _("Lists sender names"): can.sender_names,
        _("Holds scheduled messages"): can.scheduling,
        _("Delivery receipts"): can.receipts,
        _("Tells what became of an unknown outcome"): can.look_up,
    }
    return [word for word, is_so in words.items() if is_so] or [_("Sends")]


def _needs(adapter: type[ProviderAdapter]) -> str:
    """Say what an operator has to have at hand to install this app."""
    required = [_(field.label) for field in adapter.credential_fields if field.is_required]
    if required:
        return _("Needs: %(what)s.") % {"what": _(", ").join(required)}
    either = [_(field.label) for field in adapter.credential_fields if field.is_secret]
    return _("Needs one of: %(what)s.") % {"what": _(", ").join(either)} if either else _("Needs no account.")


@admin.register(OrganizationApp)
class OrganizationAppAdmin(TenantAdmin):
    """Installed apps. Every change goes through `installing`, and no stored secret into a page."""

    add_scope = change_scope = Scope.MANAGE
    section, position = Section.APPS, 10
    hidden_lookups = ["credentials"]
    list_title = _lazy("Installed apps")
    add_label = _lazy("Install an app")
    empty_message = _lazy("No app is installed. Install one to send through it; the sandbox needs no account.")
    list_display = [
        "app", "organization", "state", "circuit", "credentials_set", "priority", "sender", "rate", "last_answer",
    ]  # fmt: skip
    list_filter = [InstalledFilter, "is_enabled", OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["slug", "organization__name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        moments = [When(pk=app_id, then=Value(until)) for app_id, until in circuits.not_closed().items()]
        rows = super().get_queryset(request).defer("credentials")
        return rows.annotate(tried_again_at=Case(*moments, default=None, output_field=DateTimeField()))

    def console_pages(self, request: HttpRequest) -> Sequence[tuple[str, str] | Page]:
        if not self.has_add_permission(request):
            return []
        return [(_("All apps"), reverse("admin:sms_providers_organizationapp_add"))]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("add/<slug:slug>/", view(self.install_view), name="sms_providers_organizationapp_install"),
            path("<int:pk>/test/", view(self.test_view), name="sms_providers_organizationapp_test"),
            path("<int:pk>/uninstall/", view(self.uninstall_view), name="sms_providers_organizationapp_uninstall"),
            *super().get_urls(),
        ]

    @admin.display(description=_lazy("App"), ordering="slug")
    def app(self, app: OrganizationApp) -> str:
        return catalogue.app_name(app.slug)

    @admin.display(description=_lazy("Default sender"))
    def sender(self, app: OrganizationApp) -> str:
        return app.default_sender or "–"

    @admin.display(description=_lazy("Most a second"))
    def rate(self, app: OrganizationApp) -> SafeString:
        return ltr(app.max_per_second) if app.max_per_second else format_html("{}", _("no limit"))

    @admin.display(description=_lazy("Credentials"))
    def credentials_set(self, app: OrganizationApp) -> SafeString:
        adapter = catalogue.adapters().get(app.slug)
        if app.uninstalled_at:
            return badge(_("Wiped"), "off")
        if adapter is None:
            return badge(_("Not in the catalogue"), "unsure")
        if not adapter.credential_fields:
            return badge(_("None needed"), "plain")
        credentials = app.readable_credentials
        if credentials is None:
            return badge(_("Cannot be read"), "bad")
        lacking = [_(f.label) for f in adapter.credential_fields if f.is_required and not credentials.get(f.name)]
        if lacking:
            return badge(_("Missing: %(what)s") % {"what": _(", ").join(lacking)}, "unsure")
        return badge(_("Set"), "good")

    @admin.display(description=_lazy("Last answer"), ordering="last_sync_at")
    def last_answer(self, app: OrganizationApp) -> SafeString:
        return moment(app.last_sync_at)

    @admin.display(description=_lazy("State"))
    def state(self, app: OrganizationApp) -> SafeString:
        if app.uninstalled_at:
            return badge(_("Uninstalled"), "off")
        shown = badge(_("In use"), "good") if app.is_enabled else badge(_("Switched off"), "off")
        return format_html("{} {}", shown, badge(_("Metered"), "pending")) if app.is_metered else shown

    @admin.display(description=_lazy("Circuit"))
    def circuit(self, app: OrganizationApp) -> SafeString:
        # Nothing goes through one that is not in use anyhow.
        return self._circuit(app).badge if app.is_usable else SafeString("–")

    def _circuit(self, app: OrganizationApp) -> standing.Circuit:
        return standing.circuit(getattr(app, "tried_again_at", None), now=timezone.now())

    def _standing(self, app: OrganizationApp) -> list[tuple[str, SafeString]]:
        """Say how an installed app stands, as facts."""
        facts = [(_("State"), self.state(app))]
        if app.is_usable:
            facts.append((_("Circuit"), self._circuit(app).words))
        lately = standing.lately(app.organization_id).get(app.pk)
        facts.append((_("Has it worked lately?"), standing.lately_in_words(lately)))
        if app.balance is not None:
            facts.append((_("Balance at the provider"), standing.balance(app)))
        return facts

    # --- install ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        """Show the catalogue as cards, for one organization."""
        organization = self._organization(request)
        organizations = reach(request).organizations(Scope.MANAGE)
        owned = self.get_queryset(request).filter(organization=organization, uninstalled_at=None)
        installed, lately = {app.slug: app for app in owned}, standing.lately(organization.pk)
        cards = [
            {
                # Not the class itself: a template would call it.
                "name": adapter.name,
                "slug": slug,
                "letter": adapter.name[:1],
                "abilities": _abilities(adapter.capabilities),
                "needs": _needs(adapter),
                "installed": (app := installed.get(slug)),
                "state": self.state(app) if app else "",
                "circuit": self._circuit(app).words if app and app.is_usable else "",
                "lately": standing.lately_in_words(lately.get(app.pk)) if app else "",
            }
            for slug, adapter in catalogue.adapters().items()
        ]
        context = {
            "title": _("All apps"),
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
            text = _("%(app)s is already installed.") % {"app": adapter.name}
            self.message_user(request, text, messages.WARNING)
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
                text = _("%(app)s has been installed meanwhile.") % {"app": adapter.name}
                self.message_user(request, text, messages.WARNING)
                return HttpResponseRedirect(reverse("admin:sms_providers_organizationapp_changelist"))
            else:
                self.note(request, app, noop("Installed."), flag=ADDITION)
                text = _("%(app)s is installed. Test the connection now.") % {"app": adapter.name}
                self.message_user(request, text, messages.SUCCESS)
                return HttpResponseRedirect(_url(app))
        title = _("Install %(app)s") % {"app": adapter.name}
        return self._form_page(request, form, adapter, organization, title)

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
                if changed := form.changed_names():
                    self.note(request, app, noop("Changed: %(what)s."), {"what": changed})
                if removed := form.removed_names():
                    self.note(request, app, noop("Removed: %(what)s."), {"what": removed})
                told = _("Saved.") if changed or removed else _("Nothing was changed.")
                self.message_user(request, told, messages.SUCCESS)
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
            "standing": self._standing(app) if app else [],
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
            "standing": self._standing(app),
            "rate": self.rate(app),
            "credentials": [
                (_(field.label), bool((app.readable_credentials or {}).get(field.name))) for field in fields
            ],
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
                self.message_user(request, _("It is not installed."), messages.ERROR)
                return HttpResponseRedirect(_url(app))
            try:
                verdict = installing.test(app=app)
            except LinkitError as problem:  # the app is not in the catalogue any more
                self.message_user(request, problem.message, messages.ERROR)
            else:
                level = {True: messages.SUCCESS, False: messages.ERROR, None: messages.WARNING}[verdict.is_working]
                self.message_user(request, verdict.message, level)
                self._note_test(request, app, verdict)
        return HttpResponseRedirect(_url(app))

    def _note_test(self, request: HttpRequest, app: OrganizationApp, verdict: installing.Verdict) -> None:
        if verdict.is_working:
            self.note(request, app, noop("Tested the connection: working."))
        elif verdict.is_working is None:
            self.note(request, app, noop("Tested the connection: it cannot be tested."))
        else:
            text = noop("Tested the connection: not working (%(reason)s).")
            self.note(request, app, text, {"reason": verdict.reason})

    def uninstall_view(self, request: HttpRequest, pk: int) -> HttpResponse | TemplateResponse:
        app = self.fetch(request, str(pk), Scope.MANAGE)
        if app is None:
            return self.missing(request, str(pk))
        if request.method != "POST":
            context = {"title": _("Uninstall?"), "app": app, "name": catalogue.app_name(app.slug), "back": _url(app)}
            return self.page(request, "sms_providers/uninstall.html", context)
        try:
            installing.uninstall(app=app)
        except LinkitError as problem:
            self.message_user(request, problem.message, messages.ERROR)
            return HttpResponseRedirect(_url(app))
        self.note(request, app, noop("Uninstalled; its credentials are wiped."))
        text = _("%(app)s is uninstalled and its credentials are wiped.") % {"app": catalogue.app_name(app.slug)}
        self.message_user(request, text)
        return HttpResponseRedirect(reverse("admin:sms_providers_organizationapp_changelist"))


def _url(app: OrganizationApp) -> str:
    return reverse("admin:sms_providers_organizationapp_change", args=[app.pk])
