"""Money as text."""

from __future__ import annotations


def yen(amount_minor: int) -> str:
    """``¥1,200``, and ``-¥1,200`` below zero: the sign in front, as a plain hyphen that survives copying."""
    return f"{'-' if amount_minor < 0 else ''}¥{abs(amount_minor):,}"
