"""Runs one lane: fences, restores, then works off its batches in order and commits them, until the lane is taken away.

A runner is one asyncio task, so that one lane's commit overlaps with another lane's work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import Backpressure, Transient
from streams.transport.batch import Record
from streams.transport.fetched import Chunk
from streams.transport.lane import Lane
from streams.transport.lane_log import LaneLog
from streams.transport.metrics import StageMetrics
from streams.transport.outbox import Outbox, WritingBatch
from streams.transport.writers import IdempotentWriter, TransactionalWriter

RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0


def _now_s() -> float:
    """The event loop's clock: the same as `time.monotonic`, and a simulation's own under a simulated loop."""
    return asyncio.get_running_loop().time()


class Group(Protocol):
    """What a runner asks of the consumer group's member."""

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's committed offsets, checked against the partitions; the partition's start where there is none."""
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commits outside of transactions. False when the group has moved on: then nothing is committed."""
        ...

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions end, for readers of committed records. Raises KafkaError when the brokers don't say."""
        ...

    def resume(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Starts to fetch from these offsets."""
        ...

    def has_room(self) -> None:
        """A runner can take more chunks again."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a lane takes at once, and how long it waits for more."""

    records_max: int
    """Of a batch, and of what is queued before fetching stops: so at most two batches and one fetch are in memory."""
    bytes_max: int
    """Fetched bytes queued before fetching stops."""
    transaction_interval_s: float
    """Under a light load a lane commits at most this often."""
    commit_interval_s: float
    """Outside of transactions offsets are committed this often, and before a lane is given away."""


class Runner:
    """One lane on this worker: ``start``, any number of ``put``, ``drain``, then ``start`` again or ``release``."""

    def __init__(
        self,
        name: str,
        tps: Iterable[TopicPartition],
        *,
        make_lane: Callable[[], Lane],
        make_writer: Callable[[], TransactionalWriter] | None,
        shared_writer: IdempotentWriter | None,
        group: Group,
        limits: Limits,
        metrics: StageMetrics,
        log: LaneLog,
        retries: bool,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self.tps = frozenset(tps)
        self.done: dict[TopicPartition, int] = {}
        """Next offset to work on: everything before is written and acknowledged."""
        self.committed: dict[TopicPartition, int] = {}
        """What the group is known to have committed: it moves only when a commit has succeeded."""
        self.restored = False
        self._lane: Lane | None = None
        self._make_lane = make_lane
        self._make_writer = make_writer
        self._transactions: TransactionalWriter | None = None
        self._shared_writer = shared_writer
        self._group = group
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._retries = retries
        self._on_crash = on_crash
        self._chunks: deque[Chunk] = deque()
        self._queued_records = 0
        self._queued_bytes = 0
        self._draining = False
        self._reading = False
        self._commit_due_at = 0.0
        self._timer_due_at = 0.0
        self._wake = asyncio.Event()
        self._given = asyncio.Event()
        """Set while the lane's partitions are assigned to this worker."""
        self._task: asyncio.Task[None] | None = None

    def start(self, tps: Iterable[TopicPartition] | None = None) -> None:
        """Starts, or goes on after a rebalance that left the lane here: its state is kept if its offsets are."""
        self.tps = self.tps if tps is None else frozenset(tps)
        self._draining = False
        self._given.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"lane {self.name}")

    @property
    def full(self) -> bool:
        """Back-pressure: while it is, the lane's partitions are left with the fetcher, which then stops fetching."""
        return self._queued_records >= self._limits.records_max or self._queued_bytes >= self._limits.bytes_max

    @property
    def wants_more(self) -> bool:
        """Whether chunks are welcome: not before the lane is restored, and not while it is full."""
        return self._reading and not self.full

    def put(self, chunk: Chunk) -> None:
        """Queues what was fetched. A draining lane takes nothing: its next owner reads it again."""
        if not self._reading:
            return
        self._chunks.append(chunk)
        self._queued_records += len(chunk.records)
        self._queued_bytes += chunk.size_bytes
        self._wake.set()

    async def drain(self) -> None:
        """Finishes the batch in work, commits, forgets what is queued. No batch is worked on when this returns.

        A restore goes on meanwhile: the lane may stay here, and with many lanes it would never come to an end if each
        rebalance began it anew.
        """
        self._given.clear()
        if not self._reading:
            return
        self._draining = True
        self._reading = False
        self._chunks.clear()
        self._queued_records = self._queued_bytes = 0
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def cancel(self) -> None:
        """Stops at once, in the middle of whatever it is; nothing is committed that was not."""
        await self._end_task()
        if self._transactions is not None:
            await self._transactions.abandon()

    async def release(self) -> None:
        """Lets go of the lane's object and its own writer. The lane was drained; a restore is broken off."""
        await self._end_task()
        await self._let_go()

    async def _end_task(self) -> None:
        self._reading = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _let_go(self) -> None:
        lane, self._lane, self.restored = self._lane, None, False
        if lane is not None:
            await lane.close()
        if self._transactions is not None:
            await self._transactions.stop()
            self._transactions = None

    def lag(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Offsets of each partition, up to its end, that are not worked on yet."""
        return {tp: max(0, end - self.done[tp]) for tp, end in ends.items() if tp in self.done}

    async def _run(self) -> None:
        try:
            await self._prepare()
            while not self._draining:
                if self._timer_due:
                    await self._tick()
                if self._chunks:
                    await self._step()
                    await self._commit_if(_now_s() >= self._commit_due_at and self._make_writer is None)
                elif not await self._woken():
                    await self._commit_if(not self._timer_due)
            await self._commit_if(self.restored)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._reading = False
            self._on_crash(error)

    async def _prepare(self) -> None:
        """Restores, unless the lane stayed here over a rebalance and nobody moved its offsets meanwhile."""
        while True:
            await self._given.wait()
            if not self.restored or await self._group.committed(self.tps) != self.done:
                await self._let_go()
                await self._restore()
            elif self._given.is_set():  # no rebalance has begun while the offsets were asked for
                break
        self._commit_due_at = _now_s() + self._limits.commit_interval_s
        self._group.resume(self.done)
        self._reading = True

    async def _restore(self) -> None:
        """Fences first: only then the committed offsets and the end of the log are final."""
        if self._make_writer is not None:
            self._transactions = self._make_writer()
            await self._transactions.start()
        self.committed = await self._group.committed(self.tps)
        self.done = dict(self.committed)
        self._lane = self._make_lane()
        await self._lane.restore(self._log)
        self.restored = True
        self._metrics.progress()

    async def _woken(self) -> bool:
        """Waits for a chunk or the end; False when a commit or the lane's timer is due before."""
        self._wake.clear()
        due = [] if self.done == self.committed else [self._commit_due_at]
        if self._timer_s is not None:
            due.append(self._timer_due_at)
        if not due:
            await self._wake.wait()
            return True
        try:
            async with asyncio.timeout(max(0.0, min(due) - _now_s())):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    @property
    def _timer_s(self) -> float | None:
        return None if self._lane is None else self._lane.timer_s

    @property
    def _timer_due(self) -> bool:
        return self._timer_s is not None and _now_s() >= self._timer_due_at

    async def _tick(self) -> None:
        """Tells the lane the time, and how far it has come. Not while the brokers don't say where the topics end."""
        assert self._lane is not None
        assert self._lane.timer_s is not None
        at_us = time.time_ns() // 1000
        batch = WritingBatch("", self._lane.partition, [], 0, self._outbox)
        with contextlib.suppress(KafkaError):
            ends = await self._group.ends(self.tps)
            read = frozenset(tp.topic for tp, end in ends.items() if self.done[tp] >= end)
            await self._lane.on_timer(batch, at_us, read)
        if batch.outbox.slots or batch.outbox.late:
            await self._write([batch], dict(self.done))
            self._metrics.wrote(batch)
        self._timer_due_at = _now_s() + self._lane.timer_s

    async def _commit_if(self, due: bool) -> None:
        """Commits what is done, outside of transactions: every offset at least once, in exactly-once mode only
        positions behind transaction markers, which no record follows yet. Never at the same time as a transaction."""
        if due and self.done != self.committed:
            offsets = dict(self.done)
            if await self._group.commit(offsets):
                self.committed = offsets
            self._commit_due_at = _now_s() + self._limits.commit_interval_s

    async def _step(self) -> None:
        """One round: some batches worked on, written and (exactly-once) committed."""
        started = _now_s()
        was_full = self.full
        batches = self._take()
        if was_full and not self.full:
            self._group.has_room()
        await self._work(batches)
        self._metrics.progress()
        if self._transactions is not None:
            await self._pace(started)

    def _outbox(self) -> Outbox:
        writer = self._transactions or self._shared_writer
        assert writer is not None
        return writer.outbox()

    def _take(self) -> list[WritingBatch]:
        """Queued chunks of a round, those of one partition joined; at least one chunk, else up to the limit."""
        joined: dict[tuple[str, int], tuple[list[Record], int]] = {}
        count = 0
        while self._chunks and (count == 0 or count + len(self._chunks[0].records) <= self._limits.records_max):
            chunk = self._chunks.popleft()
            self._queued_records -= len(chunk.records)
            self._queued_bytes -= chunk.size_bytes
            count += len(chunk.records)
            place = (chunk.topic, chunk.partition)
            before = joined.get(place)
            joined[place] = (before[0] + chunk.records if before else chunk.records, chunk.next_offset)
        return [
            WritingBatch(topic, partition, records, next_offset, self._outbox)
            for (topic, partition), (records, next_offset) in joined.items()
        ]

    async def _work(self, batches: list[WritingBatch]) -> None:
        offsets = {TopicPartition(batch.topic, batch.partition): batch.next_offset for batch in batches}
        full = [batch for batch in batches if batch.records]
        if full:
            with self._metrics.batch():
                for batch in full:
                    await self._handle(batch)
                await self._write(full, offsets)
            self._metrics.done(full)
        self.done.update(offsets)

    async def _handle(self, batch: WritingBatch) -> None:
        """The lane's own step. A handler without state is called again when it asks for it."""
        assert self._lane is not None
        pause = RETRY_FIRST_S
        while True:
            try:
                await self._lane.on_batch(batch)
            except (Backpressure, Transient) as error:
                if not self._retries or self._draining:
                    raise
                self._metrics.retry(self.name, error, pause)
                batch.forget_outputs()
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_LAST_S)
            else:
                return

    async def _write(self, batches: list[WritingBatch], offsets: dict[TopicPartition, int]) -> None:
        outboxes = [batch.outbox for batch in batches]
        if self._transactions is not None:
            ends = await self._transactions.commit(outboxes, offsets)
            self.committed.update(offsets)
        else:
            assert self._shared_writer is not None
            ends = await self._shared_writer.write(outboxes)
        assert self._lane is not None
        await self._lane.on_written(ends)

    async def _pace(self, started: float) -> None:
        """Lets a little more arrive before the next transaction, unless much is there: a transaction costs the same
        for one record as for a thousand. The first record after a pause never waits."""
        left = started + self._limits.transaction_interval_s - _now_s()
        if left > 0 and not self._draining and self._queued_records < self._limits.records_max // 2:
            await asyncio.sleep(left)


def split(chunk: Chunk, records_max: int) -> Iterable[Chunk]:
    """A fetch larger than a batch as several chunks; only the last one moves over what is behind the records."""
    records: list[Any] = chunk.records
    if len(records) <= records_max:
        yield chunk
        return
    size_bytes = chunk.size_bytes * records_max // len(records)
    for start in range(0, len(records), records_max):
        part = records[start : start + records_max]
        last = start + records_max >= len(records)
        next_offset = chunk.next_offset if last else part[-1].offset + 1
        yield Chunk(chunk.topic, chunk.partition, part, next_offset, size_bytes)
