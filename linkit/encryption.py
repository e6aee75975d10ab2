"""Encrypted columns: Fernet, several keys for rotation, never readable without one of them."""

import json
from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def fernet() -> MultiFernet:
    """Return the cipher of FIELD_ENCRYPTION_KEYS: encrypts with the first key, decrypts with any."""
    return _fernet(tuple(settings.FIELD_ENCRYPTION_KEYS))


class EncryptedJSONField(models.TextField):
    """A JSON value that the database sees only as ciphertext. Not searchable, by design."""

    # What the type checker takes a model's attribute of this field to be.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def get_prep_value(self, value: Any) -> str | None:
        if value is None:
            return None
        return fernet().encrypt(json.dumps(value, ensure_ascii=False).encode()).decode()

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        if value is None:
            return None
        try:
            return json.loads(fernet().decrypt(value.encode()))
        except InvalidToken:
            raise ImproperlyConfigured(
                "None of FIELD_ENCRYPTION_KEYS decrypts this value; put the key it was written with back in the list."
            ) from None

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        # dumpdata: the ciphertext, never the secret.
        return str(self.get_prep_value(self.value_from_object(obj)) or "")
