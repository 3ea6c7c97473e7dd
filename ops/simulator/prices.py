"""What things cost: log-normal amounts of a trade, with the endings that Japanese prices have."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ops.simulator.catalogue import TRADES, PriceStyle, Trade

QUANTILES = 1024
AMOUNT_MINOR_MAX = 60_000
"""No single ordinary payment is above this: 100,000 yen in ten minutes is what a fraud rule looks for."""


def with_ending(raw: float, style: PriceStyle) -> int:
    """The price near ``raw`` yen that a shop of this style would ask, at least 1 yen."""
    if style == "shelf":
        before_tax = max(98, round(raw / 10) * 10 - 2)
        return before_tax * 108 // 100
    if style == "ten":
        return max(80, round(raw / 10) * 10)
    if style == "tag":
        return max(190, round(raw / 100) * 100 - 10) if raw < 5_000 else round(raw / 1_000) * 1_000 - 10
    if style == "hundred":
        return max(100, round(raw / 100) * 100)
    if style == "fare":
        return 500 + max(0, round((raw - 500) / 100)) * 100
    return max(1, round(raw))


def prices(trade: Trade) -> list[int]:
    """Amounts of a trade, ascending, one per quantile: to draw one is to draw from the distribution.

    A table and not a formula, so that the amounts are the same on every processor.
    """
    normal = NormalDist()
    raw = (trade.median_minor * math.exp(trade.sigma * normal.inv_cdf((q + 0.5) / QUANTILES)) for q in range(QUANTILES))
    return [min(AMOUNT_MINOR_MAX, with_ending(amount, trade.style)) for amount in raw]


def price_table() -> npt.NDArray[np.int64]:
    """All trades' amounts, shaped (trade, quantile)."""
    return np.array([prices(trade) for trade in TRADES], dtype=np.int64)
