"""A month of messages and some contacts, so that there is something to show. Run by `manage.py shell`."""

from __future__ import annotations

import random
from datetime import timedelta

from django.utils import timezone

from contacts.models import Contact
from sms_providers.models import Attempt, OrganizationApp, SmsLog, Source, Status
from sms_providers.results import Outcome

DAYS, MOST = 30, 60
_SEED = 7  # the same month every time
_ENDS = {
    Status.SENT: (Outcome.ACCEPTED, ""),
    Status.FAILED: (Outcome.REJECTED, "invalid_recipient"),
    Status.DISPATCH_TIMEOUT: (Outcome.UNKNOWN, "read_timeout"),
}


_NAMES = [
    ("Sara", "Ahmed"),
    ("Omar", "Haddad"),
    ("Lina", "Khalil"),
    ("نورة", "القحطاني"),
    ("Yusuf", "Rahman"),
    ("فهد", "العتيبي"),
]


def make() -> None:
    """Write both for the organization of the one app that is installed."""
    app = OrganizationApp.objects.installed().get()
    Contact.objects.bulk_create(
        Contact(organization=app.organization, first_name=first, last_name=last, primary_phone=f"+96650123456{number}")
        for number, (first, last) in enumerate(_NAMES)
    )
    _send(app)


def _send(app: OrganizationApp) -> None:
    """Write what went through `app`, each with its one attempt."""
    chance, now = random.Random(_SEED), timezone.now()
    logs, attempts = [], []
    for day in range(1, DAYS):
        busy = MOST // 4 if (now - timedelta(days=day)).weekday() in (4, 5) else MOST
        for _ in range(chance.randint(busy // 2, busy)):
            [status] = chance.choices([Status.SENT, Status.FAILED, Status.DISPATCH_TIMEOUT], [95, 4, 1])
            outcome, reason = _ENDS[status]
            at = now - timedelta(days=day, minutes=chance.randint(0, 600))
            done = at + timedelta(milliseconds=chance.randint(80, 600))
            common = {"app": app, "provider_slug": app.slug, "outcome": outcome, "reason": reason}
            log = SmsLog(
                organization=app.organization,
                source=Source.OUTBOX,
                recipient=f"+9665{chance.randint(10**7, 10**8 - 1)}",
                text="Your order is on its way.",
                encoding="GSM-7",
                segment_count=1,
                status=status,
                created_at=at,
                sent_at=done if status == Status.SENT else None,
                **common,
            )
            logs.append(log)
            attempts.append(Attempt(log=log, started_at=at, finished_at=done, **common))
    SmsLog.objects.bulk_create(logs)
    Attempt.objects.bulk_create(attempts)
