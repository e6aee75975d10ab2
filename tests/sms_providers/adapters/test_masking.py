"""What is kept of an answer: no secret, and nothing that no column takes, on the short way and the long one."""

from __future__ import annotations

import json

import pytest

from sms_providers.adapters.masking import MASK, Masker, kept, spellings
from sms_providers.transport import Reply

SECRET = "12345678"
MASKED = Masker(spellings([SECRET]))


def reply(body: str, charset: str | None = None) -> Reply:
    return Reply(200, {}, body.encode(), charset=charset)


@pytest.mark.parametrize(
    "body",
    [
        '{"status": {"code": 200}, "data": {"ref_id": "mr-100001", "cost": 1.5}}',
        '{"text": "مرحبا", "list": [1, 2, null]}',
    ],
)
def test_a_usual_answer_is_kept_as_it_is(body: str) -> None:
    assert MASKED.leaves_alone(body)
    assert kept(reply(body), MASKED) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (f'{{"key": "{SECRET}"}}', None),
        (f'{{"key": {SECRET}}}', None),
        ('{"key": "1234\\u0035678"}', None),
        ('{"key": 1.2345678e7}', None),
        ('{"key": "+ADEAMgAzADQANQA2ADcAOA-"}', "utf-7"),
    ],
)
def test_no_spelling_of_a_secret_gets_through(body: str, charset: str | None) -> None:
    told = json.dumps(kept(reply(body, charset), MASKED))
    assert SECRET not in told
    assert json.dumps(MASK)[1:-1] in told


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ('{"x": 1e999}', None),
        ('{"x": -1E+400}', None),
        (f'{{"x": {"9" * 310}.0}}', None),
        (f'{{"x": {"9" * 250}e99}}', None),
        ('{"x": "+2AA-"}', "utf-7"),
        ('{"x": "\\ud800 \\u0000"}', None),
    ],
)
def test_what_no_column_takes_is_written_otherwise(body: str, charset: str | None) -> None:
    text = json.dumps(kept(reply(body, charset), MASKED), allow_nan=False, ensure_ascii=False)
    assert "\x00" not in text
    text.encode()  # raises for half of a surrogate pair
