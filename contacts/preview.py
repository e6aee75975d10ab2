"""What a template makes of contacts, before anything is sent: texts, parts, credits, and what would be missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from django.utils.safestring import SafeString

from billing import rates
from contacts import rendering, single
from contacts.models import Contact
from contacts.rendering import Rendered
from linkit import clock, encoding
from linkit.encoding import Segments
from linkit.markup import amount
from sms_providers import text as sms_text

_SAMPLES = 3


@dataclass(frozen=True)
class Sample:
    """One contact's message; `problem` says why it cannot be sent."""

    contact: Contact
    rendered: Rendered
    counted: Segments
    cost: Decimal
    problem: str

    @property
    def shown_cost(self) -> SafeString:
        return amount(self.cost)


@dataclass
class Preview:
    """All contacts' messages. Whoever lacks a value gets the text without it; `missing` counts them by its name."""

    sendable: int = 0
    refused: int = 0
    parts: int = 0
    cost: Decimal = Decimal(0)
    missing: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def shown_cost(self) -> SafeString:
        return amount(self.cost)


def look(*, organization_id: UUID, template: str, contacts: Iterable[Contact]) -> Preview:
    """Render `template` for contacts of an organization.

    The samples are the first ones, the first who lacks a value, and the first whose text cannot be sent.
    """
    compiled = rendering.compile_template(template)
    attributes = single.attribute_names(organization_id)
    tariff = rates.tariffs([organization_id], today=clock.now().date())[organization_id]
    found = Preview()
    for number, contact in enumerate(contacts):
        rendered = compiled.render(rendering.values_of(contact, attributes))
        is_telling = number < _SAMPLES or (rendered.missing and not found.missing)
        problem = ""
        try:
            counted = sms_text.measure(rendered.text)
        except sms_text.InvalidText as refusal:
            counted, problem = encoding.segments(rendered.text[: sms_text.MAX_CHARACTERS]), refusal.message
            is_telling = is_telling or not found.refused
            cost = Decimal(0)
            found.refused += 1
        else:
            cost = tariff.price(contact.primary_phone) * counted.count
            found.sendable += 1
            found.parts += counted.count
            found.cost += cost
        for name in rendered.missing:
            found.missing[name] = found.missing.get(name, 0) + 1
        if is_telling:
            found.samples.append(Sample(contact, rendered, counted, cost, problem))
    return found
