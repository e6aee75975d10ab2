"""Contacts, custom attributes and audiences in the console."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from contacts import attributes, services
from contacts.models import AttributeType
from linkit.models import Organization
from tests import factories

pytestmark = pytest.mark.django_db


def test_smoke(console: Any, organization: Organization):
    age = attributes.create(organization=organization, display_name="Customer Age", type=AttributeType.NUMBER)
    contact = services.create(
        organization=organization,
        fields={"primary_phone": factories.mobile(), "first_name": "Ali", "attribute_values": {str(age.pk): 5}},
    )
    for who in ("superuser", "operator", "viewer"):
        browser = console(who)
        for url in (
            reverse("admin:contacts_contact_changelist"),
            reverse("admin:contacts_contact_changelist") + "?q=ali",
            reverse("admin:contacts_contact_add"),
            reverse("admin:contacts_contact_change", args=[contact.pk]),
            reverse("admin:contacts_contact_import"),
            reverse("admin:contacts_contact_export"),
            reverse("admin:contacts_customattribute_changelist"),
            reverse("admin:contacts_customattribute_add"),
            reverse("admin:contacts_customattribute_change", args=[age.pk]),
            reverse("admin:contacts_customattribute_delete", args=[age.pk]),
            reverse("admin:contacts_audience_changelist"),
            reverse("admin:contacts_audience_add"),
        ):
            answer = browser.get(url)
            print(who, url, answer.status_code)
            assert answer.status_code in (200, 403), url
