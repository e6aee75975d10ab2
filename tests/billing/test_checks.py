"""Settings of credits that cannot be meant stop the start."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal

import pytest
from django.core.checks import run_checks
from pytest_django import Settings


def found() -> list[str]:
    return [str(message.id) for message in run_checks() if str(message.id).startswith("billing")]


@pytest.mark.parametrize(("rate", "is_fine"), [("0", True), ("1.887", True), ("-1", False), ("1.88701", False)])
def test_a_rate_is_an_amount_of_credits(settings: Settings, rate: str, is_fine: bool):
    settings.SMS_CREDIT_RATE = Decimal(rate)
    assert found() == ([] if is_fine else ["billing.E001"])


def test_alerts_are_amounts_of_credits(settings: Settings):
    settings.CREDIT_ALERTS = [Decimal(100), Decimal("0.00001"), Decimal("1E+12")]
    assert found() == ["billing.E001", "billing.E001"]


@pytest.mark.parametrize("text", ["cheap", "NaN"])
def test_what_is_no_number_is_named(text: str):
    env = {**os.environ, "SMS_CREDIT_RATE": text}
    said = subprocess.run([sys.executable, "manage.py", "check"], env=env, capture_output=True, text=True)
    assert said.returncode != 0
    assert f"SMS_CREDIT_RATE: {text!r} is not a number." in said.stderr
