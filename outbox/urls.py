"""URLs of the outbox and of bulk sends, below /api/v1/."""

from django.urls import path

from outbox import api
from outbox.bulk import api as bulk

_SLUG = "sms-providers/<str:slug>"
_JOB = f"{_SLUG}/bulk-jobs/<str:job_id>"

urlpatterns = [
    path("sms/outbox", api.OutboxView.as_view()),
    path("sms/outbox/batch", api.BatchView.as_view()),
    path("sms/outbox/<slug:message_id>", api.MessageView.as_view()),
    path(f"{_SLUG}/bulk-send", bulk.BulkSendView.as_view()),
    path(f"{_SLUG}/bulk-check", bulk.BulkCheckView.as_view()),
    path(f"{_SLUG}/progress", bulk.ProgressView.as_view()),
    path(f"{_SLUG}/bulk-jobs", bulk.BulkJobsView.as_view()),
    path(_JOB, bulk.BulkJobView.as_view()),
    path(f"{_JOB}/errors.csv", bulk.BulkErrorsView.as_view()),
    path(f"{_JOB}/pause", bulk.PauseView.as_view()),
    path(f"{_JOB}/resume", bulk.ResumeView.as_view()),
    path(f"{_JOB}/stop", bulk.StopView.as_view()),
    path(f"{_JOB}/retry-failed", bulk.RetryFailedView.as_view()),
]
