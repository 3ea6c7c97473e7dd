"""Fraud, pure: what signals mean, and what an alert is."""
