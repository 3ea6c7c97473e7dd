"""How fast the platform was in the last minutes: a value a tick and figure, for charts and the table beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import groupby
from statistics import fmean
from typing import Any, NamedTuple

from dashboards.board import Node

FIGURES = ("gate", "ledger", "search_index", "ledger_p99", "search_index_p99")
"""Records a second of three stages, and seconds from the event to its effect of two (99 of 100 are faster)."""
TICKS_KEPT = 900
DECIMALS = 3


class Point(NamedTuple):
    """One tick: seconds since the epoch, and the figures in the order of ``FIGURES``; None while nobody says."""

    at: float
    values: tuple[float | None, ...]


class Minute(NamedTuple):
    """One minute in a table: its beginning in seconds since the epoch, and the mean of each figure."""

    at: int
    values: tuple[float | None, ...]


class Series:
    """The last ``TICKS_KEPT`` ticks."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=TICKS_KEPT)

    def add(self, at: float, nodes: Mapping[str, Node]) -> None:
        """A tick."""
        self._points.append(Point(at, tuple(_figure(nodes, name) for name in FIGURES)))

    def since(self, at: float) -> dict[str, Any]:
        """The ticks after an instant, a list a figure, as charts take them."""
        points = [point for point in self._points if point.at > at]
        columns: list[tuple[float | None, ...]] = list(zip(*(point.values for point in points), strict=True))
        figures = columns or [()] * len(FIGURES)
        return {
            "at": [round(point.at, DECIMALS) for point in points],
            **{
                name: [None if value is None else round(value, DECIMALS) for value in values]
                for name, values in zip(FIGURES, figures, strict=True)
            },
        }

    def last(self, figure: str, ticks: int) -> list[float]:
        """The newest values of a figure, for a sparkline; 0 while nobody says."""
        at = FIGURES.index(figure)
        return [point.values[at] or 0.0 for point in list(self._points)[-ticks:]]

    def minutes(self) -> list[Minute]:
        """The same as a table, the newest minute first."""
        rows = []
        for minute, group in groupby(self._points, key=lambda point: int(point.at // 60) * 60):
            columns = zip(*(point.values for point in group), strict=True)
            rows.append(Minute(minute, tuple(_mean(column) for column in columns)))
        return rows[::-1]


def _figure(nodes: Mapping[str, Node], name: str) -> float | None:
    node = nodes.get(name.removesuffix("_p99"))
    if node is None:
        return None
    return node.p99_s if name.endswith("_p99") else node.rate_per_s


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
