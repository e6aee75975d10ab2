"""Contacts for django-import-export: one organization's, by its own columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tablib  # type: ignore[import-untyped]
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from import_export.fields import Field  # type: ignore[import-untyped]
from import_export.instance_loaders import BaseInstanceLoader  # type: ignore[import-untyped]
from import_export.resources import Resource  # type: ignore[import-untyped]
from import_export.results import Result, RowResult  # type: ignore[import-untyped]

from contacts import attributes, cells, services
from contacts.columns import FIELDS, PHONE, Columns
from contacts.models import Contact
from contacts.sheets import CLEAR, Sheet, neutral, original
from contacts.turns import take_turn
from contacts.workbook import Cell
from linkit.errors import InvalidInput
from linkit.models import Organization

MAX_EXPORTED = 100_000
ROWS_SHOWN = 100  # of those that change something, and of those that are wrong
_NUMBER, _FAULT = "#", "#!"  # what comes with a row beside its cells
_LOADED = 1000  # contacts at once
_LONGEST_SHOWN = 200  # characters of a cell


@dataclass(frozen=True)
class Change:
    """What a row makes of one field."""

    column: str
    was: str
    becomes: str


@dataclass(frozen=True)
class Changed:
    """A row that adds a contact or changes one."""

    row: str
    phone: str
    is_new: bool
    changes: list[Change]


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong with a row; `column` is the file's own name of it, empty for the row itself."""

    row: str
    column: str
    mobile: str  # which the page shows when there is no value
    value: str
    message: str
    reason: str


class ContactResource(Resource):
    """One import of a sheet into an organization, or one export from it.

    Rows are matched by their number in E.164, with contacts that are not deleted. An empty cell keeps what there is.
    A dry run writes nothing.
    """

    class Meta:
        model = Contact
        import_id_fields = [PHONE]
        instance_loader_class = BaseInstanceLoader  # `get_instance` knows them all
        use_bulk = True
        batch_size = 1000
        skip_diff = True  # its own makes HTML of every cell; `changed` has what people want to see
        report_skipped = False

    def __init__(self, *, organization: Organization, columns: Columns) -> None:
        super().__init__()
        self.organization, self.columns = organization, columns
        self.fields = {key: Field(column_name=key) for key in columns.keys}
        self.changed: list[Changed] = []
        self.wrong: list[Wrong] = []
        self._is_trial = False
        self._names: Mapping[str, str] = {}
        self._keys: list[str] = []
        self._phones: dict[str, str] = {}  # by the number of the row
        self._refused: dict[str, InvalidInput] = {}
        self._found: dict[str, Contact] = {}  # by phone
        self._row: _Row | None = None

    # --- import ---

    def load(self, sheet: Sheet, *, is_dry_run: bool, takes_right_rows: bool = False) -> Result:
        """Import a sheet: all of it or, with `takes_right_rows`, the rows that are right; the rest is in `wrong`."""
        self._names, self._keys, self._is_trial = sheet.names, sheet.keys, is_dry_run
        dataset = tablib.Dataset(*sheet.rows, headers=[_NUMBER, _FAULT, *sheet.keys])
        if is_dry_run:
            # Without the transaction that would be rolled back: on SQLite it would keep everybody else waiting.
            return self.import_data_inner(
                dataset, dry_run=True, raise_errors=False, using_transactions=False, collect_failed_rows=False
            )
        return self.import_data(dataset, use_transactions=True, rollback_on_validation_errors=not takes_right_rows)

    def before_import(self, dataset: tablib.Dataset, **kwargs: Any) -> None:
        """Read all numbers, and load whom they belong to together."""
        if not self._is_trial:
            take_turn(self.organization)
        first: dict[str, str] = {}
        for row, typed in zip(dataset[_NUMBER], dataset[PHONE], strict=True):
            try:
                number = cells.value_in(original(typed), PHONE, self.columns, region=self.organization.default_region)
            except InvalidInput as problem:
                self._refused[row] = problem
                continue
            assert isinstance(number, str)
            if number in first:
                message = _("The same number as in row %(row)s: a contact can be in a file once.")
                self._refused[row] = InvalidInput(message % {"row": first[number]}, reason="duplicate_in_file")
                continue
            first[number] = row
            self._phones[row] = number
        numbers = sorted(first)
        live = Contact.objects.live().filter(organization=self.organization).defer("search_text", "search_pieces")
        for start in range(0, len(numbers), _LOADED):
            some = live.filter(primary_phone__in=numbers[start : start + _LOADED])
            self._found.update((contact.primary_phone, contact) for contact in some)

    def import_row(self, row: dict[str, Any], instance_loader: Any, **kwargs: Any) -> RowResult:
        result = super().import_row(row, instance_loader, **kwargs)
        for problem in result.errors:
            raise problem.error  # a fault of ours, which must not look like one of the file
        return result

    def handle_import_error(self, result: Result, error: Exception, raise_errors: bool = False) -> None:
        raise error

    def get_instance(self, instance_loader: Any, row: Mapping[str, str]) -> Contact | None:
        return self._found.get(self._phones.get(row[_NUMBER], ""))

    def init_instance(self, row: Mapping[str, str] | None = None) -> Contact:
        return Contact(organization=self.organization)

    def import_instance(self, instance: Contact, row: Mapping[str, str], **kwargs: Any) -> None:
        """Find out what the row changes. The instance itself is left alone: `services.upsert` writes."""
        self._row = found = self._read(instance, row)
        if found.wrong:
            if len(self.wrong) < ROWS_SHOWN:
                self.wrong += found.wrong
            raise ValidationError([each.message for each in found.wrong])

    def skip_row(
        self, instance: Contact, original: Any, row: Mapping[str, str], import_validation_errors: Any = None
    ) -> bool:
        assert self._row is not None
        return not import_validation_errors and not self._row.is_new and not self._row.changes

    def save_instance(self, instance: Contact, is_create: bool, row: Mapping[str, str], **kwargs: Any) -> None:
        assert self._row is not None
        self.create_instances.append(self._row.fields)
        if len(self.changed) < ROWS_SHOWN:
            phone = self._phones[row[_NUMBER]]
            self.changed.append(Changed(row[_NUMBER], phone, self._row.is_new, self._row.changes))

    def bulk_create(self, using_transactions: bool, dry_run: bool, raise_errors: bool, **kwargs: Any) -> None:
        if not dry_run:
            services.upsert(organization=self.organization, rows=self.create_instances)
        self.create_instances.clear()

    def _read(self, contact: Contact, row: Mapping[str, str]) -> _Row:
        """Return what a row changes, and all that is wrong with it."""
        number, region = row[_NUMBER], self.organization.default_region
        found = _Row(is_new=contact._state.adding)

        def refuse(problem: InvalidInput, key: str = "", cell: str = "") -> None:
            column = self._names.get(key, "")
            typed, value = row[PHONE][:_LONGEST_SHOWN], cell[:_LONGEST_SHOWN]
            found.wrong.append(Wrong(number, column, typed, value, problem.message, problem.reason))

        if row[_FAULT]:
            refuse(InvalidInput(row[_FAULT], reason="malformed_row"))
            return found
        if problem := self._refused.get(number):
            refuse(problem, PHONE, row[PHONE])
        else:
            found.fields["primary_phone"] = self._phones[number]
        for key in self._keys:
            cell = row[key]
            if key == PHONE or not cell.strip():
                continue
            try:
                self._put(found, contact, key, cell, region)
            except InvalidInput as problem:
                refuse(problem, key, cell)
        return found

    def _put(self, found: _Row, contact: Contact, key: str, cell: str, region: str) -> None:
        attribute = self.columns.attributes.get(key)
        old: cells.Value | None = cells.stored(contact, key, self.columns)
        new: cells.Value | None
        if cell == CLEAR:
            new = None if attribute else [] if isinstance(old, list) else ""
        else:
            text = original(cell)
            if text == cells.text_of(old):
                return  # as an export writes it, whatever is asked of new values
            new = cells.value_in(text, key, self.columns, region=region)
        if new == old:
            return
        if attribute:
            found.fields.setdefault("attribute_values", {})[str(attribute.pk)] = new
        else:
            found.fields[FIELDS[key]] = new
        found.changes.append(Change(self._names[key], cells.text_of(old), cells.text_of(new)))

    # --- export ---

    def header(self) -> list[str]:
        return [str(name) for name in self.get_export_headers()]

    def rows(self, contacts: QuerySet[Contact], *, has_numbers: bool) -> Iterator[list[Cell]]:
        """Yield the header and a row for each contact, in the order of the list; no cell is taken for a formula.

        With `has_numbers` a number is one, as a workbook can hold it.
        """
        yield [*self.header()]
        for contact in _in_pieces(contacts, most=MAX_EXPORTED):
            yield self.export_resource(contact, has_numbers=has_numbers)

    def export_resource(
        self, instance: Contact, selected_fields: Sequence[str] | None = None, *, has_numbers: bool = False, **_: Any
    ) -> list[Cell]:
        """Return the cells of one contact. The library's own way is quadratic in the number of columns."""
        row: list[Cell] = []
        for key in self.columns.keys:
            value = cells.stored(instance, key, self.columns)
            number = cells.number_of(value) if has_numbers else None
            row.append(neutral(cells.text_of(value)) if number is None else number)
        return row


@dataclass
class _Row:
    is_new: bool

    def __post_init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.changes: list[Change] = []
        self.wrong: list[Wrong] = []


def columns_of(organization: Organization) -> Columns:
    """Return the columns that the sheets of an organization have."""
    return Columns(attributes.live(organization).values())


def _in_pieces(contacts: QuerySet[Contact], *, most: int) -> Iterator[Contact]:
    """Yield contacts, the latest first, without a cursor, which poolers do not keep. Only their ids are all held."""
    ids = list(contacts.order_by("-created_at", "-pk").values_list("pk", flat=True)[:most])
    live = Contact.objects.live().only(*FIELDS.values(), "attribute_values")
    for start in range(0, len(ids), _LOADED):
        some = ids[start : start + _LOADED]
        found = live.in_bulk(some)
        yield from (found[pk] for pk in some if pk in found)
