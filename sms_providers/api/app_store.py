"""The App Store over HTTP: what can be installed, what is, and whether it works."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from linkit.pagination import PageLimitPagination
from linkit.permissions import Scope, organization_of
from linkit.schema import errors, example
from sms_providers import catalogue, installing
from sms_providers.adapters.base import Unicode
from sms_providers.fields import SenderField
from sms_providers.models import OrganizationApp

_APP = {
    "id": 7,
    "slug": "mora-sms",
    "name": "Mora SMS",
    "type": "sms",
    "enabled": True,
    "priority": 100,
    "max_per_second": None,
    "default_sender": "MyBrand",
    "credentials": {"username": "966500000000", "sender": "MyBrand"},
    "secrets_set": ["api_key"],
    "last_sync": "2026-11-23T09:00:00Z",
    "installed_at": "2026-11-20T08:00:00Z",
}


_STORE_APP = {
    "slug": "mora-sms",
    "name": "Mora SMS",
    "credential_fields": [
        {"name": "api_key", "label": "API key", "secret": True, "required": True, "help": "Made in the Mora panel."},
    ],
    "capabilities": {
        "balance": True,
        "sender_names": True,
        "scheduling": False,
        "receipts": False,
        "batch_size": 1,
        "reference": False,
        "look_up": False,
        "unicode": "automatic",
    },
}


class AppSerializer(serializers.ModelSerializer[OrganizationApp]):
    """An installed app. Its secrets are not here, only which are set."""

    name = serializers.SerializerMethodField()
    type = serializers.SerializerMethodField()
    enabled = serializers.BooleanField(source="is_enabled")
    credentials = serializers.SerializerMethodField(help_text="The fields that are no secrets.")
    secrets_set = serializers.SerializerMethodField(help_text="The names of the secret fields that have a value.")
    last_sync = serializers.DateTimeField(
        source="last_sync_at", allow_null=True, help_text="When the provider last answered us."
    )

    class Meta:
        model = OrganizationApp
        fields = [
            "id", "slug", "name", "type", "enabled", "priority", "max_per_second", "default_sender", "credentials",
            "secrets_set", "last_sync", "installed_at",
        ]  # fmt: skip

    def get_name(self, app: OrganizationApp) -> str:
        return catalogue.app_name(app.slug)

    @extend_schema_field(serializers.ChoiceField(choices=["sms"]))
    def get_type(self, app: OrganizationApp) -> str:
        return "sms"

    @extend_schema_field(serializers.DictField(child=serializers.CharField()))
    def get_credentials(self, app: OrganizationApp) -> dict[str, str]:
        return self._split(app)[0]

    def get_secrets_set(self, app: OrganizationApp) -> list[str]:
        return self._split(app)[1]

    @staticmethod
    def _split(app: OrganizationApp) -> tuple[dict[str, str], list[str]]:
        adapter = catalogue.adapters().get(app.slug)
        open_names = {field.name for field in adapter.credential_fields if not field.is_secret} if adapter else set()
        credentials = app.readable_credentials or {}
        shown = {name: value for name, value in credentials.items() if name in open_names}
        return shown, sorted(set(credentials) - open_names)


class ChangeAppSerializer(serializers.Serializer[Any]):
    credentials = serializers.DictField(
        required=False, help_text="By field name, see `app-store`. One that is not given stays; an empty one goes."
    )
    default_sender = SenderField()
    enabled = serializers.BooleanField(source="is_enabled", default=True)
    priority = serializers.IntegerField(min_value=0, max_value=1_000_000, default=100)
    max_per_second = serializers.IntegerField(min_value=1, max_value=10_000, allow_null=True, default=None)


class InstallSerializer(ChangeAppSerializer):
    slug = serializers.CharField(max_length=40)
    credentials = serializers.DictField(default=dict)


class VerdictSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField(
        source="is_working", allow_null=True, help_text="null: the provider answers no question that would tell."
    )
    message = serializers.CharField()
    reason = serializers.CharField()
    checked_at = serializers.DateTimeField()


class CredentialFieldSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of ours, not DRF's own attribute
    secret = serializers.BooleanField(source="is_secret")
    required = serializers.BooleanField(source="is_required")  # type: ignore[assignment]
    help = serializers.CharField()


class CapabilitiesSerializer(serializers.Serializer[Any]):
    balance = serializers.BooleanField()
    sender_names = serializers.BooleanField()
    scheduling = serializers.BooleanField()
    receipts = serializers.BooleanField()
    batch_size = serializers.IntegerField(help_text="Recipients of one text in one call.")
    reference = serializers.BooleanField(help_text="The provider is given our own id of each message.")
    look_up = serializers.BooleanField(help_text="It is asked by that id about unknown outcomes.")
    unicode = serializers.ChoiceField(
        choices=[each.value for each in Unicode],
        help_text="Who tells that a text needs UCS-2: the provider finds out, or we say so. Never you.",
    )


class StoreAppSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    credential_fields = CredentialFieldSerializer(many=True)
    capabilities = CapabilitiesSerializer()


class StoreSerializer(serializers.Serializer[Any]):
    """The whole catalogue on one page."""

    data = StoreAppSerializer(many=True)  # type: ignore[assignment]
    count = serializers.IntegerField()
    total_count = serializers.IntegerField()
    page = serializers.IntegerField()
    limit = serializers.IntegerField()
    has_next = serializers.BooleanField()
    meta = serializers.DictField()


class StoreView(APIView):
    @extend_schema(
        operation_id="app_store_list",
        tags=["App Store"],
        summary="Every app that can be installed",
        responses={200: StoreSerializer, **errors()},
        examples=[
            example(
                {
                    "data": [_STORE_APP],
                    "count": 1,
                    "total_count": 1,
                    "page": 1,
                    "limit": 1,
                    "has_next": False,
                    "meta": {},
                },
                status=200,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        data = StoreAppSerializer(list(catalogue.adapters().values()), many=True).data
        count = len(data)
        page = {"count": count, "total_count": count, "page": 1, "limit": count, "has_next": False, "meta": {}}
        return Response({"data": data, **page})


class AppsView(APIView):
    required_scopes = {"POST": Scope.MANAGE}
    pagination_class = PageLimitPagination
    sort_fields = {"priority": ("priority", "installed_at"), "slug": "slug", "installed_at": "installed_at"}
    default_sort = "priority"

    @extend_schema(
        operation_id="apps_list",
        tags=["App Store"],
        summary="The installed apps, in the order in which they are tried",
        responses={200: AppSerializer(many=True), **errors(400)},
        filters=False,
        examples=[example(_APP, status=200)],
    )
    def get(self, request: Request) -> Response:
        apps = OrganizationApp.objects.installed().filter(organization=organization_of(request))
        paginator = self.pagination_class()
        rows = paginator.paginate_queryset(apps, request, self)
        return paginator.get_paginated_response(AppSerializer(rows, many=True).data)

    @extend_schema(
        operation_id="apps_install",
        tags=["App Store"],
        summary="Install an app",
        request=InstallSerializer,
        responses={201: AppSerializer, **errors(400, 409, 413, 415)},
        examples=[
            example(
                {
                    "slug": "mora-sms",
                    "credentials": {"api_key": "…", "username": "966500000000", "sender": "MyBrand"},
                    "priority": 100,
                },
                request=True,
            ),
            example(_APP, status=201),
        ],
    )
    def post(self, request: Request) -> Response:
        serializer = InstallSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        app = installing.install(organization=organization_of(request), **serializer.validated_data)
        return Response(AppSerializer(app).data, status=201)


class AppView(APIView):
    required_scopes = {"PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(
        operation_id="apps_read",
        tags=["App Store"],
        summary="One installed app",
        responses={200: AppSerializer, **errors(404)},
        examples=[example(_APP, status=200)],
    )
    def get(self, request: Request, slug: str) -> Response:
        return Response(AppSerializer(installing.find(organization=organization_of(request), slug=slug)).data)

    @extend_schema(
        operation_id="apps_change",
        tags=["App Store"],
        summary="Change an installed app",
        request=ChangeAppSerializer,
        responses={200: AppSerializer, **errors(400, 404, 413, 415)},
        examples=[example({"enabled": False}, request=True), example({**_APP, "enabled": False}, status=200)],
    )
    def patch(self, request: Request, slug: str) -> Response:
        app = installing.find(organization=organization_of(request), slug=slug)
        serializer = ChangeAppSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return Response(AppSerializer(installing.change(app=app, **serializer.validated_data)).data)

    @extend_schema(
        operation_id="apps_uninstall",
        tags=["App Store"],
        summary="Uninstall an app",
        description="Its credentials are wiped. 409 while messages that only it may send are waiting.",
        responses={204: None, **errors(404, 409)},
    )
    def delete(self, request: Request, slug: str) -> Response:
        installing.uninstall(app=installing.find(organization=organization_of(request), slug=slug))
        return Response(status=204)


class AppTestView(APIView):
    required_scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="apps_test",
        tags=["App Store"],
        summary="Do the credentials work?",
        description="Asks the provider for the balance or the sender names. Nothing is sent.",
        request=None,
        responses={200: VerdictSerializer, **errors(404)},
        examples=[
            example(
                {
                    "ok": True,
                    "message": "The credentials work. Balance: 1520 points.",
                    "reason": "working",
                    "checked_at": "2026-11-23T09:00:00Z",
                },
                status=200,
            )
        ],
    )
    def post(self, request: Request, slug: str) -> Response:
        app = installing.find(organization=organization_of(request), slug=slug)
        return Response(VerdictSerializer(installing.test(app=app)).data)
