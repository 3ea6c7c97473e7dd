"""Payments and alerts into OpenSearch: at least once, one document each, whatever is repeated or comes late."""
