"""When people pay: the day, the week and payday over a steady rate, in Japanese time, and the moments of each event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from koban.business_time import US_PER_S, business_date

HOUR_US = 3600 * US_PER_S
_JST_HOURS = 9
_BY_HOUR = (28, 18, 12, 9, 10, 18, 42, 85, 112, 96, 98, 125, 190, 150, 112, 110, 118, 140, 182, 205, 178, 136, 98, 58)
_BY_WEEKDAY = (93, 92, 94, 96, 106, 115, 104)
"""Percent, Monday first."""
_PAYDAYS = (10, 25)
_PAYDAY_PERCENT = 122
_MEAN = sum(_BY_HOUR) / 24
SPIKE_S = 30
"""How long a spike lasts."""


class Spike(NamedTuple):
    """From ``at_s`` seconds after the start, for half a minute, ``factor`` times the rate."""

    factor: float
    at_s: float


class Slots(NamedTuple):
    """Moments of the next events, ascending, in UTC microseconds. All lie in one hour; ``first`` numbers the first."""

    first: int
    times_us: npt.NDArray[np.int64]
    hour: int
    """JST hour of the day."""
    weekend: bool


def busyness(at_us: int) -> float:
    """How much busier than the mean of a month the hour of this instant is."""
    day = business_date(at_us)
    percent = _BY_WEEKDAY[day.weekday()] * (_PAYDAY_PERCENT if day.day in _PAYDAYS else 100)
    return _BY_HOUR[jst_hour(at_us)] / _MEAN * percent / 10_000


def jst_hour(at_us: int) -> int:
    """Hour of the day in Japan."""
    return (at_us // HOUR_US + _JST_HOURS) % 24


def is_weekend(at_us: int) -> bool:
    """Saturday or Sunday in Japan."""
    return business_date(at_us).weekday() >= 5


class Clock:
    """Gives out the moments of events at a rate: exactly rate x time of them, each at a random point of its own share.

    ``rhythmic`` lets the rate breathe with the hour and the day; without it the rate is what was asked for.
    """

    def __init__(
        self,
        start_us: int,
        end_us: int | None,
        tps: float,
        random: np.random.Generator,
        *,
        rhythmic: bool = False,
        spike: Spike | None = None,
    ) -> None:
        self._at_us = start_us
        self._end_us = end_us
        self._tps = tps
        self._random = random
        self._rhythmic = rhythmic
        self._spike_us: tuple[int, int] | None = None
        self._spike_factor = 1.0
        if spike is not None:
            begin = start_us + int(spike.at_s * US_PER_S)
            self._spike_us = (begin, begin + SPIKE_S * US_PER_S)
            self._spike_factor = spike.factor
        self._owed = 0.0
        self._given = 0

    def slots(self, most: int) -> Iterator[Slots]:
        """Blocks of at most ``most`` moments until the end; without an end, forever."""
        while self._end_us is None or self._at_us < self._end_us:
            begin, end = self._at_us, self._stretch_end()
            rate = self._rate(begin)
            exact = self._owed + (end - begin) / US_PER_S * rate
            count = int(exact)
            self._owed = exact - count
            step_us = (end - begin) / count if count else 0.0
            for first in range(0, count, most):
                yield self._block(begin, first, min(most, count - first), step_us)
            self._at_us = end

    def _stretch_end(self) -> int:
        """The end of the stretch from now on in which the rate stays the same, and the hour too."""
        edges = [self._at_us - self._at_us % HOUR_US + HOUR_US]
        edges += [edge for edge in (*(self._spike_us or ()), self._end_us) if edge is not None and edge > self._at_us]
        return min(edges)

    def _rate(self, at_us: int) -> float:
        rate = self._tps * busyness(at_us) if self._rhythmic else self._tps
        spiking = self._spike_us is not None and self._spike_us[0] <= at_us < self._spike_us[1]
        return rate * self._spike_factor if spiking else rate

    def _block(self, begin_us: int, first: int, count: int, step_us: float) -> Slots:
        place = np.arange(first, first + count) + self._random.random(count)
        times = begin_us + (place * step_us).astype(np.int64)
        given, self._given = self._given, self._given + count
        return Slots(given, times, jst_hour(begin_us), is_weekend(begin_us))
