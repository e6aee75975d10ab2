"""Organizations, the people in them, and the tokens that programs and people call with."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import available_timezones

import phonenumbers
from django.contrib.admin.models import LogEntry
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy


class TimestampedModel(models.Model):
    """`created_at` is by the database's clock, `updated_at` by this process's unless the writer gives one."""

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


def validate_region(value: str) -> None:
    """Accept an ISO 3166 alpha-2 region that has a numbering plan."""
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValidationError(_("%(value)s is not a two-letter country code such as SA.") % {"value": repr(value)})


def validate_time_zone(value: str) -> None:
    """Accept an IANA time zone."""
    if value not in available_timezones():
        raise ValidationError(_("%(value)s is not a time zone such as Asia/Riyadh.") % {"value": repr(value)})


class Organization(TimestampedModel):
    """A tenant: everything but people belongs to exactly one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    default_region = models.CharField(
        max_length=2,
        default="SA",
        validators=[validate_region],
        help_text=_lazy("Where a number without a country code belongs, such as SA."),
    )
    time_zone = models.CharField(
        max_length=64,
        default="Asia/Riyadh",
        validators=[validate_time_zone],
        help_text=_lazy("For times without an offset, such as Asia/Riyadh."),
    )
    is_active = models.BooleanField(
        default=True, help_text=_lazy("Off: nobody of this organization can call or log in.")
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Makes people; an e-mail address is one person whatever its capitals."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, who logs in by e-mail."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True, help_text=_lazy("Off: this person cannot log in."))
    is_staff = models.BooleanField(
        _lazy("console access"), default=False, help_text=_lazy("May log in to the console.")
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"

    class Meta:
        ordering = ["email"]
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once")]

    def __str__(self) -> str:
        return self.email


class Role(models.TextChoices):
    """What a person may do in one organization; `linkit.permissions` says which scopes that is."""

    VIEWER = "viewer", _lazy("Viewer")
    OPERATOR = "operator", _lazy("Operator")
    ADMIN = "admin", _lazy("Administrator")


class MembershipQuerySet(models.QuerySet["Membership"]):
    def usable(self) -> MembershipQuerySet:
        """Those that let somebody in: the organization is active."""
        return self.filter(organization__is_active=True).select_related("organization")


class Membership(TimestampedModel):
    """A person in an organization, with a role there."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.OPERATOR)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        # The oldest is the organization of a caller that names none.
        ordering = ["created_at", "pk"]
        constraints = [models.UniqueConstraint(fields=["user", "organization"], name="membership_once")]

    def __str__(self) -> str:
        values = {"user": self.user, "organization": self.organization, "role": self.get_role_display()}
        return _("%(user)s in %(organization)s (%(role)s)") % values


class TokenQuerySet(models.QuerySet["Token"]):
    def api_keys(self) -> TokenQuerySet:
        return self.filter(kind=Token.Kind.API_KEY)

    def live(self) -> TokenQuerySet:
        """Those that still open the door, by the database's clock."""
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), revoked_at__isnull=True)


class Token(models.Model):
    """A session of a person or the API key of a program. Only a hash of the secret is stored."""

    class Kind(models.TextChoices):
        SESSION = "session", "Session"
        API_KEY = "api_key", "API key"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=120, blank=True, help_text="What this key is for, such as web shop.")
    prefix = models.CharField(max_length=20, editable=False, help_text="How the secret begins, to tell keys apart.")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the secret.")
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, related_name="tokens", help_text="Empty for sessions."
    )
    user = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="tokens", help_text="Whose session, or who made it."
    )
    is_test = models.BooleanField(
        _lazy("test key"), default=False, help_text=_lazy("Everything it sends is simulated.")
    )
    scopes = models.JSONField(default=list, blank=True, help_text="Any of read, send, manage.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="session") | Q(organization__isnull=False), name="api_key_has_an_organization"
            ),
        ]
        indexes = [
            # The key list of one organization, newest first.
            models.Index(fields=["organization", "-created_at"], name="token_by_organization"),
        ]

    def __str__(self) -> str:
        return self.name or self.prefix


class ApiKey(Token):
    """The tokens that are API keys, under the name the console shows them by."""

    class Meta:
        proxy = True
        verbose_name = _lazy("API key")


class AuditEntry(LogEntry):
    """Who did what in the console, and to which organization: its administrators may see it. `linkit.audit` writes it.

    The organization is empty for what concerns the whole platform, such as a person or a general rate, and when it is
    no more: the trail outlives it.
    """

    organization = models.ForeignKey(Organization, models.SET_NULL, null=True, related_name="+", db_index=False)

    if TYPE_CHECKING:
        objects: ClassVar[models.Manager[AuditEntry]]  # type: ignore[assignment]

    class Meta:
        verbose_name = _lazy("audit entry")
        verbose_name_plural = _lazy("audit trail")
        indexes = [
            # The trail of one organization, newest first.
            models.Index(fields=["organization", "-logentry_ptr"], name="audit_by_organization"),
        ]
