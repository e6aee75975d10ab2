"""Organizations, people, API keys and the audit trail in the console."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import ADDITION
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Field, Q, QuerySet
from django.db.models.functions import Now
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop
from django.views.decorators.debug import sensitive_variables

from linkit import audit, clock, tokens
from linkit.forms import OrganizationsForm
from linkit.markup import badge, ltr, moment
from linkit.models import ApiKey, AuditEntry, Membership, Organization, Token, User
from linkit.permissions import Scope
from linkit.tenancy import ConsoleAdmin, OrganizationFilter, ReadOnlyAdmin, Section, TenantAdmin, person, reach
from linkit.widgets import LocalDateTimeInput, plain_choice, regions

# Roles decide here, not groups.
admin.site.unregister(Group)


# --- organizations --------------------------------------------------------------------------------------------


@cache
def _time_zones() -> list[tuple[str, str]]:
    return [(name, name.replace("_", " ")) for name in sorted(available_timezones())]


class _LabelledRows(BaseInlineFormSet):
    """Rows of a table, whose heads label their fields for the eye only."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        for field in form.fields.values():
            getattr(field.widget, "widget", field.widget).attrs["aria-label"] = field.label or ""


class MembershipInline(admin.TabularInline):
    """The people of an organization, on its page; for superusers only, as the list of people is."""

    model = Membership
    formset = _LabelledRows
    extra = 0
    fields = ["user", "role"]
    verbose_name_plural = _lazy("people")

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        return plain_choice(super().formfield_for_dbfield(db_field, request, **kwargs))


@admin.register(Organization)
class OrganizationAdmin(TenantAdmin):
    organization_path = "pk"
    change_scope = Scope.MANAGE
    section, position = Section.ACCESS, 10
    list_display = ["name", "default_region", "time_zone", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["name"]
    fields = ["name", "default_region", "time_zone", "is_active"]
    empty_message = _lazy("You are a member of no active organization. An administrator can add you to one.")

    def organization_id_of(self, obj: Organization) -> Any:
        return obj.pk

    def has_add_permission(self, request: HttpRequest) -> bool:
        return reach(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return reach(request).is_superuser

    def risks(self, request: HttpRequest, obj: Organization) -> list[str]:
        found = _removed_members(request)
        if reach(request).is_superuser and obj.is_active and "is_active" not in request.POST:
            off = _("The organization is switched off: its people cannot log in, and its keys are refused.")
            found.append(off)
        return found

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return [MembershipInline] if reach(request).is_superuser else []

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Names are unique on the platform, so a try at one would tell who else is here.
        return [] if reach(request).is_superuser else ["name", "is_active"]

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        choices = {"time_zone": _time_zones, "default_region": regions}.get(db_field.name)
        if choices is None:
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        label = capfirst(db_field.verbose_name)
        return forms.ChoiceField(label=label, choices=choices(), initial=db_field.default, help_text=db_field.help_text)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Only an organization that never worked is deleted. The stock page would list every message first."""
        kept = [str(relation) for each in objs for relation in _history(each)]
        return [str(each) for each in objs], {"organizations": len(objs)}, set(), kept


def _removed_members(request: HttpRequest) -> list[str]:
    """Say who loses access by the inline of memberships that is posted."""
    ticked = [
        request.POST.get(name.removesuffix("-DELETE") + "-id", "")
        for name in request.POST
        if name.startswith("memberships-") and name.endswith("-DELETE")
    ]
    members = Membership.objects.filter(pk__in=[pk for pk in ticked if pk.isdecimal()])
    return [
        _("%(person)s loses access to %(organization)s.") % {"person": each.user, "organization": each.organization}
        for each in members.select_related("user", "organization")
    ]


def _history(organization: Organization) -> list[str]:
    """Return what the organization has that its deletion would take along, people and keys apart."""
    found = []
    for relation in Organization._meta.related_objects:
        model = relation.related_model
        if model in (Membership, Token):
            continue
        if model._base_manager.filter(**{relation.field.name: organization}).exists():
            found.append(str(model._meta.verbose_name_plural))
    return [*found, _("Switch the organization off instead.")] if found else []


# --- people ---------------------------------------------------------------------------------------------------


class _OneAddress:
    """An e-mail address is one person, whatever its capitals."""

    cleaned_data: dict[str, Any]
    instance: User

    def clean_email(self) -> str:
        address = User.objects.normalize_email(self.cleaned_data["email"])
        if User.objects.exclude(pk=self.instance.pk).filter(email__iexact=address).exists():
            raise forms.ValidationError(_("Somebody has this e-mail address already."))
        return address


class NewUserForm(_OneAddress, BaseUserCreationForm):
    class Meta:
        model = User
        fields = ["email", "name", "is_staff"]


class UserForm(_OneAddress, UserChangeForm):
    class Meta:
        model = User
        fields = ["email", "name", "password", "is_active", "is_staff", "is_superuser"]


class UserMembershipInline(MembershipInline):
    fields = ["organization", "role"]
    verbose_name_plural = _lazy("organizations")


@admin.register(User)
class UserAdmin(ConsoleAdmin, StockUserAdmin):
    """People; superusers only, because a list of people would show other tenants' people."""

    section, position = Section.ACCESS, 30
    hidden_lookups = ["password"]
    form, add_form = UserForm, NewUserForm
    inlines = [UserMembershipInline]
    list_display = ["email", "name", "is_active", "is_staff", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    filter_horizontal = []
    readonly_fields = ["last_login", "created_at"]
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        (_lazy("Access"), {"fields": ["is_active", "is_staff", "is_superuser"]}),
        (_lazy("Times"), {"fields": ["created_at", "last_login"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "name", "is_staff", "password1", "password2"]})]

    def risks(self, request: HttpRequest, obj: User) -> list[str]:
        found, given = _removed_members(request), request.POST
        if obj.is_active and "is_active" not in given:
            found.append(_("%(person)s cannot log in any more.") % {"person": obj})
        elif obj.is_staff and "is_staff" not in given:
            found.append(_("%(person)s cannot log in to the console any more.") % {"person": obj})
        if not obj.is_superuser and "is_superuser" in given:
            found.append(_("%(person)s may see and do everything, in all organizations.") % {"person": obj})
        return found

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the audit trail would go with the person; switch them off instead


@admin.register(Membership)
class MembershipAdmin(ConsoleAdmin):
    section, position = Section.ACCESS, 40
    list_display = ["user", "organization", "role", "created_at"]
    list_filter = ["role", OrganizationFilter]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email", "organization__name"]
    fields = ["user", "organization", "role"]
    add_label = _lazy("Add a member")
    empty_message = _lazy("Nobody is a member of anything. Add a membership to let somebody work for an organization.")

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        return plain_choice(super().formfield_for_dbfield(db_field, request, **kwargs))


# --- API keys -------------------------------------------------------------------------------------------------

# As they are called in lists and in the audit trail.
_SCOPES = (noop("read"), noop("send"), noop("manage"))
_SCOPE_WORDS = {
    Scope.READ: _lazy("read: see apps, messages and logs"),
    Scope.SEND: _lazy("send: send and queue messages"),
    Scope.MANAGE: _lazy("manage: install and change apps"),
}


def in_scopes(key: ApiKey) -> str:
    """Return what the key may do, as one line."""
    return _(", ").join(_(scope) for scope in key.scopes)


class KeyForm(OrganizationsForm):
    """A new API key. The secret is made on saving."""

    name = forms.CharField(
        label=_lazy("Name"), max_length=120, help_text=_lazy("What this key is for, such as web shop.")
    )
    scopes = forms.MultipleChoiceField(
        label=_lazy("It may"),
        choices=[(scope, _SCOPE_WORDS[Scope(scope)]) for scope in Scope.for_keys()],
        initial=[Scope.READ, Scope.SEND],
        widget=forms.CheckboxSelectMultiple,
    )
    is_test = forms.BooleanField(
        label=_lazy("Test key"),
        required=False,
        help_text=_lazy("Everything it sends goes to the sandbox: nothing leaves, nothing is charged."),
    )
    expires_at = forms.DateTimeField(
        label=_lazy("Expires"),
        required=False,
        widget=LocalDateTimeInput,
        help_text=_lazy("Empty: never. A key can be revoked any time."),
    )

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        if moment is not None and moment <= clock.now():
            raise forms.ValidationError(_("This moment has passed."))
        return moment


class KeyStateFilter(admin.SimpleListFilter):
    """Keys that open the door, unless another choice is made."""

    title = _lazy("state")
    parameter_name = "state"
    _OVER = Q(revoked_at__isnull=False) | Q(expires_at__lte=Now())

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("over", _("Revoked or expired")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        return [{**first, "display": _("In use")}, *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "all":
                return queryset
            case "over":
                return queryset.filter(self._OVER)
        return queryset.exclude(self._OVER)


@admin.register(ApiKey)
class ApiKeyAdmin(TenantAdmin):
    """API keys: made and revoked, never changed. A secret is shown in the answer that makes it and nowhere else."""

    view_scope = add_scope = Scope.KEYS
    section, position = Section.ACCESS, 20
    hidden_lookups = ["digest"]
    empty_message = _lazy("No API key is in use. Add one for each program that calls the API.")
    list_display = ["name", "organization", "visible_prefix", "may", "kind_of_key", "last_used", "expires", "state"]
    list_filter = [KeyStateFilter, ("is_test", admin.BooleanFieldListFilter), OrganizationFilter]
    list_select_related = ["organization"]
    search_fields = ["name", "prefix"]
    actions = ["revoke_chosen"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(kind=Token.Kind.API_KEY)  # sessions are nobody's to see

    def get_urls(self) -> list[URLPattern]:
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<uuid:object_id>/revoke/", revoke, name="linkit_apikey_revoke"), *super().get_urls()]

    @admin.display(description=_lazy("Begins with"), ordering="prefix")
    def visible_prefix(self, key: ApiKey) -> SafeString:
        return ltr(f"{key.prefix}…")

    @admin.display(description=_lazy("May"))
    def may(self, key: ApiKey) -> str:
        return in_scopes(key)

    @admin.display(description=_lazy("Kind"), ordering="is_test")
    def kind_of_key(self, key: ApiKey) -> SafeString:
        return badge(_("Test"), "test") if key.is_test else badge(_("Live"), "plain")

    @admin.display(description=_lazy("Last used"), ordering="last_used_at")
    def last_used(self, key: ApiKey) -> SafeString:
        return moment(key.last_used_at)

    @admin.display(description=_lazy("Expires"), ordering="expires_at")
    def expires(self, key: ApiKey) -> SafeString:
        return moment(key.expires_at)

    @admin.display(description=_lazy("State"))
    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at:
            return badge(_("Revoked"), "off")
        if key.expires_at and key.expires_at <= timezone.now():
            return badge(_("Expired"), "off")
        return badge(_("In use"), "good")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return self.is_allowed(request, Scope.KEYS)

    @sensitive_variables("secret")
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        organizations = reach(request).organizations(Scope.KEYS)
        form = KeyForm(request.POST or None, organizations=organizations)
        if not form.is_valid():
            return self.page(request, "linkit/api_key_add.html", {"title": _("Add API key"), "form": form})
        key, secret = tokens.issue_api_key(created_by=person(request), **form.cleaned_data)
        kind = noop("test") if key.is_test else noop("live")
        made = ApiKey.objects.get(pk=key.pk)
        self.note(request, made, noop("Made a key (%(what)s)."), {"what": [kind, *made.scopes]}, flag=ADDITION)
        context = {
            "title": _("Your new API key"),
            "key": made,
            "secret": secret,
            "can_send": Scope.SEND in made.scopes,
            "public_url": settings.PUBLIC_URL,
        }
        response = self.page(request, "linkit/api_key_made.html", context)
        # The secret is in this one answer: not in a URL, a cookie, a session or any cache.
        response.headers["Cache-Control"] = "no-store, private"
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        key = self.fetch(request, object_id)
        if key is None:
            return self.missing(request, object_id)
        context = {
            "title": str(key),
            "key": key,
            "original": key,
            "scopes": in_scopes(key),
            "last_used": moment(key.last_used_at) if key.last_used_at else _("never"),
            "expires": moment(key.expires_at) if key.expires_at else _("never"),
            "kind": self.kind_of_key(key),
            "state": self.state(key),
        }
        return self.page(request, "linkit/api_key.html", context)

    def revoke_view(self, request: HttpRequest, object_id: Any) -> HttpResponse | TemplateResponse:
        key = self.fetch(request, str(object_id))
        if key is None:
            return self.missing(request, str(object_id))
        if request.method != "POST":
            return self._confirm(request, [key], reverse("admin:linkit_apikey_change", args=[key.pk]))
        self._revoke(request, [key])
        return HttpResponseRedirect(reverse("admin:linkit_apikey_change", args=[key.pk]))

    @admin.action(description=_lazy("Revoke the chosen keys"), permissions=["revoke"])
    def revoke_chosen(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> TemplateResponse | None:
        if "confirmed" not in request.POST:
            return self._confirm(request, list(queryset), request.get_full_path(), action="revoke_chosen")
        self._revoke(request, list(queryset))
        return None

    def _confirm(self, request: HttpRequest, keys: list[ApiKey], back: str, action: str = "") -> TemplateResponse:
        context = {"title": _("Revoke?"), "keys": keys, "back": back, "action": action, "box": ACTION_CHECKBOX_NAME}
        return self.page(request, "linkit/api_key_revoke.html", context)

    def _revoke(self, request: HttpRequest, keys: list[ApiKey]) -> None:
        live = [key for key in keys if key.revoked_at is None]
        for key in live:
            tokens.revoke(key)
            self.note(request, key, noop("Revoked."))
        names = ", ".join(str(key) for key in live)
        if live:
            text = _("Revoked: %(names)s. Programs that use it are refused within a second.")
            self.message_user(request, text % {"names": names})
        else:
            self.message_user(request, _("Nothing to do: already revoked."), messages.WARNING)


# --- audit ----------------------------------------------------------------------------------------------------


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin, TenantAdmin):
    """Who did what in the console, for administrators of the organization. Each row's page has its own history."""

    view_scope = Scope.KEYS
    section, position = Section.ACCESS, 90
    list_title = _lazy("Audit trail")
    list_display = ["when", "organization", "who", "thing", "what"]
    fields = ["when", "organization", "who", "thing", "what"]
    list_display_links = None
    list_select_related = ["user", "content_type", "organization"]
    list_filter = ["action_time", OrganizationFilter]
    search_fields = ["user__email", "object_repr"]
    ordering = ["-pk"]
    sortable_by = ()
    empty_message = _lazy("Nothing has been done in the console yet.")

    @admin.display(description=_lazy("Time"))
    def when(self, entry: AuditEntry) -> SafeString:
        return moment(entry.action_time)

    @admin.display(description=_lazy("Who"))
    def who(self, entry: AuditEntry) -> str:
        return str(entry.user)

    @admin.display(description=_lazy("Of what"))
    def thing(self, entry: AuditEntry) -> SafeString:
        kind = entry.content_type.name if entry.content_type else ""
        return format_html('<bdi>{}</bdi> <span class="quiet">{}</span>', entry.object_repr, capfirst(kind))

    @admin.display(description=_lazy("Done"))
    def what(self, entry: AuditEntry) -> str:
        return audit.in_words(entry)
