"""Write the generated parts of docs/ again, after a change to an adapter or a reason."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from sms_providers import reference


class Command(BaseCommand):
    help = "Write the generated parts of docs/ again, after a change to an adapter or a reason. For developers."

    def handle(self, *args: Any, **options: Any) -> None:
        if os.environ.get("SMS_PROVIDERS"):
            raise CommandError("SMS_PROVIDERS replaces the catalogue, and docs/ is about the whole. Unset it first.")
        for page in sorted((settings.BASE_DIR / "docs").glob("*.md")):
            was = page.read_text()
            if (now := reference.render(was)) != was:
                page.write_text(now)
                self.stdout.write(f"Wrote docs/{page.name}")
