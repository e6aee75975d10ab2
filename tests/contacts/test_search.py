"""What a search in contacts finds, and that the ways to find it quickly find the same."""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.core.management.base import CommandError
from django.db import ProgrammingError, connection

from contacts import folding, search
from contacts.models import Contact
from linkit.models import Organization
from tests import factories
from tests.conftest import Api
from tests.contacts.conftest import CONTACT, answered, make


def found(api: Api, typed: str, **query: Any) -> list[str]:
    """Return the first names of the contacts that are found."""
    return [row["firstName"] for row in answered(api.get(CONTACT, {"search": typed, **query}))["data"]]


# --- what is found ------------------------------------------------------------------------------------------------


SARA = {
    "firstName": "Sara",
    "lastName": "Al-Qahtani",
    "fullName": "Sara Alice",
    "primaryEmail": "Sara.A@Example.com",
    "primaryPhone": "0501234567",
    "city": "Riyadh",
}
FINDS = [
    "Sara", "sara", "SARA", "ara", "s", "ar", "Al-Qah", "qahtani", "-", "Sara Alice", "sara.a@", "@EXAMPLE.com",
    "example", ".", "0501234567", "050123", "501234", "+966501234567", "966501234567", "00966501234567", "+96650",
    "050 123 4567", "+966 50 123 4567", "050-123-4567", "(050)1234567", "(050) 123-4567", "٠٥٠١٢٣", "۰۵۰۱۲۳", "1234",
    "١٢٣٤", "alice sara", "sara 0501 example", "sàrà", "Şara", "  sara   alice ", "sara sara", "ＳＡＲＡ", "sa\u200dra",
]  # fmt: skip
FINDS_NOT = [
    "sarah", "saraalice", "alice0501", "sara nobody", "0501234568", "+0501234567", "exampel", "%", "_", "s_ra", "s%a",
    "\\", "sara\\", "'", "Riyadh",
]  # fmt: skip


def test_any_part_of_a_name_an_address_or_a_number_finds(api: Api):
    make(api, firstName="Moon", primaryPhone="0555555555")
    make(api, **SARA)
    for typed in FINDS:
        assert found(api, typed) == ["Sara"], typed


def test_what_is_in_none_of_them_does_not(api: Api):
    make(api, **SARA)
    for typed in FINDS_NOT:
        assert found(api, typed) == [], typed


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("أحمد", "احمد"), ("احمد", "أحمد"), ("إبراهيم", "ابراهيم"), ("آلاء", "الاء"), ("ٱلرحمن", "الرحمن"),
        ("فاطمة", "فاطمه"), ("فاطمه", "فاطمة"), ("ليلى", "ليلي"), ("علي", "على"), ("مُحَمَّد", "محمد"),
        ("محمد", "مُحَمَّد"),
        ("محـــمد", "محمد"), ("محمد", "محـمد"), ("کریم", "كريم"), ("مؤمن", "مومن"),
        ("عبدالله", "دال"), ("ظافر", "ظ"), ("ذياب", "ذي"),
        ("محمد", "م"),
        ("محمد", "حم"), ("غرفة ١٢", "12"), ("غرفة 12", "١٢"), ("José", "jose"), ("Jose", "josé"),
        ("Müller", "MULLER"), ("Straße", "STRASSE"), ("Łukasz", "lukasz"), ("Øre", "ore"), ("İstanbul", "istanbul"),
        ("Иван", "ИВА"), ("王小明", "小"), ("王小明", "王小"), ("王小明", "王小明"), ("Ωμέγα", "ωμεγα"),
        ("ﻣﺤﻤﺪ", "محمد"),
    ],
    ids=ascii,
)  # fmt: skip
def test_variants_of_a_letter_are_one(organization: Organization, stored: str, typed: str):
    contact = factories.make_contact(organization, first_name=stored)
    factories.make_contact(organization, first_name="Zz")
    assert list(search.matching(Contact.objects.all(), typed)) == [contact]


def test_other_letters_are_not(api: Api):
    for stored, typed in (("محمد", "mhmd"), ("MHMD", "محمد"), ("خالد", "x"), ("Xena", "خ"), ("زياد", "ذ")):
        make(api, firstName=stored)
        assert stored not in found(api, typed)


def test_every_character_stands_for_itself(api: Api):
    make(api, firstName="nothing of it")
    for typed in ("100%", "a_b", "\\", "[x]", "(y)", "'z", "{", "%^"):
        make(api, firstName=f"<{typed}>")
        assert found(api, typed) == [f"<{typed}>"]


def test_a_search_for_nothing_finds_all(api: Api):
    make(api, firstName="Sara")
    for typed in ("", "   ", "ـ", "\u064e", "\x00", "\u202e\t\n"):
        assert found(api, typed) == ["Sara"], ascii(typed)


def test_a_hundred_characters_are_read(api: Api):
    make(api, firstName="x" * 100, lastName="y")
    assert found(api, "x" * 100 + "nobody") == ["x" * 100]
    assert found(api, "x" * 99 + " nobody") == ["x" * 100]
    assert found(api, "x" * 90 + " nobody") == []
    assert found(api, "x " * 100_000) == ["x" * 100]


@pytest.mark.parametrize(
    ("number", "typed"),
    [
        ("+971501234567", "050123"), ("+447400123456", "07400 123456"), ("+12025550123", "(202) 555-0123"),
        ("+79123456789", "8 912 345"), ("+390612345678", "0612345"), ("+8613812345678", "138 1234"),
    ],
)  # fmt: skip
def test_a_number_is_found_as_it_is_dialled_at_home(organization: Organization, number: str, typed: str):
    contact = factories.make_contact(organization, number)
    factories.make_contact(organization)
    assert list(search.matching(Contact.objects.all(), typed)) == [contact]


def test_pages_and_orders_of_a_search(api: Api):
    for name in ("Sara", "Nora", "Mona"):
        make(api, firstName=name, lastName="Ali")
    make(api, firstName="Hind")
    assert found(api, "ali") == ["Mona", "Nora", "Sara"]
    assert found(api, "ali", sortBy="firstName", sortOrder="asc") == ["Mona", "Nora", "Sara"]
    assert found(api, "ali", sortOrder="asc", limit=2) == ["Sara", "Nora"]
    body = answered(api.get(f"{CONTACT}?search=ali&limit=2&page=2"))
    assert [row["firstName"] for row in body["data"]] == ["Sara"]
    assert body["meta"] == {
        "page": 2, "limit": 2, "total": 3, "totalPages": 2, "hasNextPage": False, "hasPreviousPage": True,
    }  # fmt: skip


def test_what_is_saved_or_written_in_bulk_is_found(organization: Organization):
    contact = factories.make_contact(organization, first_name="Sara")
    contact.first_name = "Nora"
    contact.save(update_fields=["first_name"])
    assert list(search.matching(Contact.objects.all(), "nora")) == [contact]
    assert not search.matching(Contact.objects.all(), "sara").exists()


# --- the quick ways on PostgreSQL ---------------------------------------------------------------------------------

WORDS = ["sara", "nora", "محمد", "أحمد", "ali", "al-amri", "زياد", "王小明", "иван", "o'hara", "100%", "a_b", "x", "ظ"]
ASKED = [
    *WORDS,
    "a",
    "م",
    "ar",
    "حم",
    "zq",
    "%",
    "ali sara",
    "a o",
    "x y z",
    "05",
    "501",
    "96650",
    "nobody",
    "小明",
    "ظ x",
    "k.b",
]
ORDERS = [
    ["-created_at", "-pk"], ["created_at", "pk"], ["-updated_at", "-pk"], ["first_name", "pk"], ["-last_name", "-pk"],
]  # fmt: skip
# Windows that all fit in; a first window only; a second one whatever it costs; the index of trigrams alone.
WAYS = [(1000, 0.3), (7, 0.3), (7, 0.0), (7, 1e9)]


@pytest.fixture
def many(organization: Organization, other_organization: Organization) -> list[Contact]:
    """Contacts of two organizations and deleted ones; of a word in the oldest only."""
    dice = random.Random(7)
    made = []
    for place in range(160):
        contact = Contact(
            organization=organization if place % 4 else other_organization,
            primary_phone=factories.mobile(),
            first_name=" ".join(dice.choices(WORDS, weights=range(len(WORDS), 0, -1), k=2)),
            last_name="oldest" if place < 30 else dice.choice(WORDS),
            primary_email=f"{dice.choice('abc')}.{dice.choice('abk')}@example.com" if place % 3 else "",
        )
        contact.fill_search()
        made.append(contact)
    Contact.objects.bulk_create(made)
    gone = [contact.pk for contact in made[::9]]
    Contact.objects.filter(pk__in=gone).update(deleted_at="2026-01-01T00:00:00Z")
    return list(Contact.objects.live().filter(organization=organization))


@pytest.mark.postgres
@pytest.mark.parametrize(("window", "cost"), WAYS)
@pytest.mark.usefixtures("many")
def test_every_way_finds_the_same(
    organization: Organization, monkeypatch: pytest.MonkeyPatch, window: int, cost: float
):
    monkeypatch.setattr(search, "_WINDOW", window)
    monkeypatch.setattr(search, "_READ", cost)
    monkeypatch.setattr(search, "_SAMPLE", 10)
    own = Contact.objects.live().filter(organization=organization)
    for place, typed in enumerate([*ASKED, "oldest"]):
        words = search.terms(typed)
        for order in (ORDERS[0], ORDERS[place % len(ORDERS)]):
            expected = list(search.matching(own, typed).order_by(*order).values_list("pk", flat=True))
            for cap, start, stop in ((11, 0, 4), (11, 4, 8), (11, 0, 100), (10_001, 0, 100), (11, 200, 204)):
                monkeypatch.setattr(search, "_CAP", cap)
                page = search.find(organization_id=organization.pk, words=words, order=order, start=start, stop=stop)
                assert page.ids == expected[start:stop], (typed, order, start)
                assert page.count == min(len(expected), cap), (typed, order)


@pytest.mark.postgres
def test_the_settings_of_a_search_end_with_it(organization: Organization, monkeypatch: pytest.MonkeyPatch, many: Any):
    monkeypatch.setattr(search, "_WINDOW", 7)
    monkeypatch.setattr(search, "_READ", 1e9)
    search.find(organization_id=organization.pk, words=["sara"], order=["-created_at", "-pk"], start=0, stop=5)
    with connection.cursor() as cursor:
        for name in ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan"):
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == ("on",)


@pytest.mark.postgres
@pytest.mark.django_db
@pytest.mark.parametrize("typed", [*ASKED, "aб", "%%%", "a-b-c", "ab-cd"])
def test_every_word_can_be_asked_of_the_index(typed: str):
    """It would read itself from end to end for a pattern that has no trigram, in any locale."""
    asked = search._Search(uuid4(), search.terms(typed), ["-created_at", "-pk"], 0, 5)
    conditions, values = asked.indexed_conditions()
    for condition, value in zip(conditions.split(" AND "), values, strict=True):
        if condition.endswith("LIKE %s"):
            assert re.search("[A-Za-z0-9]{3}|^% [a-z0-9]", value), value


@pytest.mark.parametrize("cap", [3, 10_000])
def test_the_count_ends_somewhere(api: Api, monkeypatch: pytest.MonkeyPatch, cap: int):
    monkeypatch.setattr("linkit.pagination.COUNT_CAP", cap)
    monkeypatch.setattr(search, "_CAP", cap + 1)
    for _ in range(5):
        make(api, firstName="Sara")
    meta = answered(api.get(f"{CONTACT}?search=sara&limit=2"))["meta"]
    assert (meta["total"], meta["hasNextPage"]) == (min(cap, 5), True)
    assert meta.get("totalIsCapped", False) == (cap < 5)


# --- folding ------------------------------------------------------------------------------------------------------


def test_whatever_is_in_a_text_begins_its_pieces():
    dice = random.Random(3)
    letters = "abز م0١5حظذx%_.-@王и é"
    for _ in range(2000):
        text = folding.folded("".join(dice.choices(letters, k=12)))
        pieces = folding.pieces(text)
        for word in text.split():
            start = dice.randrange(len(word))
            term = word[start : start + dice.randrange(1, 5)]
            for each in folding.pieces_of_term(term):
                assert any(piece.startswith(each) for piece in pieces), (text, term)


def test_folding_twice_changes_only_what_is_of_two_scripts():
    for text in ("Sara", "José", "100%", "王小明", "Иван"):
        assert folding.folded(folding.folded(text)) == folding.folded(text)


def test_a_text_is_cut_between_characters():
    text = folding.text_of(["王" * 200, "小" * 200, "明" * 300], "+966501234567")
    assert 1990 < len(text.encode()) <= 2000


# --- the migration ------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db
def test_the_index_is_there():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'contacts_contact'")
        defined = " ".join(row[0] for row in cursor.fetchall())
    assert "USING gin (search_text gin_trgm_ops, search_pieces gin_trgm_ops)" in defined
    assert "(organization_id, created_at, id) INCLUDE (search_text)" in defined


@pytest.mark.postgres
@pytest.mark.django_db
def test_the_indexes_can_be_taken_back_and_made_again():
    migration = importlib.import_module("contacts.migrations.0002_contact_search")
    with connection.schema_editor() as editor:
        migration.make_slow(None, editor)
        migration.make_fast(None, editor)
    test_the_index_is_there()


def test_without_the_extension_the_migration_says_what_to_do():
    class Cursor:
        def execute(self, statement: str) -> None:
            raise ProgrammingError('permission denied to create extension "pg_trgm"')

    @contextmanager
    def cursor() -> Iterator[Cursor]:
        yield Cursor()

    migration = importlib.import_module("contacts.migrations.0002_contact_search")
    editor = SimpleNamespace(connection=SimpleNamespace(vendor="postgresql", cursor=cursor))
    with pytest.raises(CommandError, match="permission denied") as refusal:
        migration.make_fast(None, editor)
    assert "CREATE EXTENSION pg_trgm" in str(refusal.value)
