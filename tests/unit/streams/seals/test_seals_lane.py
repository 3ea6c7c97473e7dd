"""The sealer's lane: what it writes of a batch, what it takes up after a restart, and what it refuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Gauge

from koban.ledger.seals import LaneSealer, leaf_of
from koban.records import Seal, SealLeaves
from streams.seals.lane import BALANCES, JOURNAL, LEAVES, SEALS, TOPICS, Figures, SealsLane, runs_of
from streams.transport import Batch
from streams.transport.batch import Output

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND
ENTRY = b'{"lines":[{"account":"U.w.money","debit_minor":5},{"account":"M.m.payable","debit_minor":-5}]}'


class Stored(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def row(offset: int, at_s: int, value: bytes = ENTRY) -> Stored:
    headers = [("ce_id", b"e"), ("koban_at_us", b"%d" % (T0 + at_s * SECOND))]
    return Stored(offset, 99, b"w", value, headers)


class Log:
    """The lane's committed past: topic → records."""

    def __init__(self, **topics: list[Stored]) -> None:
        self._topics = {name.replace("_", "-"): records for name, records in topics.items()}

    async def read(self, topic: str, last: int | None = None) -> AsyncIterator[Sequence[Stored]]:
        records = self._topics.get(topic, [])
        if records[-(last or 0) :]:
            yield records[-(last or 0) :]


class Bench:
    """A lane, what it counted and told."""

    def __init__(self, log: Log | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.registry = CollectorRegistry()
        sealer = LaneSealer(2, 10 * SECOND, 3 * SECOND)
        self.lane = SealsLane(
            2, sealer, lambda outcome, n: self.counts.update({outcome: n}), self._figures(), lambda: T0
        )
        asyncio.run(self.lane.restore(log or Log()))  # type: ignore[arg-type]  # it reads like one

    def _figures(self) -> Figures:
        def gauge(name: str, *labels: str) -> Gauge:
            return Gauge(name, name, ["lane", *labels], registry=self.registry)

        return Figures(gauge("totals", "family", "side"), gauge("unbalanced"), gauge("number"), gauge("sealed_to"))

    def outputs(self, topic: str, *rows: Stored) -> list[Output]:
        batch = Batch(topic, 2, rows, rows[-1].offset + 1)
        asyncio.run(self.lane.on_batch(batch))
        return batch.outputs

    def tick(self, at_s: int) -> list[Output]:
        batch = Batch("", 2, [], 0)
        asyncio.run(self.lane.on_timer(batch, T0 + at_s * SECOND, TOPICS))
        return batch.outputs

    def figure(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"lane": "2", **labels})


def test_a_batch_gives_its_leaves_and_the_state_behind_them():
    """One record, in the lane's partition: what a restart needs goes with what it is about."""
    (output,) = Bench().outputs(JOURNAL, row(4, 1), row(5, 1), row(7, 2))
    assert (output.topic, output.partition, output.key, output.timestamp_ms) == (LEAVES, 2, b"2", 99)
    found = msgspec.json.decode(output.value or b"", type=SealLeaves)
    assert [(run.first_offset, run.count) for run in found.runs] == [(4, 2), (7, 1)]
    assert found.leaves == leaf_of(b"w", ENTRY) * 3
    assert (found.side, found.state.journal.next_offset, found.state.journal.parts[0].count) == (JOURNAL, 8, 3)
    assert dict(output.headers)["ce_type"] == b"koban.seal-leaves"


def test_a_window_that_ends_gives_a_seal_in_the_same_transaction_as_its_state():
    """So none is written twice, and none is forgotten."""
    bench = Bench()
    bench.outputs(JOURNAL, row(0, 1))
    seal, state = bench.tick(13)
    assert (seal.topic, seal.partition, seal.key) == (SEALS, 2, b"2")
    read = msgspec.json.decode(seal.value or b"", type=Seal)
    assert (read.lane, read.number, read.journal.count) == (2, 1, 1)
    assert seal.timestamp_ms == read.to_us // 1000
    assert msgspec.json.decode(state.value or b"", type=SealLeaves).state.hash == read.hash
    assert bench.tick(14) == []
    assert (bench.counts["seals"], bench.counts["sealed"]) == (1, 1)


def test_a_restarted_lane_goes_on_in_the_middle_of_a_window():
    """From its last leaves alone; what it has taken in already is passed over."""
    whole, first = Bench(), Bench()
    whole.outputs(JOURNAL, row(0, 1), row(1, 2))
    (leaves,) = first.outputs(JOURNAL, row(0, 1))
    second = Bench(Log(ledger_seal_leaves=[Stored(9, 99, b"2", leaves.value, ())], journal=[row(0, 1)]))
    second.outputs(JOURNAL, row(0, 1), row(1, 2))
    assert second.counts["sealed_again"] == 1
    assert [output.value for output in second.tick(60)] == [output.value for output in whole.tick(60)]


def test_a_lane_whose_state_is_lost_does_not_begin_in_the_middle():
    """A second chain over the rest would hide what lies before."""
    bench = Bench(Log(journal=[row(0, 1), row(1, 1)]))
    with pytest.raises(AssertionError, match="its state is gone, its offsets are not"):
        bench.outputs(JOURNAL, row(1, 1))


def test_a_lane_that_begins_begins_where_its_topics_do():
    """Which need not be offset 0."""
    bench = Bench(Log(journal=[row(5, 1)]))
    assert len(bench.outputs(JOURNAL, row(5, 1))) == 1


def test_records_without_a_time_stay_where_they_lie():
    """No header, or one that is no number: right behind the record before, never an error."""
    bench = Bench()
    bare = Stored(1, 99, b"w", ENTRY, ())
    odd = Stored(2, 99, b"w", ENTRY, [("koban_at_us", b"noon")])
    bench.outputs(JOURNAL, row(0, 5), bare, odd, Stored(3, 99, b"w", ENTRY, [("koban_at_us", None)]))
    (seal, _) = bench.tick(13)
    assert msgspec.json.decode(seal.value or b"", type=Seal).journal.count == 4


def test_figures():
    """Totals by family, entries out of balance, the last seal, and up to when all is sealed."""
    bench = Bench()
    bench.outputs(JOURNAL, row(0, 1), row(1, 1, b'{"lines":[{"account":"A.bank@2","debit_minor":7}]}'))
    bench.outputs(BALANCES, row(0, 1))
    assert bench.figure("totals", family="U", side="debit") == 5
    assert bench.figure("totals", family="M", side="credit") == 5
    assert bench.figure("unbalanced") == 1
    assert bench.figure("number") == 0
    bench.tick(33)
    assert bench.figure("number") == 1
    assert bench.figure("sealed_to") == T0 / SECOND + 30


def test_runs():
    assert [(run.first_offset, run.count) for run in runs_of([3, 4, 5, 9, 11, 12])] == [(3, 3), (9, 1), (11, 2)]
    assert runs_of([]) == ()
