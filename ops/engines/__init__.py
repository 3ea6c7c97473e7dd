"""Engines: locked, fetched, supervised."""
