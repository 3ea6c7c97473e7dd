"""Charts: what they draw is what the stages said, tick by tick, and no more than a window of it."""

from __future__ import annotations

from dashboards.board import Node
from dashboards.series import FIGURES, TICKS_KEPT, Series

MINUTE = 1_763_780_400


def nodes(rate: float, p99_s: float = 0.25) -> dict[str, Node]:
    return {name: Node(name, "ok", rate, 0, p99_s) for name in ("gate", "ledger", "search_index")}


def test_a_chart_asks_for_what_it_does_not_have() -> None:
    series = Series()
    for tick in range(5):
        series.add(MINUTE + tick, nodes(100.0 + tick))
    assert series.since(0)["gate"] == [100.0, 101.0, 102.0, 103.0, 104.0]
    newest = series.since(MINUTE + 3)
    assert newest["at"] == [MINUTE + 4]
    assert (newest["ledger"], newest["ledger_p99"]) == ([104.0], [0.25])
    assert all(values == [] for values in series.since(MINUTE + 9).values())


def test_who_says_nothing_leaves_a_gap() -> None:
    """A stage that is down has no point, not a zero."""
    series = Series()
    series.add(MINUTE, nodes(100.0) | {"ledger": Node("ledger", "bad")})
    series.add(MINUTE + 1, {})
    told = series.since(0)
    assert (told["gate"], told["ledger"]) == ([100.0, None], [None, None])
    assert series.last("ledger", 90) == [0.0, 0.0]


def test_the_table_has_a_mean_a_minute() -> None:
    series = Series()
    for tick in range(90):
        series.add(MINUTE + tick, nodes(10.0 if tick < 60 else 40.0) if tick != 70 else {})
    newest, oldest = series.minutes()
    assert (newest.at, oldest.at) == (MINUTE + 60, MINUTE)
    assert dict(zip(FIGURES, newest.values, strict=True))["gate"] == 40.0
    assert dict(zip(FIGURES, oldest.values, strict=True))["gate"] == 10.0


def test_only_a_window_is_kept() -> None:
    series = Series()
    for tick in range(TICKS_KEPT + 100):
        series.add(MINUTE + tick, nodes(1.0))
    assert len(series.since(0)["at"]) == TICKS_KEPT
    assert series.minutes()[-1].at > MINUTE
