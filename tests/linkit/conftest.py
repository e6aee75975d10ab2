"""Fixtures of the kernel's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from linkit import tokens
from linkit.models import User
from tests.conftest import Api


@pytest.fixture
def login(anonymous: Api, user: Callable[..., User]) -> Callable[..., Api]:
    """Return a maker of clients that call with a person's session: `login("viewer")`, `login(user=somebody)`."""

    def make(role: str = "admin", **fields: Any) -> Api:
        person = fields.pop("user", None) or user(role=role, **fields)
        _, secret = tokens.open_session(user=person)
        return anonymous.using(secret)

    return make
