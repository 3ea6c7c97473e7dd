"""The parts of the stage around the indexing: alerts, progress, connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from schemas.errors import Transient
from sinks.contract import Item, Outcome, Result
from sinks.memory import MemorySink
from streams.search_index.app import Work, index_alerts
from streams.search_index.progress import Progress, item_of

NOW_US = 1_763_780_400_000_000


@dataclass(frozen=True)
class Rec:
    """A record as the transport hands it over."""

    value: bytes | None
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


def alert(signals: int, alert_id: str = "T01-a", **more: Any) -> Rec:
    fields = {
        "alert_id": alert_id,
        "typology": "T01",
        "wallet_id": "w-1",
        "first_at_us": NOW_US,
        "last_at_us": NOW_US,
        "payments": 6,
        "merchants": 4,
        "amount_minor": 6000,
        "signals": signals,
    }
    return Rec(msgspec.json.encode(fields | more))


def test_the_latest_state_of_an_alert_is_indexed() -> None:
    """Whatever the order in a batch; a replay of an older state changes nothing."""
    sink = MemorySink()
    assert asyncio.run(index_alerts(sink, [alert(1), alert(3), alert(2), alert(1, "T01-b")])) == []
    assert sorted((key, version) for (_, key), (version, _) in sink.stored.items()) == [("T01-a", 3), ("T01-b", 1)]
    before = dict(sink.stored)
    asyncio.run(index_alerts(sink, [alert(1)]))
    assert sink.stored == before


def test_what_is_no_alert_is_rejected_alone() -> None:
    """Broken bytes, and a state that contradicts itself."""
    sink = MemorySink()
    records = [Rec(b"{"), alert(1), alert(1, "T01-c", last_at_us=NOW_US - 1)]
    rejected = asyncio.run(index_alerts(sink, records))
    assert [record for record, _ in rejected] == [records[0], records[2]]
    assert len(sink.stored) == 1


def test_an_index_that_is_busy_holds_the_alerts() -> None:
    """Nothing is given up."""

    class Busy(MemorySink):
        async def write(self, items: Sequence[Item]) -> list[Result]:
            return [Result(Outcome.RETRY, "busy")] * len(items)

    with pytest.raises(Transient, match="busy"):
        asyncio.run(index_alerts(Busy(), [alert(1)]))


def test_how_far_a_lane_is_complete() -> None:
    """A lane that is caught up is complete to a moment ago, one that is behind to its last record."""
    progress = Progress("search-index")
    progress.indexed(1, NOW_US - 60_000_000)
    marks = progress.marks([(0, 0), (1, 5), (2, 9)], NOW_US)
    assert [(mark.partition, NOW_US - mark.complete_to_us) for mark in marks] == [(0, 2_000_000), (1, 62_000_000)]


def test_a_mark_never_goes_back() -> None:
    """A late writer's older mark is stale in the index."""
    sink = MemorySink()
    progress = Progress("search-index")
    for now_us in (NOW_US, NOW_US - 5):
        asyncio.run(sink.write([item_of(mark) for mark in progress.marks([(0, 0)], now_us)]))
    ((version, _),) = sink.stored.values()
    assert version == NOW_US - 2_000_000


def test_connections_outlive_the_batches_in_work() -> None:
    """They are closed when the last batch is done, and not before."""

    async def scenario() -> None:
        work = Work()
        await work.finished()
        with work, work:
            waiting = asyncio.create_task(work.finished())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting

    asyncio.run(scenario())
