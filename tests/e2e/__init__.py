"""The product as real processes, against the local gateway."""
