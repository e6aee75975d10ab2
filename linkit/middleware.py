"""Django's middleware for people's pages. Calls of the API go past it: they have no session, and no user but their own.

Each costs a call as much as a field of the request does, and there are many calls.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers


class _ForPages:
    get_response: Callable[[HttpRequest], Any]

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/api/"):
            response: HttpResponseBase = self.get_response(request)
            return response
        return super().__call__(request)  # type: ignore[misc]


class PageSessionMiddleware(_ForPages, SessionMiddleware):
    """`request.session`, on pages."""


class PageLanguageMiddleware:
    """The language of a page: as chosen in the console, else the browser's.

    Only for the time of the request, unlike Django's own, as the thread goes on to answer API calls in English.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/api/"):
            return self.get_response(request)
        language = translation.get_language_from_request(request)
        with translation.override(language):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        patch_vary_headers(response, ["Accept-Language", "Cookie"])
        return response


class PageAuthenticationMiddleware(_ForPages, AuthenticationMiddleware):
    """`request.user`, on pages."""


class PageMessageMiddleware(_ForPages, MessageMiddleware):
    """`django.contrib.messages`, on pages."""
