"""URLs of the outbox, below /api/v1/."""

from django.urls import path

from outbox import api

urlpatterns = [
    path("sms/outbox", api.OutboxView.as_view()),
    path("sms/outbox/batch", api.BatchView.as_view()),
    path("sms/outbox/<slug:message_id>", api.MessageView.as_view()),
]
