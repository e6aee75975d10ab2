"""Templates: what they say of a contact, what is missing, and that no template is slow or reaches anything else."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.models import Contact
from contacts.rendering import PLACEHOLDERS, Rendered, compile_template, missing_sentence, render, values_of

SARA = {"firstName": "Sara", "city": "جدة", "customAttributes.loyalty_tier": "gold", "customAttributes.note": ""}

NAMES = st.sampled_from([*PLACEHOLDERS, "customAttributes.loyalty_tier", "customAttributes.note"])
SPACES = st.text(alphabet=" \t\r\n\u00a0", max_size=3)
VALUES = st.dictionaries(NAMES, st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.booleans()))
# Pieces of which a template is made, rightly or wrongly.
SCRAPS = st.sampled_from(
    [
        *[
            "{{",
            "}}",
            "{",
            "}",
            "{{{",
            " ",
            "\n",
            ".",
            "$",
            "$contact",
            "$contact.",
            "$org.name",
            "firstName",
            "a",
            "م",
        ],
        *["{{ $contact.firstName }}", "{{$contact.customAttributes.note}}", "customAttributes.", "{{ foo }}", "😀"],
    ]
)
TEMPLATES = st.one_of(st.text(max_size=200), st.lists(SCRAPS, max_size=30).map("".join))


class Watched(Mapping[str, object]):
    """A mapping that has every key, and remembers which ones it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> object:
        self.asked.add(key)
        return "\ue000"

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("A template never lists the values.")

    def __len__(self) -> int:
        return 1


def test_values_stand_where_they_are_named():
    template = "Hi {{ $contact.firstName }} in {{ $contact.city }}: {{ $contact.customAttributes.loyalty_tier }}!"
    assert render(template, SARA) == Rendered("Hi Sara in جدة: gold!", ())


@pytest.mark.parametrize(
    "name", [*PLACEHOLDERS, "customAttributes.loyalty_tier", "customAttributes.فئة", "customAttributes.a-1"]
)
def test_every_field_and_any_slug_can_be_named(name: str):
    assert render(f"{{{{ $contact.{name} }}}}", {name: "x"}) == Rendered("x", ())


@pytest.mark.parametrize(
    "template",
    [
        "{{$contact.firstName}}",
        "{{ $contact.firstName}}",
        "{{   $contact.firstName\t}}",
        "{{\n  $contact.firstName\r\n}}",
        "{{\u00a0$contact.firstName\u00a0}}",  # pasted from a word processor
    ],
)
def test_any_white_space_may_stand_inside_the_braces(template: str):
    assert render(template, SARA) == Rendered("Sara", ())


@pytest.mark.parametrize("text", ["", "Hello", "a { b } c", "}} and }", "{ $contact.firstName }", "$contact.firstName"])
def test_text_without_double_braces_stays_as_it_is(text: str):
    assert render(text, SARA) == Rendered(text, ())


def test_a_value_is_not_expanded_again():
    values = {"firstName": "{{ $contact.email }}", "lastName": "{", "email": "secret"}
    assert render("{{ $contact.firstName }}", values) == Rendered("{{ $contact.email }}", ())
    assert render("{{$contact.lastName}}{{$contact.lastName}} $contact.email }}", values).text == "{{ $contact.email }}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        (" ", " "),
        (False, "false"),
        (True, "true"),
        (0, "0"),
        (-7, "-7"),
        (10.0, "10"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        (1e-7, "0.0000001"),
        (1234567.5, "1234567.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.00000001"), "0.00000001"),
        (Decimal("12.50"), "12.50"),
        (date(2025, 11, 20), "2025-11-20"),
    ],
)
def test_how_a_value_reads(value: object, text: str):
    assert render("[{{ $contact.customAttributes.x }}]", {"customAttributes.x": value}) == Rendered(f"[{text}]", ())


@pytest.mark.parametrize(
    ("placeholder", "shown"),
    [
        ("{{ $contact.lastName }}", "lastName"),  # absent
        ("{{ $contact.email }}", "email"),  # None
        ("{{ $contact.customAttributes.gone }}", "customAttributes.gone"),
        ("{{ $contact.firstname }}", "firstname"),  # names have one spelling
        ("{{ $contact.primaryPhone }}", "primaryPhone"),
        ("{{ $contact.__class__ }}", "__class__"),
        ("{{ $contact.customAttributes }}", "customAttributes"),
        ("{{ $contact.secret }}", "secret"),  # no placeholder, though it has a value
        # What names no value of a contact is shown as it stands in the template.
        ("{{ $contact.customAttributes.a.b }}", "{{ $contact.customAttributes.a.b }}"),
        ("{{ $contact.firstName.upper }}", "{{ $contact.firstName.upper }}"),
        ("{{ $org.name }}", "{{ $org.name }}"),
        ("{{foo}}", "{{ foo }}"),
        ("{{ firstName }}", "{{ firstName }}"),
        ("{{ $contact }}", "{{ $contact }}"),
        ("{{ $contact. }}", "{{ $contact. }}"),
        ("{{ $contact.first Name }}", "{{ $contact.first Name }}"),
        ("{{ $contact . firstName }}", "{{ $contact . firstName }}"),
        ("{{ $contact.firstName | upper }}", "{{ $contact.firstName | upper }}"),
        ("{{ $contact['firstName'] }}", "{{ $contact['firstName'] }}"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        ("{{}}", "{{ }}"),
        ("{{ \n }}", "{{ }}"),
    ],
)
def test_what_has_no_value_is_empty_and_missing(placeholder: str, shown: str):
    values = {**SARA, "email": None, "secret": "x", "firstname": "x", "customAttributes": "x", "foo": "x", "": "x"}
    assert render(f"<{placeholder}>", values) == Rendered("<>", (shown,))


@pytest.mark.parametrize(
    ("template", "text", "missing"),
    [
        ("a {{ b", "a  b", ("{{ b",)),
        ("a {{", "a ", ("{{",)),
        ("{{ $contact.firstName", " $contact.firstName", ("{{ $contact.firstName",)),
        ("{{ $contact.firstName }", " $contact.firstName }", ("{{ $contact.firstName }",)),
        # The first one ends where the second one begins.
        ("{{ {{ $contact.firstName }} }}", " Sara }}", ("{{",)),
        ("{{ a {{$contact.firstName}}", " a Sara", ("{{ a",)),
        ("{{{{ $contact.firstName }}}}", "Sara}}", ("{{",)),
        ("{{{ $contact.firstName }}}", "}", ("{{ { $contact.firstName }}",)),
        ("{{ $contact.firstName }}}", "Sara}", ()),
        ("}} {{ $contact.firstName }} }}", "}} Sara }}", ()),
    ],
)
def test_braces_that_do_not_match(template: str, text: str, missing: tuple[str, ...]):
    assert render(template, SARA) == Rendered(text, missing)


def test_what_is_missing_is_named_once_in_order_of_appearance():
    template = "{{ $contact.zip }} {{ foo }} {{$contact.city}} {{ $contact.state }} {{foo}} {{ $contact.zip }}"
    assert render(template, SARA) == Rendered("  جدة   ", ("zip", "{{ foo }}", "state"))


@pytest.mark.parametrize(
    "template", ["{{ " + "long " * 50 + "}}", "{{ " + "long " * 50, "{{ $contact." + "a" * 65 + " }}"]
)
def test_what_cannot_be_named_is_shown_in_40_characters(template: str):
    (shown,) = render(template, {}).missing
    assert len(shown) == 40
    assert shown.startswith("{{ ")
    assert shown.endswith("…")


def test_the_longest_name_of_an_attribute_is_shown_whole():
    name = "customAttributes." + "a" * 64
    assert render(f"{{{{ $contact.{name} }}}}", {}).missing == (name,)
    assert render(f"{{{{ $contact.{name} }}}}", {name: 1}).text == "1"


def test_a_template_is_read_once_for_many_contacts():
    template = compile_template("{{ $contact.firstName }} {{ $contact.city }} {{$contact.firstName}}{{ foo }}")
    assert template.names == ("firstName", "city")
    assert template.render(SARA).text == "Sara جدة Sara"
    assert template.render({"firstName": "Omar"}) == Rendered("Omar  Omar", ("city", "{{ foo }}"))
    with pytest.raises(AttributeError):
        template.names = ()  # type: ignore[misc]


@given(st.text(), st.text())
def test_a_value_comes_out_as_it_is(first: str, second: str):
    rendered = render("{{ $contact.firstName }}{{ $contact.city }}", {"firstName": first, "city": second})
    assert rendered == Rendered(first + second, ())


@given(st.lists(st.tuples(st.text().filter(lambda text: "{" not in text), NAMES, SPACES, SPACES)), VALUES)
def test_the_text_around_placeholders_is_kept(parts: list[tuple[str, str, str, str]], values: dict[str, object]):
    template = "".join(f"{text}{{{{{left}$contact.{name}{right}}}}}" for text, name, left, right in parts)
    expected = "".join(text + render(f"{{{{$contact.{name}}}}}", values).text for text, name, _, _ in parts)
    assert render(template, values).text == expected


@given(TEMPLATES, VALUES)
def test_any_template_renders_like_a_plain_reading_of_it(template: str, values: dict[str, object]):
    """By one regular expression, which is short and takes a time that is the square of a hostile template's."""

    def value(match: re.Match[str]) -> str:
        name = re.fullmatch(r"\{\{\s*\$contact\.(\S{1,81}?)\s*\}\}", match[0])
        known = name is not None and (name[1] in PLACEHOLDERS or name[1].startswith("customAttributes."))
        return render(f"{{{{$contact.{name[1]}}}}}", values).text if name is not None and known else ""

    rendered = render(template, values)
    assert rendered.text == re.sub(r"\{\{(?:(?:(?!\{\{).)*?\}\})?", value, template, flags=re.DOTALL)
    assert ("{{" in template) >= bool(rendered.missing)
    assert len(set(rendered.missing)) == len(rendered.missing)


@given(TEMPLATES)
def test_nothing_comes_out_but_the_template_and_the_values_it_names(template: str):
    values = Watched()
    text = render(template, values).text
    assert values.asked == set(compile_template(template).names)
    assert all(name in PLACEHOLDERS or name.startswith("customAttributes.") for name in values.asked)
    if "\ue000" not in template:
        assert text.replace("\ue000", "") == render(template, {}).text


HOSTILE = {
    "braces": lambda n: "{{" * n,
    "braces and spaces": lambda n: "{{ " * n,
    "spaces": lambda n: "{{" + " " * (10 * n),
    "closed spaces": lambda n: "{{" + " " * (10 * n) + "}}",
    "roots": lambda n: "{{ $contact." * n,
    "dots": lambda n: "{{$contact.customAttributes." + "a." * n,
    "closed dots": lambda n: "{{$contact.customAttributes." + "a." * n + "}}",
    "one long name": lambda n: "{{$contact." + "a" * n + "}}",
    "nested": lambda n: "{{ " * n + "$contact.firstName" + " }}" * n,
    "closing": lambda n: "{{" + "}" * n + "{{ a }}" * n,
    "single braces": lambda n: "{ " * n + "} " * n,
    "placeholders": lambda n: "{{ $contact.firstName }}" * n,
    "many names": lambda n: "".join(f"{{{{ $contact.a{number} }}}}" for number in range(n)),
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_a_hostile_template_takes_time_in_proportion_to_its_length(shape: str):
    def seconds(template: str) -> float:
        start = time.process_time()  # of this process: other work on the machine does not count
        render(template, SARA)
        return time.process_time() - start

    took = [statistics.median(seconds(HOSTILE[shape](n)) for _ in range(3)) for n in (5_000, 20_000)]
    # Four times the length; a square would be 16 times the work. Below a millisecond there is only noise.
    assert took[1] < 12 * max(took[0], 0.001)
    assert seconds(HOSTILE[shape](100_000)) < 2


def contact(**fields: object) -> Contact:
    return Contact(primary_phone="+966501234567", **fields)


def test_the_values_of_a_contact():
    sara = contact(
        first_name="Sara",
        last_name="Ali",
        primary_email="sara@example.com",
        address="1 King Road",
        city="Jeddah",
        state="Makkah",
        zip="21589",
        occupation="Engineer",
        gender="female",
        preferred_channel="sms",
    )
    assert values_of(sara, {}) == {
        "phone": "+966501234567",
        "firstName": "Sara",
        "lastName": "Ali",
        "fullName": "Sara Ali",
        "email": "sara@example.com",
        "address": "1 King Road",
        "city": "Jeddah",
        "state": "Makkah",
        "zip": "21589",
        "occupation": "Engineer",
        "gender": "female",
        "preferredChannel": "sms",
    }
    assert values_of(contact(first_name="Sara", full_name="Dr Sara Ali"), {})["fullName"] == "Dr Sara Ali"


def test_an_empty_field_has_no_value():
    values = values_of(contact(), {})
    assert set(values) == set(PLACEHOLDERS)
    assert [name for name, value in values.items() if value is not None] == ["phone"]
    assert render("{{ $contact.fullName }}{{ $contact.gender }}", values) == Rendered("", ("fullName", "gender"))


def test_attributes_are_told_by_their_slug_and_only_live_ones():
    stored = {"1": "gold", "2": "", "3": False, "4": 0, "5": None, "7": "of a deleted one"}
    attributes = {"1": "tier", "2": "note", "3": "vip", "4": "orders", "5": "cleared", "6": "never_set"}
    values = values_of(contact(attribute_values=stored), attributes)
    template = compile_template("".join(f"{{{{ $contact.customAttributes.{slug} }}}}," for slug in attributes.values()))
    assert template.render(values) == Rendered(
        "gold,,false,0,,,", ("customAttributes.cleared", "customAttributes.never_set")
    )
    assert "of a deleted one" not in values.values()


def test_the_sentence_names_everything_that_is_missing():
    missing = render("{{ $contact.firstName }}{{ $contact.customAttributes.loyalty_tier }}{{ $org.name }}", {}).missing
    assert missing_sentence(missing) == (
        "The message uses what this contact does not have: firstName, customAttributes.loyalty_tier, {{ $org.name }}. "
        "Nothing was sent or charged."
    )
