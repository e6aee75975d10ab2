"""The Celery application. Tasks are wake-ups: they carry no state, and the schedule finds what a lost one left."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "linkit.settings.base")

app = Celery("linkit")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
