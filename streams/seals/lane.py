"""One lane of the sealer: journal and balances in, seals and the leaves under them out.

The state behind a batch travels with the batch's leaves, in the transaction of its offsets. So a restart needs one
record, however long the window, and no record is sealed twice or never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing

import msgspec
from prometheus_client import Gauge

from koban.ledger.seals import LaneSealer
from koban.records import Run, SealLeaves
from schemas.cloudevents import HeaderMaker
from streams.transport import Batch, Lane, LaneLog, Record

STAGE = "seals"
JOURNAL, BALANCES = TOPICS = ("journal", "balances")
SEALS, LEAVES = "ledger-seals", "ledger-seal-leaves"
RESTORE_LAST = (16, 1_024, None)
"""How many of the last records are looked at for the lane's state: crashed transactions leave offsets without any."""
AT_US = "koban_at_us"

_encode = msgspec.json.Encoder().encode
_decode_leaves = msgspec.json.Decoder(SealLeaves).decode
_headers = HeaderMaker(STAGE)


class Figures(msgspec.Struct, frozen=True):
    """What the sealer says of its lanes, for Prometheus."""

    totals: Gauge
    unbalanced: Gauge
    number: Gauge
    sealed_to: Gauge


class SealsLane(Lane):
    """Seals one lane. ``count`` counts outcomes; ``clock_us`` says the time in UTC microseconds, for headers alone."""

    timer_s = 1.0

    def __init__(
        self,
        partition: int,
        sealer: LaneSealer,
        count: Callable[[str, int], None] = lambda outcome, n: None,
        figures: Figures | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(partition)
        self._sealer = sealer
        self._count = count
        self._figures = figures
        self._clock_us = clock_us
        self._key = b"%d" % partition
        self._starts: dict[str, int | None] = {}
        """Where the topics begin, of a lane that has never sealed anything."""
        self._at = 0
        """Where the last record had its time among its headers: mostly where the next one has it too."""

    async def restore(self, log: LaneLog) -> None:
        """Goes on from the state behind the last leaves that were written."""
        for last in RESTORE_LAST:
            latest: bytes | None = None
            async for records in log.read(LEAVES, last=last):
                latest = records[-1].value
            if latest is not None:
                self._sealer.restore(_decode_leaves(latest).state)
                break
        else:
            self._starts = {topic: await _first_offset(log, topic) for topic in TOPICS}
        self._tell()

    async def on_batch(self, batch: Batch) -> None:
        """Takes the records in as leaves, and seals the windows that they end."""
        self._check_start(batch)
        side, sealer, leaves, offsets = batch.topic, self._sealer, [], []
        for record in batch.records:
            leaf = sealer.on_record(side, record.offset, self._written_at_us(record), record.key, record.value)
            if leaf is not None:
                leaves.append(leaf)
                offsets.append(record.offset)
        self._count("sealed_again", len(batch.records) - len(leaves))
        self._emit(batch, side, leaves, offsets)
        self._tell()

    async def on_timer(self, batch: Batch, at_us: int, read: Collection[str]) -> None:
        """Seals the windows that time has ended."""
        self._sealer.on_timer(at_us, read)
        self._emit(batch, JOURNAL, [], [])
        self._tell()

    def _check_start(self, batch: Batch) -> None:
        """Without any state it must be the beginning: going on in the middle would start a second chain."""
        start = self._starts.pop(batch.topic, None)
        offset = batch.records[0].offset
        assert start is None or offset <= start, (
            f"the sealer goes on at offset {offset} of {batch.topic}/{batch.partition}, which begins at {start}: "
            f"its state is gone, its offsets are not. Bring {LEAVES} back, or seal anew from the beginning: "
            f"kafka-consumer-groups --group koban-{STAGE} --delete-offsets --topic {batch.topic}"
        )

    def _written_at_us(self, record: Record) -> int:
        """When the ledger wrote it; 0 when the record does not say."""
        headers = record.headers
        if self._at >= len(headers) or headers[self._at][0] != AT_US:
            self._at = next((at for at, (name, _) in enumerate(headers) if name == AT_US), 0)
        name, value = headers[self._at] if headers else ("", None)
        return int(value) if name == AT_US and value is not None and value.isdigit() else 0

    def _emit(self, batch: Batch, side: str, leaves: list[bytes], offsets: Sequence[int]) -> None:
        at_us = self._clock_us()
        seals = self._sealer.take_seals()
        for seal in seals:
            headers = _headers.derived("seal", f"{seal.lane}:{seal.number}", at_us)
            timestamp_ms = seal.to_us // 1000
            batch.emit(
                SEALS, _encode(seal), key=self._key, headers=headers, timestamp_ms=timestamp_ms, partition=seal.lane
            )
        if seals or leaves:
            self._emit_leaves(batch, side, leaves, offsets, at_us)
        self._count("sealed", len(leaves))
        self._count("seals", len(seals))

    def _emit_leaves(self, batch: Batch, side: str, leaves: list[bytes], offsets: Sequence[int], at_us: int) -> None:
        state = self._sealer.snapshot()
        value = SealLeaves(
            lane=self.partition,
            side="journal" if side == JOURNAL else "balances",
            runs=runs_of(offsets),
            leaves=b"".join(leaves),
            state=state,
        )
        headers = _headers.derived(
            "seal-leaves", f"{self.partition}:{state.journal.next_offset}:{state.balances.next_offset}", at_us
        )
        timestamp_ms = batch.records[-1].timestamp if batch.records else state.to_us // 1000
        batch.emit(
            LEAVES, _encode(value), key=self._key, headers=headers, timestamp_ms=timestamp_ms, partition=self.partition
        )

    def _tell(self) -> None:
        if self._figures is None:
            return
        lane, figures, sealer = str(self.partition), self._figures, self._sealer
        for family, total in sealer.totals().items():
            figures.totals.labels(lane, family, "debit").set(total.debit_minor)
            figures.totals.labels(lane, family, "credit").set(total.credit_minor)
        figures.unbalanced.labels(lane).set(sealer.unbalanced)
        figures.number.labels(lane).set(sealer.number)
        figures.sealed_to.labels(lane).set(sealer.sealed_to_us / 1e6)


async def _first_offset(log: LaneLog, topic: str) -> int | None:
    async with aclosing(log.read(topic)) as chunks:  # type: ignore[type-var]  # it is an async generator
        async for records in chunks:
            return records[0].offset
    return None


def runs_of(offsets: Sequence[int]) -> tuple[Run, ...]:
    """Growing offsets as stretches without a gap."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and runs[-1][0] + runs[-1][1] == offset:
            runs[-1][1] += 1
        else:
            runs.append([offset, 1])
    return tuple(Run(first_offset=first, count=count) for first, count in runs)
