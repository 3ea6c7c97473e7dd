"""The book in MySQL: journal entries and balances, as the ledger wrote them, each once whatever is repeated."""
