"""URLs of contacts, their attributes, audiences and programs, and of the single SMS, below /api/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
