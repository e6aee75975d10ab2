"""URLs of sender IDs, below /api/."""

from django.urls import path

from sms_providers.api import sender_ids

urlpatterns = [path("sender-ids/available", sender_ids.SenderIdsView.as_view())]
