from typing import Any

import pytest

from outbox.bulk import receiving
from tests.outbox.bulk.conftest import Upload, csv_of, rows


def test_a_repeat_at_the_same_moment_is_a_replay_and_no_duplicate(upload: Upload, monkeypatch: pytest.MonkeyPatch):
    content, headers, look, answers = csv_of(*rows(2)), {"Idempotency-Key": "order-1"}, receiving._of_key, []

    def look_a_moment_too_early(job: Any) -> Any:
        found = look(job)
        monkeypatch.setattr(receiving, "_of_key", look)
        answers.append(upload(content, headers=headers).json())  # the first request commits right after our look
        return found

    monkeypatch.setattr(receiving, "_of_key", look_a_moment_too_early)
    repeat = upload(content, headers=headers).json()
    assert repeat["job_id"] == answers[0]["job_id"]
    assert "duplicate_of" not in repeat
