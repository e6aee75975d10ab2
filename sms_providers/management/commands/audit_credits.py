"""Prove that credits add up. It is here because the SMS log is."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sms_providers import auditing

_SHOWN = 10


class Command(BaseCommand):
    help = (
        "Prove every credit account: the balance is the sum of the ledger, what was charged is what the SMS log says,"
        " and every hold belongs to a message under way. Changes nothing. Exit code 1: something does not add up."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        unsound = total = 0
        for finding in auditing.audit():
            total += 1
            unsound += not finding.is_sound
            mark = "ok  " if finding.is_sound else "FAIL"
            self.stdout.write(f"{mark} {finding.organization}: balance {finding.balance:f}, held {finding.held:f}")
            for fault in finding.faults:
                self.stdout.write(f"     {fault.what}: expected {fault.expected:f}, found {fault.found:f}")
            for reference in finding.stray_holds[:_SHOWN]:
                self.stdout.write(f"     a hold without a message under way: {reference}")
            if (more := len(finding.stray_holds) - _SHOWN) > 0:
                self.stdout.write(f"     and {more} more such holds")
        if not total:
            self.stdout.write("There is no credit account.")
        if unsound:
            raise CommandError(f"{unsound} of {total} accounts do not add up.")
