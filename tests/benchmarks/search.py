"""Search and lists of contacts: every kind of question under 100 ms in an organization of a million.

    python -m tests.benchmarks.search [--contacts 1000000]

Asked over HTTP as a client asks, authentication, count and page included, of a huge organization, of one a twentieth as
large whose contacts lie between those of the huge one, and of a small one beside both. Names are as uneven as names
are; one word is in the oldest contacts only. `work` is what client and server have computed, which a busy machine does
not change. The last lines are of writing, which has to keep all the indexes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests import services

GOAL = 100.0  # ms
ROUNDS = 5
MID, SMALL = 20, 50  # one contact of the middle organization to so many of the huge one; contacts of the small one
CLUSTER = 50  # the first of so many parts of the huge organization has a word that no other part has

_ARABIC = (
    "محمد أحمد عبدالله فاطمة نورة سارة خالد علي عمر يوسف إبراهيم مريم عائشة سلطان فهد ناصر سعود تركي ريم هند لطيفة"
    " منيرة بندر ماجد وليد زياد طارق حسن حسين رنا دانة غادة أمل منى هدى جواهر شيماء آلاء إسراء ليلى"
)
_ARABIC_FAMILIES = (
    "القحطاني العتيبي الشمري الدوسري الحربي الغامدي الزهراني المطيري العنزي السبيعي الشهري المالكي الجهني البقمي"
    " العمري الأحمدي الخالدي التميمي اليامي الرشيدي الصاعدي السلمي الثبيتي الحازمي المري"
)
_LATIN = (
    "Mohammed Ahmed Abdullah Fatimah Noura Sara Khalid Ali Omar Yousef Ibrahim Maryam Aisha Sultan Fahad Nasser Saud"
    " Turki Reem Hind John Mary David Anna Peter Laila Hassan Hussein Rana Amal Mona Huda Zaid Tariq Waleed Majed"
    " Bandar Ziad Lina Dana"
)
_LATIN_FAMILIES = (
    "Alqahtani Alotaibi Alshammari Aldosari Alharbi Alghamdi Alzahrani Almutairi Alanazi Smith Johnson Khan Patel"
    " Rahman Hussain Siddiqui Malik Chaudhry Fernandez Cruz Santos Reyes Nair Menon Pillai Kumar Singh Abdelrahman"
    " Elsayed Mahmoud"
)
_MAIL = ["gmail.com", "hotmail.com", "outlook.sa", "yahoo.com", "company.com.sa"]

# What is asked of the huge organization, by kind.
QUESTIONS: list[tuple[str, str]] = [
    ("common word", "mohammed"),
    ("common word", "محمد"),
    ("in most", "gmail"),
    ("in all", "966"),
    ("in one of 7", "ahmed"),
    ("in one of 50", "company"),
    ("in one of 100", "rahman"),
    ("rare word", "alqahtani77"),
    ("nobody has it", "nobodyhasthis"),
    ("nobody has it", "زقزقزق"),
    ("oldest only", "oldtimers"),
    ("one letter", "a"),
    ("one letter", "م"),
    ("one letter, rare", "x"),
    ("one letter, nobody", "ظ"),
    ("one mark, nobody", "%"),
    ("two letters", "mo"),
    ("two letters", "ال"),
    ("two letters, rare", "xx"),
    ("two letters, nobody", "zq"),
    ("two letters, nobody", "ظغ"),
    ("another script", "王小明"),
    ("part of a number", "050123"),
    ("part of a number", "98765"),
    ("number at home", "0501234567"),
    ("number, Arabic digits", "٠٥٠١٢٣٤"),
    ("two words", "mohammed alqahtani"),
    ("two words", "محمد القحطاني"),
    ("three words", "sara gmail 05"),
    ("common and rare", "mohammed zq"),
    ("common and short", "mo al"),
    ("six short words", "a b c d e f"),
]
OF_OTHERS = ["", "mohammed", "محمد", "gmail", "a", "zq", "nobodyhasthis", "mohammed alqahtani"]
SORTS = ["createdAt", "updatedAt", "firstName", "lastName"]


def names(dice: random.Random, place: int) -> tuple[str, str, str]:
    """Return a first and a last name, and an e-mail address or nothing."""

    def one(words: str) -> str:
        of = words.split()
        return of[min(int(dice.expovariate(5) * len(of)), len(of) - 1)]

    is_arabic = dice.random() < 0.55
    first, last = (one(_ARABIC), one(_ARABIC_FAMILIES)) if is_arabic else (one(_LATIN), one(_LATIN_FAMILIES))
    if dice.random() < 0.02:
        last += "-" + "".join(dice.choices("aeioubcdfghklmnprstvw", k=6))
    if dice.random() < 0.4:
        return first, last, ""
    user = f"{one(_LATIN)}{dice.choice('._')}{one(_LATIN_FAMILIES)}{dice.randrange(10_000)}".lower()
    return first, last, f"{user}@{dice.choices(_MAIL, [60, 20, 10, 8, 2])[0]}"


def contacts(organizations: list[Any], count: int) -> Iterator[Any]:
    """Yield the contacts of the huge organization, and those of the others where they lie between."""
    from contacts.models import Contact

    huge, mid, small = organizations
    dice = random.Random(4)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    numbers = dice.sample(range(10**8), count)
    for place in range(count):
        owners = [huge] + [mid] * (place % MID == 0) + [small] * (place % max(count // SMALL, 1) == 0)
        for owner in owners:
            first, last, email = names(dice, place)
            if owner is huge and place < count // CLUSTER:
                last += " Oldtimers"
            contact = Contact(
                id=uuid.UUID(int=dice.getrandbits(128)),
                organization=owner,
                primary_phone=f"+9665{numbers[place]:08}",
                first_name=first,
                last_name=last,
                full_name=f"{first} {last}",
                primary_email=email,
                city="Riyadh",
                channels=["sms"],
                created_at=began + timedelta(seconds=place),
                updated_at=began + timedelta(seconds=dice.randrange(10**7)),
            )
            contact.fill_search()
            yield contact


def fill(organizations: list[Any], count: int) -> None:
    from django.db import connection

    from contacts.models import Contact

    fields = Contact._meta.concrete_fields
    columns = ", ".join(str(field.column) for field in fields)
    with connection.cursor() as cursor, cursor.copy(f"COPY contacts_contact ({columns}) FROM STDIN") as copy:
        for contact in contacts(organizations, count):
            values = [getattr(contact, field.attname) for field in fields]
            copy.write_row([json.dumps(value) if isinstance(value, list | dict) else value for value in values])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE contacts_contact")  # which autovacuum does within a minute


class Asker:
    """A client of one organization that notes how long its questions take."""

    def __init__(self, organization: Any) -> None:
        from tests import factories
        from tests.conftest import Api

        self.api = Api().using(factories.make_api_key(organization))

    def ask(self, **query: Any) -> tuple[float, float, float, str]:
        """Return the median and the longest time and the median of its work in ms, and how many were found."""
        took, worked = [], []
        for _ in range(ROUNDS):
            began, work = time.perf_counter(), _work()
            response = self.api.get("/api/contact", query)
            took.append((time.perf_counter() - began) * 1000)
            worked.append(_work() - work)
            assert response.status_code == 200, response.content
        meta = response.json()["meta"]
        found = f"{meta['total']:,}" + ("+" if "totalIsCapped" in meta else "")
        return statistics.median(took), max(took), statistics.median(worked), found

    def upsert(self, numbers: list[int], **fields: Any) -> float:
        began = time.perf_counter()
        data = [{"primaryPhone": f"+9665{number:08}", **fields} for number in numbers]
        response = self.api.post("/api/contact/upsert", {"data": data})
        assert response.json()["errors"] == [], response.content
        return (time.perf_counter() - began) * 1000


def _work() -> float:
    """Return the ms that this process and its server process have computed, whoever else uses the machine."""
    from django.db import connection

    connection.ensure_connection()
    server = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    known = int(server.read_text().split()[0]) if server.exists() else 0
    return time.process_time() * 1000 + known / 1e6


def measure(organizations: list[Any], results: list[dict[str, Any]]) -> None:
    huge, mid, small = (Asker(organization) for organization in organizations)

    def note(whose: str, kind: str, asked: str, asker: Asker, **query: Any) -> None:
        median, longest, work, found = asker.ask(**query)
        row = {"of": whose, "kind": kind, "asked": asked, "found": found}
        results.append({**row, "median": median, "max": longest, "work": work})
        mark = "" if median < GOAL else "   over the goal"
        print(f"{whose:6} {kind:22} {asked:24} {found:>8} {median:8.1f} {longest:8.1f} {work:8.1f}{mark}", flush=True)

    print(f"{'of':6} {'kind':22} {'asked':24} {'found':>8} {'median':>8} {'max':>8} {'work':>8}  ms")
    for kind, asked in QUESTIONS:
        note("huge", kind, asked, huge, search=asked)
    note("huge", "page 3 of common", "mohammed", huge, search="mohammed", page=3, limit=100)
    note("huge", "oldest first", "mohammed", huge, search="mohammed", sortOrder="asc")
    note("huge", "rare, by name", "alqahtani77", huge, search="alqahtani77", sortBy="firstName")
    note("huge", "common, by name", "mohammed", huge, search="mohammed", sortBy="firstName")
    note("huge", "a name, last by it", "zaid", huge, search="zaid", sortBy="firstName")
    note("huge", "a name, last by it", "ahmed", huge, search="ahmed", sortBy="firstName", sortOrder="desc")
    note("huge", "number, by first name", "0509", huge, search="0509", sortBy="firstName")
    for asked in OF_OTHERS:
        note("middle", "search" if asked else "list", asked, mid, search=asked)
        note("small", "search" if asked else "list", asked, small, search=asked)
    note("huge", "page 50 of the list", "", huge, page=50)
    for sort in SORTS:
        for direction in ("asc", "desc"):
            note("huge", f"list, {direction}", sort, huge, sortBy=sort, sortOrder=direction)


def measure_writing(organization: Any) -> dict[str, float]:
    asker = Asker(organization)
    took: dict[str, list[float]] = {"new": [], "changed": [], "same": []}
    for place in range(ROUNDS):
        numbers = list(range(place * 1000, place * 1000 + 1000))
        took["new"].append(asker.upsert(numbers, firstName="Somebody", lastName="New", primaryEmail="new@example.com"))
        took["changed"].append(asker.upsert(numbers, lastName="Changed"))
        took["same"].append(asker.upsert(numbers, lastName="Changed"))
    return {kind: statistics.median(values) for kind, values in took.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--contacts", type=int, default=1_000_000)
    given = options.parse_args()
    services.provide()
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linkit.settings.test")
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from linkit.models import Organization

    settings.API_RATE_PER_MINUTE = settings.API_RATE_BURST = 10**6
    call_command("migrate", verbosity=0)
    organizations = [Organization.objects.create(name=name) for name in ("Huge", "Middle", "Small")]
    began = time.perf_counter()
    fill(organizations, given.contacts)
    print(f"{given.contacts:,} contacts in {time.perf_counter() - began:.0f} s")
    with connection.cursor() as cursor:
        for name in ("contacts_contact", "contact_by_organization", "contact_search"):
            cursor.execute("SELECT pg_size_pretty(pg_relation_size(%s::regclass))", [name])
            print(f"{name}: {cursor.fetchone()[0]}")
    results: list[dict[str, Any]] = []
    measure(organizations, results)
    writing = measure_writing(organizations[0])
    for kind, median in writing.items():
        print(f"upsert of 1,000, {kind}: {median:.0f} ms")
    slow = [each for each in results if each["median"] >= GOAL]
    print(f"{len(results) - len(slow)} of {len(results)} kinds under {GOAL:.0f} ms")
    print(json.dumps({"contacts": given.contacts, "results": results, "upsert": writing}, ensure_ascii=False))


if __name__ == "__main__":
    main()
