"""Send one SMS from the command line, through one installed app."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from linkit import phone
from linkit.errors import LinkitError
from linkit.models import Organization
from sms_providers import sending
from sms_providers import text as sms_text
from sms_providers.fields import MAX_SENDER
from sms_providers.models import Source, Status


class Command(BaseCommand):
    help = "Send one SMS now. Exit code 0: sent; 1: not sent; 2: it may have been sent, so do not repeat it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", required=True, help="Its name.")
        parser.add_argument("--app", required=True, help="The slug of an installed app, such as mora-sms.")
        parser.add_argument("--to", required=True, help="The number, as people type it.")
        parser.add_argument("--text", required=True)
        parser.add_argument("--sender", default="", help="The sender ID; empty: the app's default.")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(name__iexact=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization named {options['organization']!r}.")
        if len(options["sender"]) > MAX_SENDER:
            raise CommandError(f"A sender ID has at most {MAX_SENDER} characters. Nothing was sent.")
        try:
            recipient = phone.parse_mobile(options["to"], region=organization.default_region)
            text = sms_text.check(options["text"])
            route = sending.route_for(organization, options["app"])
        except LinkitError as error:
            raise CommandError(error.message) from None
        log = sending.new_log(
            organization_id=organization.pk,
            source=Source.COMMAND,
            recipient=recipient,
            text=text,
            sender_id=options["sender"],
        )
        log, _ = sending.send_now(log, route)
        said = f" ({log.reason}) {log.error_message}" if log.reason else ""
        line = f"{log.get_status_display()}{said}\nSMS log: {log.pk}"
        if log.status == Status.SENT:
            self.stdout.write(line)
        else:
            raise CommandError(line, returncode=2 if log.status == Status.DISPATCH_TIMEOUT else 1)
