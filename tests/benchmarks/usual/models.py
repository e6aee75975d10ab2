from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class Message(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    recipient = models.CharField(max_length=16)
    text = models.TextField()
    sender_id = models.CharField(max_length=20, blank=True)
    encoding = models.CharField(max_length=16)
    segment_count = models.PositiveSmallIntegerField()
    scheduled_at = models.DateTimeField(null=True)
    preferred_slug = models.CharField(max_length=40, blank=True)
    idempotency_key = models.CharField(max_length=128, null=True)
    meta = models.JSONField(default=dict)
    status = models.CharField(max_length=16, default="pending")
    next_attempt_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager[Message]] = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "idempotency_key"], name="usual_idempotent")]
        indexes = [
            models.Index(fields=["status", "next_attempt_at"], name="usual_due"),
            models.Index(fields=["user", "-created_at"], name="usual_by_user"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
