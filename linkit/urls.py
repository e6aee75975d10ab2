"""Every URL of the product. A package declares its own part in `<package>/urls.py`."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation

from linkit import api

v1: list[URLPattern | URLResolver] = [
    # First what is called most: a request is compared with every pattern before its own.
    path("", include("outbox.urls")),
    path("auth/login", api.LoginView.as_view()),
    path("auth/logout", api.LogoutView.as_view()),
    path("auth/me", api.MeView.as_view()),
    path("api-keys", api.ApiKeysView.as_view()),
    path("api-keys/<uuid:key_id>", api.ApiKeyView.as_view()),
    path("ping", api.PingView.as_view()),
    path("health", api.HealthView.as_view()),
    path("", include("sms_providers.urls")),
]

contact_api: list[URLPattern | URLResolver] = [
    path("", include("billing.urls")),
    path("", include("sms_providers.contact_urls")),
    path("", include("contacts.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("api/v1/", include(v1)),
    path("api/schema", SpectacularAPIView.as_view(content_negotiation_class=DefaultContentNegotiation), name="schema"),
    path(
        "api/docs",
        SpectacularSwaggerSplitView.as_view(url_name="schema", content_negotiation_class=DefaultContentNegotiation),
        name="docs",
    ),
    path("api/", include(contact_api)),
    path("language", set_language, name="set_language"),
    path("admin/", admin.site.urls),
]

handler400 = "linkit.error_responses.bad_request"
handler403 = "linkit.error_responses.permission_denied"
handler404 = "linkit.error_responses.page_not_found"
handler500 = "linkit.error_responses.server_error"
