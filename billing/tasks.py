"""What beat rings for."""

from celery import shared_task

from billing import alerts

RING_EXPIRES = 300  # seconds; a later ring finds the same


@shared_task(expires=RING_EXPIRES)
def send_alerts() -> None:
    """Tell people about balances that have fallen low."""
    alerts.send_due()
