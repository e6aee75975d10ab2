"""The outbox as a Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _lazy


class OutboxConfig(AppConfig):
    name = "outbox"
    verbose_name = _lazy("Outbox")

    def ready(self) -> None:
        from linkit import dashboard, health
        from outbox import dashboard as queue
        from outbox import health as outbox_health
        from outbox import receivers  # noqa: F401  they connect themselves

        health.register("workers", outbox_health.check_workers)
        health.register("outbox", outbox_health.check_queue)
        health.register("bulk", outbox_health.check_jobs)
        dashboard.add_watcher(queue.needs)
        dashboard.add_panel(10, "outbox/_dashboard_first_steps.html", queue.first_steps)
        dashboard.add_panel(20, "outbox/_dashboard_today.html", queue.today)
