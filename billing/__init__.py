"""Credit accounts, the append-only ledger, holds and rates."""
