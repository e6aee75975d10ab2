"""The names that Django makes up for models and fields, in the reader's language.

Written on the model they would be migrations, of which no database knows anything.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.db.models.signals import class_prepared
from django.dispatch import receiver
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import gettext_noop as noop

# Those that pages show. Django translates its own.
_SHOWN = (
    noop("organization"),
    noop("organizations"),
    noop("membership"),
    noop("memberships"),
    noop("API keys"),
    noop("role"),
    noop("time zone"),
    noop("default region"),
    noop("is active"),
    noop("email"),
    noop("created at"),
    noop("scopes"),
    noop("credit accounts"),
    noop("rate"),
    noop("rates"),
    noop("prefix"),
    noop("price"),
    noop("valid from"),
    noop("valid until"),
    noop("note"),
    noop("installed apps"),
    noop("sender IDs"),
    noop("country"),
    noop("description"),
    noop("status"),
    noop("default sender"),
    noop("priority"),
    noop("max per second"),
    noop("source"),
    noop("reason"),
    noop("app"),
    noop("queued messages"),
    noop("bulk jobs"),
    noop("mode"),
    noop("contact"),
    noop("contacts"),
    noop("audiences"),
    noop("custom attribute"),
    noop("custom attributes"),
    noop("display name"),
    noop("first name"),
    noop("last name"),
    noop("full name"),
    noop("gender"),
    noop("address"),
    noop("city"),
    noop("occupation"),
    noop("preferred channel"),
    noop("channels"),
    noop("type"),
)
# Of Django's own pages, where its Arabic lacks them or says them badly.
_DJANGOS = (
    noop("Reset password"),
    noop("Raw passwords are not stored, so there is no way to see the user’s password."),
    noop("Filter"),
    noop("Add another %(verbose_name)s"),
    noop("Add %(name)s"),
)


def _plural(model: type[Model]) -> str:
    english = f"{model._meta.verbose_name_raw}s"
    return _(english)


_lazy_plural = lazy(_plural, str)


@receiver(class_prepared)
def translate_names(sender: type[Model], **kwargs: Any) -> None:
    """Let what nobody named be looked up in the catalogue, which has its English."""
    options: Any = sender._meta
    if isinstance(options.verbose_name, str):
        options.verbose_name = _lazy(options.verbose_name)
    if "verbose_name_plural" not in options.original_attrs:
        options.verbose_name_plural = _lazy_plural(sender)
    for field in options.local_fields:
        if isinstance(field.verbose_name, str):
            field.verbose_name = _lazy(field.verbose_name)
