"""The console and the public API."""
