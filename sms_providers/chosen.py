"""Why a message went through its app: what its row and its attempts can tell, and nothing beyond that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from linkit.markup import ltr
from sms_providers import catalogue
from sms_providers.models import Attempt, SmsLog, Source
from sms_providers.reasons import REASONS
from sms_providers.results import Outcome


def direct(log: SmsLog) -> list[SafeString]:
    """Say why a direct send went through its app."""
    if log.is_test:
        return [_plain(_("It came by a test key, so that only the simulator may take it."))]
    by_source = {
        Source.SEND: _("The call named the app."),
        Source.COMMAND: _("The command named the app."),
        Source.CONTACT: _("The app is the gateway of its sender ID."),
    }
    named = [by_source[Source(log.source)]] if log.source in by_source else []
    return [
        _plain(text) for text in (*named, _("A direct send goes through one app, and is not tried through another."))
    ]


def queued(attempts: Sequence[Attempt], *, is_test: bool, only_through: str | None, is_whole: bool) -> list[SafeString]:
    """Say why a message of the outbox went through its apps. `attempts` are its latest, in their order.

    `only_through` names the app that alone may send it; it is empty when any may, and None when that is not known
    here. `is_whole`: these are all the attempts there were.
    """
    if is_test:
        return [_plain(_("It came by a test key, so that only the simulator may take it."))]
    if only_through:
        return [
            format_html(
                _("Only {} may send it: it was asked for by name, or was the only app when the message was queued."),
                only_through,
            ),
            *_turns(attempts, is_whole=is_whole, is_pinned=True),
        ]
    told = list(_turns(attempts, is_whole=is_whole, is_pinned=only_through is None))
    if only_through is None:
        return told
    return [
        _plain(_("Any app that is installed and enabled may send it, lower priorities first; the sandbox never.")),
        *told,
        _plain(_("One with an open circuit, or that there are no credits for, is passed over; that is noted nowhere.")),
    ]


def _turns(attempts: Sequence[Attempt], *, is_whole: bool, is_pinned: bool) -> Iterator[SafeString]:
    """Yield who was tried after whom, and why; tries through the same app one after the other are one turn."""
    before: Attempt | None = None
    for slug, tries in groupby(attempts, key=lambda attempt: attempt.provider_slug):
        of_app, app = list(tries), catalogue.app_name(slug)
        if before is not None:
            yield _after(before, app)
        elif is_whole and not is_pinned:
            yield format_html(_("{} was the first that could take it."), app)
        if len(of_app) > 1:
            text = ngettext("{app} was tried {count} time.", "{app} was tried {count} times.", len(of_app))
            yield format_html(text, app=app, count=ltr(len(of_app)))
        before = of_app[-1]


def _after(before: Attempt, app: str) -> SafeString:
    former, known = catalogue.app_name(before.provider_slug), REASONS.get(before.reason)
    why = known.meaning if known else before.reason.replace("_", " ")
    if before.outcome == Outcome.REJECTED:
        return format_html(
            _("Then {app} was tried, since {former} had refused it: {why}"), app=app, former=former, why=why
        )
    if before.outcome == Outcome.UNAVAILABLE:
        return format_html(
            _("Then {app} was tried, since {former} could not take it: {why}"), app=app, former=former, why=why
        )
    return format_html(
        _("Then {app} was tried: the outcome at {former} was unknown, and somebody had it sent again."),
        app=app,
        former=former,
    )


def _plain(text: str) -> SafeString:
    return format_html("{}", text)
