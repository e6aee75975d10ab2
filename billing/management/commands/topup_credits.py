"""Add credits to an organization's account."""

from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import ledger
from linkit.errors import LinkitError
from linkit.models import Organization


class Command(BaseCommand):
    help = "Add credits to an organization's account. With --reference a repeat of the command adds nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", required=True, help="Its name.")
        parser.add_argument("--amount", required=True, help="Credits, at most four decimal places, such as 500 or 0.5.")
        parser.add_argument("--description", default="", help="Shown in the ledger, such as an invoice number.")
        parser.add_argument("--reference", type=UUID, help="A UUID of yours that names this top-up.")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(name__iexact=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization named {options['organization']!r}.")
        try:
            amount = Decimal(options["amount"])
        except InvalidOperation:
            raise CommandError(f"--amount: {options['amount']!r} is not a number; nothing was added.") from None
        try:
            entry = ledger.top_up(
                organization=organization,
                amount=amount,
                description=options["description"],
                reference=options["reference"],
            )
        except LinkitError as error:
            raise CommandError(error.message) from None
        self.stdout.write(
            f"{entry.amount:f} credits for {organization}: {entry.balance_after:f} now ({entry.reference})"
        )
