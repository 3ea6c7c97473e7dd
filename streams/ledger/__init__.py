"""The ledger: posts events as journal entries and keeps every account's balance, exactly once, a lane at a time."""
