"""Custom attributes in the console: add one, describe it, delete it with all its values."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

from contacts import attributes
from contacts.console import TYPE_FILTER, ContactsAdmin
from contacts.forms import AttributeForm, NewAttributeForm
from contacts.models import CustomAttribute
from contacts.rendering import CUSTOM
from linkit.errors import InvalidInput, LinkitError
from linkit.markup import ltr
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, reach


@admin.register(CustomAttribute)
class CustomAttributeAdmin(ContactsAdmin):
    position = 30
    list_title = _lazy("Custom attributes")
    add_label = _lazy("Add an attribute")
    empty_message = _lazy(
        "No custom attribute. Add one for what you want to know of your contacts beside their address."
    )
    list_display = ["shown_name", "organization", "slug", "kind", "about"]
    list_filter = [TYPE_FILTER, OrganizationFilter]
    search_fields = ["display_name", "name"]
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    @admin.display(description=_lazy("Display name"))
    def shown_name(self, attribute: CustomAttribute) -> SafeString:
        return format_html("<bdi>{}</bdi>", attribute.display_name)

    @admin.display(description=_lazy("Name in sheets and messages"))
    def slug(self, attribute: CustomAttribute) -> SafeString:
        return ltr(attribute.name)

    @admin.display(description=_lazy("Type"))
    def kind(self, attribute: CustomAttribute) -> str:
        return attribute.get_type_display()

    @admin.display(description=_lazy("Description"))
    def about(self, attribute: CustomAttribute) -> SafeString:
        return format_html("<bdi>{}</bdi>", attribute.description or "–")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewAttributeForm(request.POST or None, organizations=reach(request).organizations(Scope.CONTACTS))
        if form.is_valid():
            try:
                attribute = attributes.create(**form.cleaned_data)
            except InvalidInput as problem:
                form.add_error("display_name", problem.message)
            except attributes.AttributeExists as problem:
                form.add_error("display_name", problem.message)
            except LinkitError as problem:
                form.add_error(None, problem.message)
            else:
                self.note(request, attribute, noop("Added."), flag=ADDITION)
                text = format_html(
                    _("“{}” is added. In messages and sheets it is called {}."),
                    attribute.display_name, ltr(attribute.name),
                )  # fmt: skip
                self.message_user(request, text, messages.SUCCESS)
                return self.to_page("changelist")
        return self.page(request, "contacts/attribute_add.html", {"title": _("Add a custom attribute"), "form": form})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        attribute: CustomAttribute | None = self.fetch(request, object_id)
        if attribute is None:
            return self.missing(request, object_id)
        may_change = self.has_change_permission(request, attribute)
        if request.method == "POST" and not may_change:
            raise PermissionDenied
        form = AttributeForm(request.POST or None, initial={"description": attribute.description})
        if request.method == "POST" and form.is_valid():
            if form.has_changed():
                try:
                    attributes.change(attribute=attribute, **form.cleaned_data)
                except LinkitError:  # deleted meanwhile
                    return self.missing(request, object_id)
                self.note(request, attribute, noop("Changed: %(what)s."), {"what": [noop("description")]})
            self.message_user(
                request, _("Saved.") if form.has_changed() else _("Nothing was changed."), messages.SUCCESS
            )
            return self.to_page("changelist")
        context = {
            "title": str(attribute),
            "attribute": attribute,
            "original": attribute,
            "form": form if may_change else None,
            "placeholder": f"{{{{ $contact.{CUSTOM}{attribute.name} }}}}",
            "is_wide": reach(request).is_wide,
        }
        return self.page(request, "contacts/attribute.html", context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse | TemplateResponse:
        told = _(
            "What your contacts have in it is hidden for good: also an attribute that gets the same name later does "
            "not show it. Messages that use it lack a value from then on."
        )
        return self.ask_to_delete(
            request,
            object_id,
            title=_("Delete custom attribute?"),
            told=told,
            do=lambda attribute: attributes.delete(attribute=attribute),
        )
