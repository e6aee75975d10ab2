"""Bulk sends: many messages from one file, each row checked by itself."""
