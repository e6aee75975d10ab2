"""What is done to contacts that were chosen in their list begins here: who they are, whose, and a page that asks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from contacts import audiences
from contacts.console import ContactsAdmin
from contacts.models import Contact
from linkit.models import Organization
from linkit.permissions import Scope
from linkit.tenancy import reach

_MOST_AT_ONCE = audiences.MAX_IDS


class ChoosingAdmin(ContactsAdmin):
    """Actions on chosen contacts of one organization, each asked on a page of its own."""

    def chosen(
        self, request: HttpRequest, queryset: QuerySet[Contact], scope: Scope = Scope.CONTACTS
    ) -> tuple[Organization, list[UUID]] | None:
        """Return the contacts that were chosen and their organization; None, and why, when that is not possible.

        Raises `PermissionDenied` for an organization in which this person lacks `scope`.
        """
        rows = list(queryset.order_by("pk").values_list("pk", "organization_id")[: _MOST_AT_ONCE + 1])
        owners = {owner for _pk, owner in rows}
        if len(rows) > _MOST_AT_ONCE:
            problem = _("At most %(count)s contacts at once; narrow the list with the search and the filters.")
            problem %= {"count": f"{_MOST_AT_ONCE:,}"}
        elif len(owners) > 1:
            problem = _("Choose contacts of one organization.")
        elif not rows:
            problem = _("These contacts are not there any more.")
        else:
            organization = reach(request).organizations(scope).filter(pk__in=owners).first()
            if organization is None:
                raise PermissionDenied
            return organization, [pk for pk, _owner in rows]
        self.message_user(request, problem, messages.WARNING)
        return None

    def ask(
        self,
        request: HttpRequest,
        organization: Organization,
        ids: list[UUID],
        *,
        action: str,
        context: dict[str, Any],
        template: str = "contacts/chosen.html",
    ) -> TemplateResponse:
        """Return a page that asks about these contacts, and comes back to `action` with them."""
        is_across = request.POST.get("select_across") == "1"
        frame = {
            "organization": organization,
            "is_wide": reach(request).is_wide,
            "count": len(ids),
            "only": Contact.objects.get(pk=ids[0]) if len(ids) == 1 else None,
            "action": action,
            "box": ACTION_CHECKBOX_NAME,
            # All of a list are named by the list itself.
            "is_across": is_across,
            "chosen": ids[:1] if is_across else ids,
            "back": request.get_full_path(),
        }
        return self.page(request, template, {**frame, **context})
