"""Credits in the console: accounts, the ledger, rates."""

from billing.admin import accounts, entries, rates  # noqa: F401  they register themselves
