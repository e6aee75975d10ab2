"""Pages of lists: in v1 `{data, count, total_count, page, …}`, in the contact API `{data, meta}`."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from linkit.errors import InvalidInput

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
COUNT_CAP = 10_000  # counting further costs more than anybody gains
MAX_PAGE = 100_000
# Public names, each for a column or for several of which the later ones break ties.
Fields = Mapping[str, str | tuple[str, ...]]


def count_up_to_cap(rows: QuerySet[Any]) -> int:
    """Return how many rows there are; anything above COUNT_CAP means more."""
    return rows.order_by().values("pk")[: COUNT_CAP + 1].count()


class PageLimitPagination(BasePagination):
    """`page` from 1, `limit` up to 100 (more is taken as 100), `sort=field` or `-field` of the view's `sort_fields`."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.page = _whole(request, "page", default=1, most=MAX_PAGE)
        self.limit = _whole(request, "limit", default=DEFAULT_LIMIT, most=MAX_PAGE)
        self.limit = min(self.limit, MAX_LIMIT)
        start = (self.page - 1) * self.limit
        rows, counted = self.fetch(queryset.order_by(*self.order(request, view)), start, start + self.limit + 1)
        self.has_next = len(rows) > self.limit
        self.is_capped = counted > COUNT_CAP
        self.total = min(counted, COUNT_CAP)
        return rows[: self.limit]

    def fetch(self, queryset: QuerySet[Any], start: int, stop: int) -> tuple[list[Any], int]:
        """Return the rows of an ordered queryset from `start` to `stop`, and how many it has; see `count_up_to_cap`."""
        return list(queryset[start:stop]), count_up_to_cap(queryset)

    def order(self, request: Request, view: Any) -> list[str]:
        """Return the ordering asked for, else the view's `default_sort`."""
        fields: Fields = getattr(view, "sort_fields", {}) or {"id": "pk"}
        wanted = request.query_params.get("sort", "") or getattr(view, "default_sort", f"-{next(iter(fields))}")
        return _columns(fields, wanted.removeprefix("-"), is_descending=wanted[:1] == "-", parameter="sort")

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "data": data,
                "count": len(data),
                "total_count": self.total,
                "page": self.page,
                "limit": self.limit,
                "has_next": self.has_next,
                "meta": {"total_is_capped": True} if self.is_capped else {},
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties = {
            "data": schema,
            "count": {"type": "integer", "description": "Rows in this answer.", "example": 1},
            "total_count": {"type": "integer", "description": f"Exact up to {COUNT_CAP:,}.", "example": 1},
            "page": {"type": "integer", "example": 1},
            "limit": {"type": "integer", "example": DEFAULT_LIMIT},
            "has_next": {"type": "boolean", "example": False},
            "meta": {"type": "object", "additionalProperties": True, "example": {}},
        }
        return {"type": "object", "required": list(properties), "properties": properties}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        number = {"in": "query", "required": False}
        parameters: list[dict[str, Any]] = [
            {**number, "name": "page", "schema": {"type": "integer", "minimum": 1, "default": 1}},
            {
                **number,
                "name": "limit",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            },
        ]
        fields = getattr(view, "sort_fields", {})
        return [*parameters, *self.sort_parameters(fields)] if fields else parameters

    def sort_parameters(self, fields: Fields) -> list[dict[str, Any]]:
        choices = [name for field in fields for name in (field, f"-{field}")]
        return [{"in": "query", "required": False, "name": "sort", "schema": {"type": "string", "enum": choices}}]


class ContactPagination(PageLimitPagination):
    """Pages of the contact API: `page`, `limit`, and `sortBy` with `sortOrder` where the view has `sort_fields`."""

    def order(self, request: Request, view: Any) -> list[str]:
        fields = getattr(view, "sort_fields", {})
        if not fields:
            return super().order(request, view)
        name = request.query_params.get("sortBy", "") or view.default_sort.removeprefix("-")
        direction = request.query_params.get("sortOrder", "") or ("desc" if view.default_sort[0] == "-" else "asc")
        if direction not in ("asc", "desc"):
            raise InvalidInput("sortOrder must be asc or desc.", fields={"sortOrder": ["Unknown."]})
        return _columns(fields, name, is_descending=direction == "desc", parameter="sortBy")

    def get_paginated_response(self, data: Any) -> Response:
        pages = -(-self.total // self.limit)
        meta = {
            "page": self.page,
            "limit": self.limit,
            "total": self.total,
            "totalPages": pages,
            "hasNextPage": self.has_next,
            "hasPreviousPage": self.page > 1,
        }
        if self.is_capped:
            meta["totalIsCapped"] = True
        return Response({"data": data, "meta": meta})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        capped = {"type": "boolean", "description": "Only there, and true, when `total` is capped."}
        meta = {
            "page": {"type": "integer", "example": 1},
            "limit": {"type": "integer", "example": DEFAULT_LIMIT},
            "total": {"type": "integer", "description": f"Exact up to {COUNT_CAP:,}.", "example": 1},
            "totalPages": {"type": "integer", "example": 1},
            "hasNextPage": {"type": "boolean", "example": False},
            "hasPreviousPage": {"type": "boolean", "example": False},
        }
        whole = {"type": "object", "required": list(meta), "properties": {**meta, "totalIsCapped": capped}}
        # Behind `allOf` the example is taken as it is, without what is there in few answers only.
        described = {"allOf": [whole], "example": {name: field["example"] for name, field in meta.items()}}
        return {"type": "object", "required": ["data", "meta"], "properties": {"data": schema, "meta": described}}

    def sort_parameters(self, fields: Fields) -> list[dict[str, Any]]:
        return [
            {"in": "query", "required": False, "name": "sortBy", "schema": {"type": "string", "enum": list(fields)}},
            {
                "in": "query",
                "required": False,
                "name": "sortOrder",
                "schema": {"type": "string", "enum": ["asc", "desc"]},
            },
        ]


def _whole(request: Request, name: str, *, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise InvalidInput(f"{name} must be a whole number from 1 to {most:,}.", fields={name: ["Not a valid number."]})
    return int(text)


def _columns(fields: Fields, name: str, *, is_descending: bool, parameter: str) -> list[str]:
    """Return the ordering by a public name, which stands for a column, or for several that break ties."""
    columns = fields.get(name)
    if columns is None:
        names = ", ".join(fields)
        raise InvalidInput(f"{parameter} must be one of: {names}.", fields={parameter: ["Unknown."]})
    sign = "-" if is_descending else ""
    return [f"{sign}{column}" for column in (*([columns] if isinstance(columns, str) else columns), "pk")]
