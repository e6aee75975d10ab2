"""One templated SMS to a contact: the checks of the contract in their order, then the one choke point."""

from __future__ import annotations

from uuid import UUID

from django.utils.translation import gettext as _

from billing import ledger
from billing.ledger import InsufficientCreditsError
from contacts import attributes, rendering
from contacts.models import Contact
from linkit.errors import InvalidInput, Missing
from linkit.models import Organization, Token, User
from sms_providers import catalogue, sending
from sms_providers import text as sms_text
from sms_providers.models import OrganizationApp, SenderId, SenderIdStatus, SmsLog, Source
from sms_providers.sending import Route


class SenderIdNotFoundError(Missing):
    """There is no sender ID with this id."""


class SenderIdNotActiveError(InvalidInput):
    """The sender ID is switched off, or nothing can send under it."""


class SenderIdNotAccessibleError(InvalidInput):
    """The sender ID belongs to another organization. It is the one thing of theirs that we admit is there."""


class ContactNotFoundError(Missing):
    """The organization has no contact with this id."""


class MissingVariables(InvalidInput):
    """The template uses what the contact does not have."""


def send(
    *,
    organization: Organization,
    contact_id: UUID,
    sender_id: UUID,
    template: str,
    is_test: bool = False,
    token: Token | None = None,
    user: User | None = None,
    idempotency_key: str = "",
) -> tuple[SmsLog, bool]:
    """Render `template` for a contact, send it under a sender ID, and charge it. Returns its log, whatever the end, and
    whether it is new.

    Raises the errors of the contract in its order, and then nothing was logged or charged: `SenderIdNotFoundError`,
    `SenderIdNotActiveError`, `SenderIdNotAccessibleError`, `ContactNotFoundError`, `InsufficientCreditsError`,
    `MissingVariables`, `InvalidText`. A known `idempotency_key` is answered first, with what its first send became.
    """
    digest = sending.digest(contact_id=contact_id, sender_id=sender_id, template=template)
    if idempotency_key:
        first = sending.find_first(organization.pk, idempotency_key, digest, is_test=is_test)
        if first is not None:
            return first[0], False
    sender = _active(SenderId.objects.filter(pk=sender_id).first())
    if sender.organization_id not in (None, organization.pk):
        raise SenderIdNotAccessibleError("This sender ID is not available to your organization; nothing was sent.")
    route = gateway(sender)
    contact = find_contact(organization, contact_id)
    if not is_test and not ledger.has_credits(organization):
        raise InsufficientCreditsError
    rendered = rendering.render(template, values_for(contact))
    if rendered.missing:
        raise MissingVariables(rendering.missing_sentence(rendered.missing))
    log = sending.new_log(
        organization_id=organization.pk,
        source=Source.CONTACT,
        recipient=contact.primary_phone,
        text=sms_text.check(rendered.text),
        sender_id=sender.sender_id,
        is_test=is_test,
        token=token,
        user=user,
    )
    if is_test:
        route = Route(None, catalogue.sandbox())
    sent, _attempt = sending.send_now(log, route, idempotency_key=idempotency_key, request_digest=digest)
    return sent, sent.pk == log.pk


def usable_sender(organization: Organization, sender_id: UUID) -> SenderId:
    """Return a sender ID that is active and shared or the organization's own. Raises the error that says why not.

    Another organization's is not found: only the single SMS admits that it is there.
    """
    return _active(SenderId.objects.accessible_to(organization).filter(pk=sender_id).first())


def _active(sender: SenderId | None) -> SenderId:
    if sender is None:
        raise SenderIdNotFoundError(_("There is no such sender ID; nothing was sent. GET /api/sender-ids/available."))
    if sender.status != SenderIdStatus.ACTIVE:
        raise SenderIdNotActiveError(_("This sender ID is not active; nothing was sent."))
    return sender


def gateway(sender: SenderId) -> Route:
    """Return the way out under a sender ID. Raises `SenderIdNotActiveError` when its installation cannot be used."""
    app = OrganizationApp.objects.usable().filter(pk=sender.app_id or 0, slug__in=catalogue.adapters()).first()
    if app is None:
        raise SenderIdNotActiveError(
            _("This sender ID has no usable gateway: its app is not installed or is disabled. Nothing was sent.")
        )
    try:
        return sending.route_through(app)
    except InvalidInput as problem:  # credentials that no key decrypts
        said = _("This sender ID has no usable gateway: %(problem)s") % {"problem": problem.message}
        raise SenderIdNotActiveError(said) from None


def find_contact(organization: Organization, contact_id: UUID) -> Contact:
    """Return a contact of the organization. Raises `ContactNotFoundError`."""
    contact = Contact.objects.live().filter(pk=contact_id, organization=organization).first()
    if contact is None:
        raise ContactNotFoundError(_("There is no such contact; nothing was sent."))
    return contact


def values_for(contact: Contact) -> dict[str, object]:
    """Return what a template may use of a contact."""
    return rendering.values_of(contact, attribute_names(contact.organization_id))


def attribute_names(organization_id: UUID) -> dict[str, str]:
    """Return the names of an organization's attributes by their id."""
    return {str(attribute.pk): name for name, attribute in attributes.live(organization_id).items()}
