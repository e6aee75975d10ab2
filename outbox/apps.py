"""The outbox as a Django app."""

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "outbox"
    verbose_name = "Outbox"

    def ready(self) -> None:
        from linkit import health
        from outbox import health as outbox_health
        from outbox import receivers  # noqa: F401  they connect themselves

        health.register("workers", outbox_health.check_workers)
        health.register("outbox", outbox_health.check_queue)
        health.register("bulk", outbox_health.check_jobs)
