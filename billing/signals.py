"""What this package tells packages above it, which it may not import."""

from django.dispatch import Signal

# Arguments: organization. Sent in the transaction of a top-up or of an adjustment upwards.
credits_added = Signal()
