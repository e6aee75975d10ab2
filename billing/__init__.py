"""Credit accounts, the append-only ledger, holds and rates. Nothing costs credits yet: the credits issue fills this."""
