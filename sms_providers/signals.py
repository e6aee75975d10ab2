"""What this package asks of packages above it, which it may not import."""

from django.dispatch import Signal

# Arguments: log (SmsLog, saved, `pending`), app (OrganizationApp), due_at. A receiver queues the message pinned to
# `app` in the current transaction and returns the id of its row.
queue_requested = Signal()

# Argument: app (OrganizationApp, locked). A receiver that still needs it raises `linkit.errors.Conflict`.
app_uninstalling = Signal()
