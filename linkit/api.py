"""Doors of the kernel: log in and out, who am I, API keys, ping and health."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit import clock, health, lockout, tokens
from linkit.errors import Missing, TooManyRequests
from linkit.models import Membership, Role, Token, User
from linkit.pagination import PageLimitPagination
from linkit.permissions import IsKnown, Scope, caller_of, organization_of
from linkit.schema import errors, example, open_errors
from linkit.throttling import LoginThrottle


class LoginSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=1024, trim_whitespace=False)


class LoggedInUserSerializer(serializers.ModelSerializer[User]):
    organization_id = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "email", "organization_id"]

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_organization_id(self, user: User) -> UUID | None:
        membership = Membership.objects.usable().filter(user=user).first()
        return membership.organization_id if membership else None


class SessionSerializer(serializers.Serializer[Any]):
    token = serializers.CharField()
    expires_at = serializers.DateTimeField()
    user = LoggedInUserSerializer()


class MembershipSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="organization_id")
    name = serializers.CharField(source="organization.name")
    role = serializers.ChoiceField(choices=Role.choices, allow_null=True)


class MeSerializer(serializers.Serializer[Any]):
    """The caller. A key is no person: `id`, `email` and `role` are null, and `name` is the key's."""

    id = serializers.UUIDField(allow_null=True)
    email = serializers.EmailField(allow_null=True)
    name = serializers.CharField(allow_blank=True)
    organization_id = serializers.UUIDField(allow_null=True, help_text="The one that this call acts for.")
    organizations = MembershipSerializer(many=True)


_ORGANIZATION_ID = "0b6ff4b6-2f2e-4f2b-9c3f-0f9f7f9b7f10"
_USER = {
    "id": "6f1f2f0e-5a55-4b52-8a53-0c8f8f6f4a11",
    "email": "admin@example.org",
    "organization_id": _ORGANIZATION_ID,
}


class LoginView(APIView):
    """A person proves who they are and gets a session token."""

    authentication_classes = []
    permission_classes = []
    throttle_classes = [LoginThrottle]

    @extend_schema(
        operation_id="login",
        tags=["Auth"],
        summary="Log in",
        request=LoginSerializer,
        responses={200: SessionSerializer, **open_errors(400, 401, 413, 415, 429)},
        examples=[
            example({"email": "admin@example.org", "password": "correct horse battery"}, request=True),
            example({"token": "lk_session_…", "expires_at": "2026-11-24T09:00:00Z", "user": _USER}, status=200),
        ],
    )
    def post(self, request: Request) -> Response:
        serializer = LoginSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        email, password = serializer.validated_data["email"], serializer.validated_data["password"]
        # DRF's request wraps Django's, which is what the backends and signals know.
        http_request = request._request
        if lockout.is_locked(http_request, email):
            wait = int(settings.LOGIN_LOCKOUT.total_seconds())
            raise TooManyRequests("Too many failed log-ins. Try again later.", retry_after=wait)
        user = authenticate(http_request, username=email, password=password)
        if not isinstance(user, User):
            raise AuthenticationFailed("E-mail or password is wrong.")
        user_logged_in.send(sender=User, request=http_request, user=user)
        token, secret = tokens.open_session(user=user)
        body = SessionSerializer({"token": secret, "expires_at": token.expires_at, "user": user}).data
        return Response(body, headers={"Cache-Control": "no-store"})

    def get_authenticate_header(self, request: Request) -> str:
        return "Bearer"  # without authentication classes DRF would turn the 401 into a 403


class LogoutView(APIView):
    """The session token that is presented stops working."""

    permission_classes = [IsKnown]

    @extend_schema(
        operation_id="logout",
        tags=["Auth"],
        summary="Log out",
        request=None,
        responses={204: None, **errors()},
    )
    def post(self, request: Request) -> Response:
        if caller_of(request).token.kind == Token.Kind.SESSION:
            tokens.revoke(caller_of(request).token)
        return Response(status=204)


class MeView(APIView):
    permission_classes = [IsKnown]

    @extend_schema(
        operation_id="me",
        tags=["Auth"],
        summary="Who am I?",
        responses={200: MeSerializer, **errors()},
        examples=[
            example(
                {
                    **_USER,
                    "name": "Amal",
                    "organizations": [{"id": _ORGANIZATION_ID, "name": "Demo", "role": "admin"}],
                },
                status=200,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        caller = caller_of(request)
        if caller.user is None:
            # A key is no person: what it belongs to is what there is to say.
            organization = organization_of(request)
            found = {"id": organization.pk, "name": organization.name, "role": None}
            none = {"id": None, "email": None, "name": caller.token.name}
            return Response({**none, "organization_id": organization.pk, "organizations": [found]})
        user, chosen = caller.user, caller.organization
        memberships = MembershipSerializer(Membership.objects.usable().filter(user=user), many=True).data
        person = {"id": user.pk, "email": user.email, "name": user.name}
        return Response({**person, "organization_id": chosen.pk if chosen else None, "organizations": memberships})


class ApiKeySerializer(serializers.ModelSerializer[Token]):
    """An API key as it is listed; its secret is not here."""

    created_by = serializers.EmailField(source="user.email", default=None, allow_null=True)

    class Meta:
        model = Token
        fields = ["id", "name", "prefix", "is_test", "scopes", "created_by", "created_at", "expires_at", "last_used_at"]


class NewApiKeySerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    scopes = serializers.MultipleChoiceField(
        choices=Scope.for_keys(), allow_empty=False, default=lambda: set(Scope.for_keys())
    )
    is_test = serializers.BooleanField(default=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_expires_at(self, value: Any) -> Any:
        if value is not None and value <= clock.now():
            raise serializers.ValidationError("This moment has passed.")
        return value


class IssuedApiKeySerializer(ApiKeySerializer):
    """A new API key with its secret, shown this once."""

    key = serializers.CharField(help_text="The secret. It cannot be shown again.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]


_KEY = {
    "id": "3f7c2b9e-1a1d-4c55-9a5e-2f6b9d0c7e21",
    "name": "web shop",
    "prefix": "lk_live_a1B2c3",
    "is_test": False,
    "scopes": ["read", "send"],
    "created_by": "admin@example.org",
    "created_at": "2026-11-23T09:00:00Z",
    "expires_at": None,
    "last_used_at": None,
}


class ApiKeysView(APIView):
    """The keys of the organization. People with the admin role only: no key makes another."""

    required_scopes = {"GET": Scope.KEYS, "POST": Scope.KEYS}
    pagination_class = PageLimitPagination
    sort_fields = {"created_at": "created_at", "name": "name"}

    @extend_schema(
        operation_id="api_keys_list",
        tags=["Auth"],
        summary="List API keys",
        responses={200: ApiKeySerializer(many=True), **errors(400)},
        filters=False,
        examples=[example(_KEY, status=200)],
    )
    def get(self, request: Request) -> Response:
        keys = Token.objects.api_keys().filter(organization=organization_of(request), revoked_at__isnull=True)
        paginator = self.pagination_class()
        rows = paginator.paginate_queryset(keys.select_related("user"), request, self)
        return paginator.get_paginated_response(ApiKeySerializer(rows, many=True).data)

    @extend_schema(
        operation_id="api_keys_create",
        tags=["Auth"],
        summary="Make an API key",
        description="The secret is in this answer and nowhere else.",
        request=NewApiKeySerializer,
        responses={201: IssuedApiKeySerializer, **errors(400, 413, 415)},
        examples=[
            example({"name": "web shop", "scopes": ["read", "send"]}, request=True),
            example({**_KEY, "key": "lk_live_a1B2c3…"}, status=201),
        ],
    )
    def post(self, request: Request) -> Response:
        serializer = NewApiKeySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        token, secret = tokens.issue_api_key(
            organization=organization_of(request), created_by=caller_of(request).user, **serializer.validated_data
        )
        token.refresh_from_db()  # created_at is the database's
        body = {**ApiKeySerializer(token).data, "key": secret}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class ApiKeyView(APIView):
    required_scopes = {"DELETE": Scope.KEYS}

    @extend_schema(
        operation_id="api_keys_revoke",
        tags=["Auth"],
        summary="Revoke an API key",
        responses={204: None, **errors(404)},
    )
    def delete(self, request: Request, key_id: UUID) -> Response:
        keys = Token.objects.api_keys().filter(organization=organization_of(request), revoked_at__isnull=True)
        token = keys.filter(pk=key_id).first()
        if token is None:
            raise Missing("There is no such API key.")
        tokens.revoke(token)
        return Response(status=204)


class PongSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    timestamp = serializers.DateTimeField()


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=[status.value for status in health.Health])
    version = serializers.CharField()
    environment = serializers.CharField()
    timestamp = serializers.DateTimeField()
    checks = serializers.DictField(help_text="Each check with its own status and figures.")


class OpenView(APIView):
    """Open to everybody, also while credentials cannot be looked up."""

    authentication_classes = []
    permission_classes = []
    throttle_classes = []


class PingView(OpenView):
    @extend_schema(
        operation_id="ping",
        tags=["Health"],
        summary="Is the web process there?",
        responses={200: PongSerializer},
        examples=[example({"message": "pong", "timestamp": "2026-11-23T09:00:00Z"}, status=200)],
    )
    def get(self, request: Request) -> Response:
        return Response(PongSerializer({"message": "pong", "timestamp": timezone.now()}).data)


class HealthView(OpenView):
    @extend_schema(
        operation_id="health",
        tags=["Health"],
        summary="Is everything there?",
        description="200 while messages are taken (`healthy` or `degraded`), 503 when they are not.",
        responses={
            200: HealthSerializer,
            503: OpenApiResponse(HealthSerializer, "Unhealthy: no message is taken."),
        },
        examples=[
            example(
                {
                    "status": "healthy",
                    "version": "0.1.0",
                    "environment": "production",
                    "timestamp": "2026-11-23T09:00:00Z",
                    "checks": {"database": {"status": "healthy"}, "broker": {"status": "healthy"}},
                },
                status=200,
            ),
            example(
                {
                    "status": "unhealthy",
                    "version": "0.1.0",
                    "environment": "production",
                    "timestamp": "2026-11-23T09:00:00Z",
                    "checks": {"database": {"status": "unhealthy", "message": "The database does not answer."}},
                },
                name="Unhealthy",
                status=503,
            ),
        ],
    )
    def get(self, request: Request) -> Response:
        report = health.report()
        body = HealthSerializer(report).data
        return Response(body, status=503 if report["status"] is health.Health.UNHEALTHY else 200)
