"""Fraud signals into alerts, exactly once."""
