"""Campaigns: what a payment earns, what the pot has left for it, and what a refund takes back."""
