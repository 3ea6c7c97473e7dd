"""Limits that a posted fact can violate. The fact stands, since the money has moved; somebody must look at it."""

from __future__ import annotations

from enum import StrEnum


class BreachCode(StrEnum):
    """What was violated, in order of precedence."""

    UNKNOWN_ACCOUNT = "unknown_account"
    """A line named no account of the chart; it was posted to `L.suspense`."""
    BELOW_ZERO = "below_zero"
    """A limited account was overdrawn, or overdrawn further."""
    ABOVE_CAP = "above_cap"
    """A wallet came to hold more than it may."""
    REFUND_NOT_FUNDED = "refund_not_funded"
    """A refund reached the wallet while it still waited for its merchant's money."""
