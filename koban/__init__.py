"""The business, pure: no engine, no I/O, no clock."""
