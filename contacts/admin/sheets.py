"""Import and export of contacts in the console, with django-import-export: upload, preview, confirm; and download."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import DataError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as noop
from django.utils.translation import ngettext
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from import_export.admin import ImportExportMixin  # type: ignore[import-untyped]
from import_export.results import Result  # type: ignore[import-untyped]
from import_export.tmp_storages import BaseStorage  # type: ignore[import-untyped]

from contacts import sheets, workbook
from contacts.columns import FIELDS, PHONE
from contacts.console import ContactsAdmin, person
from contacts.forms import ExportForm, ImportForm
from contacts.models import Contact
from contacts.resources import MAX_EXPORTED, ContactResource, columns_of
from linkit import spreadsheet
from linkit.errors import Missing
from linkit.models import Organization
from linkit.parsing import is_over
from linkit.permissions import Scope
from linkit.tenancy import OrganizationFilter, reach
from outbox.bulk import uploads
from outbox.bulk.models import Upload
from outbox.bulk.reading import Overrides
from outbox.bulk.unreadable import UnreadableFile
from sms_providers.console import Banner

_FORM_BYTES = 100_000  # beside the file: boundaries, the other fields
_TICKET = "contacts.import"
_LIFETIME_SECONDS = 3600
_LONGEST_NAME = 80
_CONTENT_TYPES = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
}


class UploadStorage(BaseStorage):
    """A file between its preview and the yes, in the database, where every web process reads it.

    It is nobody's there, so `uploads.purge` takes it away after an hour.
    """

    def save(self, data: BinaryIO) -> None:
        self.name = uploads.store(data).pk

    def read(self) -> BinaryIO:
        """Return the file. Raises `Missing`."""
        with uploads.opened(Upload.objects.filter(pk=self.name).first()) as file:
            return BytesIO(file.read())

    def remove(self) -> bool:
        """Delete the file, and tell whether it was still there: of two at once, one is told so."""
        return bool(uploads.delete([self.name]))


@dataclass(frozen=True)
class Ticket:
    """What the address of a preview says: which file, for whom, into which organization. Signed, so nobody else's."""

    upload: int
    user: str
    organization: str
    filename: str
    options: dict[str, str]

    def __str__(self) -> str:
        return signing.dumps(vars(self), salt=_TICKET, compress=True)

    @classmethod
    def read(cls, text: str) -> Ticket | None:
        try:
            return cls(**signing.loads(text, salt=_TICKET, max_age=_LIFETIME_SECONDS))
        except (signing.BadSignature, TypeError, ValueError):
            return None


class _TakenBack(Exception):
    """Ends a transaction of which nothing is to stay."""


class SheetsAdmin(ImportExportMixin, ContactsAdmin):
    """The two pages of an import, and that of an export."""

    import_export_change_list_template = None  # `list_tools` has the links
    tmp_storage_class = UploadStorage

    def has_import_permission(self, request: HttpRequest) -> bool:
        return reach(request).allows(Scope.CONTACTS)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def list_tools(self, request: HttpRequest) -> list[tuple[str, str]]:
        narrowed = f"?{request.GET.urlencode()}" if request.GET else ""
        links = [(_("Import"), reverse("admin:contacts_contact_import"))] if self.has_import_permission(request) else []
        return [*links, (_("Export"), f"{reverse('admin:contacts_contact_export')}{narrowed}")]

    # --- import ---

    @method_decorator(csrf_exempt)  # only until the size is known: looking for the token reads the whole upload
    def import_action(self, request: HttpRequest, **kwargs: Any) -> HttpResponse | TemplateResponse:
        """Take a sheet and see whether it can be read. Nothing is written: the answer leads to the preview."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        if is_over(request, sheets.MAX_BYTES + _FORM_BYTES):
            self.message_user(request, _too_large(), messages.ERROR)
            return self.to_page("import")
        return self._upload(request)

    @method_decorator(csrf_protect)
    def _upload(self, request: HttpRequest) -> HttpResponse | TemplateResponse:
        is_sent = request.method == "POST"
        organizations = reach(request).organizations(Scope.CONTACTS)
        form = ImportForm(
            request.POST if is_sent else None, request.FILES if is_sent else None, organizations=organizations
        )
        if form.is_valid() and (ticket := self._keep(request, form)) is not None:
            return HttpResponseRedirect(_preview_url(ticket))
        only = list(organizations[:2])
        context = {
            "title": _("Import contacts"),
            "form": form,
            "phone": PHONE,
            "optional": [key for key in FIELDS if key != PHONE],
            "attributes": list(columns_of(only[0]).attributes) if len(only) == 1 else None,
        }
        return self.page(request, "contacts/import.html", context)

    def _keep(self, request: HttpRequest, form: ImportForm) -> Ticket | None:
        """Store a sheet for its preview. None when it cannot be read, which the form then says."""
        organization, file = form.cleaned_data["organization"], form.cleaned_data["file"]
        if file.seek(0, os.SEEK_END) > sheets.MAX_BYTES:
            form.add_error("file", _too_large())
            return None
        try:
            sheets.read(file, columns_of(organization), form.overrides)
        except UnreadableFile as problem:
            form.add_error("file", problem.message)
            return None
        storage = self.get_tmp_storage_class()()
        storage.save(file)
        name = "".join(character for character in file.name or "" if character.isprintable())[-_LONGEST_NAME:]
        options = {name: value for name, value in vars(form.overrides).items() if value}
        return Ticket(storage.name, str(person(request).pk), str(organization.pk), name or "sheet", options)

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse | TemplateResponse:
        """Show what a sheet would do, and do it when told to: once, however often."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        ticket = Ticket.read(request.GET.get("file", ""))
        organization = self._organization_of(request, ticket)
        if ticket is None or organization is None:
            return self._gone(request)
        storage, columns = self.get_tmp_storage_class()(name=ticket.upload), columns_of(organization)
        try:
            sheet = sheets.read(storage.read(), columns, Overrides(**ticket.options))
        except Missing:
            return self._gone(request)
        except UnreadableFile as problem:  # its columns have changed meanwhile
            self.message_user(request, problem.message, messages.ERROR)
            return self.to_page("import")
        resource = ContactResource(organization=organization, columns=columns)
        if request.method != "POST":
            result = resource.load(sheet, is_dry_run=True)
            return self._preview(request, ticket, resource, sheet, result)
        return self._confirm(request, ticket, resource, sheet, storage)

    def _organization_of(self, request: HttpRequest, ticket: Ticket | None) -> Organization | None:
        if ticket is None or ticket.user != str(person(request).pk):
            return None
        return reach(request).organizations(Scope.CONTACTS).filter(pk=ticket.organization).first()

    def _gone(self, request: HttpRequest) -> HttpResponse:
        text = _("That file is not here: it has been imported, or was uploaded over an hour ago. Upload it again.")
        self.message_user(request, text, messages.WARNING)
        return self.to_page("import")

    def _confirm(
        self,
        request: HttpRequest,
        ticket: Ticket,
        resource: ContactResource,
        sheet: sheets.Sheet,
        storage: UploadStorage,
    ) -> HttpResponse | TemplateResponse:
        takes_right_rows = request.POST.get("rows") == "right"
        try:
            with transaction.atomic():
                if not storage.remove():  # the other click's
                    return self._gone(request)
                result = resource.load(sheet, is_dry_run=False, takes_right_rows=takes_right_rows)
                if result.has_validation_errors() and not takes_right_rows:
                    raise _TakenBack
                figures = {"file": ticket.filename, **{name: f"{n:,}" for name, n in result.totals.items()}}
                if result.totals["invalid"]:
                    text = noop(
                        "Imported %(file)s: %(new)s new, %(update)s changed, %(skip)s unchanged, %(invalid)s wrong and "
                        "left out."
                    )
                else:
                    text = noop("Imported %(file)s: %(new)s new, %(update)s changed, %(skip)s unchanged.")
                self.note(request, resource.organization, text, figures)
        except _TakenBack:  # a contact or an attribute has changed since the preview
            return self._preview(request, ticket, resource, sheet, result)
        self.message_user(request, _(text) % figures, messages.SUCCESS)
        return self.to_page("changelist")

    def _preview(
        self, request: HttpRequest, ticket: Ticket, resource: ContactResource, sheet: sheets.Sheet, result: Result
    ) -> TemplateResponse:
        totals = {**result.totals, "rows": result.total_rows}
        totals["right"] = totals["new"] + totals["update"]
        shown_rows = {problem.row for problem in resource.wrong}
        context = {
            "title": _("Preview of %(file)s") % {"file": ticket.filename},
            "filename": ticket.filename,
            "organization": resource.organization,
            "is_wide": reach(request).is_wide,
            "banner": _banner(totals),
            "totals": totals,
            "errors": resource.wrong,
            "more_errors": totals["invalid"] - len(shown_rows),
            "changes": resource.changed,
            "more_changes": totals["right"] - len(resource.changed),
            "warnings": sheet.warnings,
            "notes": sheet.notes,
        }
        return self.page(request, "contacts/import_preview.html", context)

    # --- export ---

    def export_action(self, request: HttpRequest) -> HttpResponseBase | TemplateResponse:
        """Ask in what form, and send the contacts of the list as it is searched and filtered."""
        organization = self.organization_of(request, self.view_scope)
        form = ExportForm(request.POST if request.method == "POST" else None)
        try:
            contacts = self.get_export_queryset(request).filter(organization=organization)
            count = contacts.order_by()[: MAX_EXPORTED + 1].count()
        except (IncorrectLookupParameters, DataError, OverflowError, ValueError):  # a filter that no list has
            return self.to_page("changelist")
        resource = ContactResource(organization=organization, columns=columns_of(organization))
        if form.is_valid():
            return self._download(request, resource, contacts, count, form.cleaned_data["format"])
        here = request.GET.copy()
        here[OrganizationFilter.parameter_name] = str(organization.pk)
        context = {
            "title": _("Export contacts"),
            "form": form,
            "here": f"?{here.urlencode()}",
            "back": f"?{request.GET.urlencode()}",
            "count": count,
            "most": MAX_EXPORTED,
            "is_cut": count > MAX_EXPORTED,
            "columns": resource.header(),
            **self.chooser(request, organization, self.view_scope),
        }
        return self.page(request, "contacts/export.html", context)

    def _download(
        self, request: HttpRequest, resource: ContactResource, contacts: QuerySet[Contact], count: int, format: str
    ) -> HttpResponseBase:
        figures = {"count": f"{min(count, MAX_EXPORTED):,}", "format": format.upper()}
        text = noop("Contacts exported as %(format)s: %(count)s.")
        name = f"contacts-{timezone.localdate():%Y-%m-%d}"
        if count > MAX_EXPORTED:
            name = f"{name}-first-{MAX_EXPORTED}"
            text = noop("Contacts exported as %(format)s: %(count)s of more; the rest did not fit.")
        self.note(request, resource.organization, text, figures)
        rows = resource.rows(contacts, has_numbers=format == "xlsx")
        content = workbook.lines(rows, sheet="Contacts") if format == "xlsx" else spreadsheet.lines(rows)
        return StreamingHttpResponse(
            content,
            content_type=_CONTENT_TYPES[format],
            headers={"Content-Disposition": f'attachment; filename="{name}.{format}"', "Cache-Control": "no-store"},
        )


def _preview_url(ticket: Ticket) -> str:
    return f"{reverse('admin:contacts_contact_process_import')}?file={ticket}"


def _too_large() -> str:
    said = _("The file is over %(count)s bytes; nothing was imported. Split it.")
    return said % {"count": f"{sheets.MAX_BYTES:,}"}


def _banner(totals: Mapping[str, int]) -> Banner:
    """Say what the rows of a sheet would do."""
    right = totals["new"] + totals["update"]
    if totals["invalid"] and right:
        return Banner(
            "caution",
            _("Some rows are wrong, so nothing is imported yet"),
            _("Correct them and upload the file again, or import only the rows that are right."),
        )
    if totals["invalid"]:
        text = _("Correct the rows below and upload it again.")
        return Banner("bad", _("Nothing of this file can be imported"), text)
    if not right:
        text = _("All contacts of this file are there, with the same values.")
        return Banner("good", _("There is nothing to import"), text)
    text = ngettext(
        "%(count)s contact would be added or changed.", "%(count)s contacts would be added or changed.", right
    )
    return Banner("calm", _("Nothing has been written yet"), text % {"count": f"{right:,}"})
