"""Contracts: topics, schemas, examples, and the codec of the typed events."""
