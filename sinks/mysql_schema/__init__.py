"""The tables in MySQL, as numbered migrations that are applied in order, each once."""
