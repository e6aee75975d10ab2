"""`manage.py send_sms`: one SMS by hand, and an exit code that says whether it may be repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from linkit.models import Organization
from sms_providers.models import OrganizationApp, SmsLog, Source, Status

Install = Callable[..., OrganizationApp]


def send(**options: str) -> None:
    call_command("send_sms", **{"organization": "acme", "app": "sandbox-sms", "text": "Hello", **options})


def test_it_sends_through_the_named_app_and_logs_the_door(
    organization: Organization, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("sandbox-sms")
    send(to="0501234567")
    log = SmsLog.objects.get()
    assert (log.status, log.source, log.recipient) == (Status.SENT, Source.COMMAND, "+966501234567")
    assert str(log.pk) in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [("+966555555504", 1), ("+966555555508", 1), ("+966555555509", 2)])
def test_the_exit_code_tells_not_sent_from_maybe_sent(
    organization: Organization, install: Install, number: str, code: int
) -> None:
    install("sandbox-sms")
    with pytest.raises(CommandError) as failure:
        send(to=number)
    assert failure.value.returncode == code


@pytest.mark.parametrize(
    "options",
    [
        {"to": "12345"},
        {"to": "0501234567", "organization": "nobody"},
        {"to": "0501234567", "app": "mora-sms"},
        {"to": "0501234567", "app": "no-such-sms"},
        {"to": "0501234567", "text": " "},
        {"to": "0501234567", "text": "x" * 1601},
    ],
)
def test_a_request_that_cannot_be_sent_is_refused_in_words_and_not_logged(
    organization: Organization, install: Install, options: dict[str, str]
) -> None:
    install("sandbox-sms")
    with pytest.raises(CommandError):
        send(**options)
    assert not SmsLog.objects.exists()


def test_a_disabled_app_sends_nothing(organization: Organization, install: Install) -> None:
    install("sandbox-sms", is_enabled=False)
    with pytest.raises(CommandError, match="disabled"):
        send(to="0501234567")
    assert not SmsLog.objects.exists()
