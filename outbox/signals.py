"""What this package asks of packages above it, which it may not import."""

from django.dispatch import Signal

# Arguments: job (BulkJob, leased, `checking`, with a program_id), stop (threading.Event). A receiver writes its rows by
# `outbox.bulk.splitting.write` and `conclude`, and returns early when `stop` is set.
rows_wanted = Signal()
