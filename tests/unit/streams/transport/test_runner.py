"""A lane's life: order, commits, draining, going on after a rebalance, back-pressure, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from schemas.errors import Transient
from streams.transport.batch import Batch
from streams.transport.fetched import Chunk
from streams.transport.lane import Lane
from streams.transport.lane_log import LaneLog
from streams.transport.metrics import StageMetrics
from streams.transport.outbox import Outbox
from streams.transport.record_batch import RecordBatch
from streams.transport.runner import Limits, Runner, split

TP = TopicPartition("t", 0)
OTHER = TopicPartition("u", 0)


class Row:
    """A record."""

    key = None
    headers = ()
    timestamp = 0

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.value = b"%d" % offset


def chunk(start: int, stop: int, tp: TopicPartition = TP, skip: int = 0) -> Chunk:
    """Records of [start, stop), and ``skip`` markers behind them."""
    return Chunk(tp.topic, tp.partition, [Row(offset) for offset in range(start, stop)], stop + skip, 10)


class Group:
    """The broker's side: what is committed, and whether it takes commits."""

    def __init__(self) -> None:
        self.offsets = {TP: 0, OTHER: 0}
        self.takes_commits = True
        self.answers = True
        self.end_offsets = {TP: 0, OTHER: 0}
        self.resumed: list[dict[TopicPartition, int]] = []
        self.made_room = 0

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.offsets[tp] for tp in tps}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        await asyncio.sleep(0)
        if self.takes_commits:
            assert all(offset >= self.offsets[tp] for tp, offset in offsets.items()), "offsets never go back"
            self.offsets.update(offsets)
        return self.takes_commits

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        if not self.answers:
            raise KafkaTimeoutError
        return {tp: self.end_offsets[tp] for tp in tps}

    def resume(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.resumed.append(dict(offsets))

    def has_room(self) -> None:
        self.made_room += 1


class Writer:
    """A transactional writer that commits into the group."""

    def __init__(self, group: Group, steps: list[str]) -> None:
        self.group = group
        self.steps = steps
        self.transactions: list[tuple[int, dict[TopicPartition, int]]] = []

    async def start(self) -> None:
        self.steps.append("fence")

    async def stop(self) -> None:
        self.steps.append("stop writer")

    async def abandon(self) -> None:
        self.steps.append("abandon")

    def outbox(self) -> Outbox:
        return Outbox(lambda: RecordBatch(900_000), {"out": 4}, lambda key, count: 0)

    async def commit(self, outboxes: list[Outbox], offsets: dict[TopicPartition, int]) -> dict[tuple[str, int], int]:
        await asyncio.sleep(0)
        self.transactions.append((written(outboxes), dict(offsets)))
        self.group.offsets.update(offsets)
        return {("out", 0): len(self.transactions)}

    async def write(self, outboxes: list[Outbox]) -> dict[tuple[str, int], int]:
        self.steps.append(f"write {written(outboxes)}")
        return {}


def written(outboxes: list[Outbox]) -> int:
    return sum(count for outbox in outboxes for count in outbox.counts().values())


class Recorder(Lane):
    """Notes what happens to it."""

    def __init__(self, steps: list[str], on_batch: Callable[[Batch], Awaitable[None]] | None = None) -> None:
        super().__init__(0)
        self.steps = steps
        self._on_batch = on_batch
        self.offsets: list[tuple[str, int]] = []
        self.sizes: list[int] = []
        self.ends: list[tuple[int, dict[tuple[str, int], int]]] = []
        """Batches worked on so far, and where what they emitted ended."""

    async def restore(self, log: LaneLog) -> None:
        self.steps.append("restore")

    async def on_batch(self, batch: Batch) -> None:
        if self._on_batch is not None:
            await self._on_batch(batch)
        self.offsets += [(batch.topic, record.offset) for record in batch.records]
        self.sizes.append(len(batch))
        for record in batch.records:
            batch.emit("out", record.value)

    async def on_written(self, ends: Mapping[tuple[str, int], int]) -> None:
        self.ends.append((len(self.sizes), dict(ends)))

    async def close(self) -> None:
        self.steps.append("close")


class Bench:
    """A runner with everything around it."""

    def __init__(
        self,
        *,
        transactional: bool = False,
        on_batch: Callable[[Batch], Awaitable[None]] | None = None,
        retries: bool = False,
        records_max: int = 100,
        commit_interval_s: float = 0.0,
    ) -> None:
        self.steps: list[str] = []
        self.group = Group()
        self.lanes: list[Recorder] = []
        self.writer: Any = Writer(self.group, self.steps)
        self.crashes: list[BaseException] = []

        def make_lane() -> Recorder:
            self.lanes.append(Recorder(self.steps, on_batch))
            return self.lanes[-1]

        self.runner = Runner(
            "0",
            [TP, OTHER],
            make_lane=make_lane,
            make_writer=(lambda: self.writer) if transactional else None,
            shared_writer=None if transactional else self.writer,
            group=self.group,
            limits=Limits(
                records_max=records_max,
                bytes_max=10_000,
                transaction_interval_s=0.0,
                commit_interval_s=commit_interval_s,
            ),
            metrics=StageMetrics("test"),
            log=LaneLog(0, {}),
            retries=retries,
            on_crash=self.crashes.append,
        )

    async def started(self) -> Bench:
        self.runner.start()
        await self.until(lambda: bool(self.group.resumed))
        return self

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110  # what is waited for has no event
                await asyncio.sleep(0)

    async def work(self, *chunks: Chunk) -> None:
        for one in chunks:
            self.runner.put(one)
        await self.until(lambda: all(self.runner.done[TopicPartition(c.topic, 0)] >= c.next_offset for c in chunks))


def test_older_writers_are_fenced_before_the_state_is_restored() -> None:
    async def scenario() -> None:
        bench = await Bench(transactional=True).started()
        assert bench.steps == ["fence", "restore"]
        await bench.runner.drain()
        await bench.runner.release()
        assert bench.steps == ["fence", "restore", "close", "stop writer"]

    asyncio.run(scenario())


def test_nothing_is_taken_before_the_lane_is_restored() -> None:
    async def scenario() -> None:
        bench = Bench()
        assert not bench.runner.wants_more
        bench.runner.put(chunk(0, 5))
        await bench.started()
        assert bench.runner.wants_more
        await bench.work(chunk(0, 5))
        assert [offset for _, offset in bench.lanes[0].offsets] == list(range(5))
        await bench.runner.drain()

    asyncio.run(scenario())


def test_records_of_a_partition_stay_in_order_and_batches_stay_within_the_limit() -> None:
    async def scenario() -> None:
        bench = await Bench(records_max=30).started()
        await bench.work(*[chunk(start, start + 10, tp) for start in range(0, 100, 10) for tp in (TP, OTHER)])
        for topic in ("t", "u"):
            assert [offset for name, offset in bench.lanes[0].offsets if name == topic] == list(range(100))
        assert max(bench.lanes[0].sizes) <= 30
        assert len(bench.lanes[0].sizes) < 20, "chunks are joined"
        await bench.runner.drain()

    asyncio.run(scenario())


def test_offsets_are_committed_after_what_was_written() -> None:
    async def scenario() -> None:
        bench = await Bench().started()
        await bench.work(chunk(0, 5))
        await bench.until(lambda: bench.group.offsets[TP] == 5)
        assert bench.steps[-1] == "write 5"
        await bench.runner.drain()

    asyncio.run(scenario())


def test_a_commit_that_fails_does_not_count_as_one() -> None:
    async def scenario() -> None:
        bench = await Bench().started()
        bench.group.takes_commits = False
        await bench.work(chunk(0, 5))
        assert bench.runner.committed[TP] == 0
        bench.group.takes_commits = True
        await bench.runner.drain()
        assert bench.runner.committed[TP] == bench.group.offsets[TP] == 5

    asyncio.run(scenario())


def test_a_transaction_holds_the_outputs_and_the_offsets_of_a_round() -> None:
    async def scenario() -> None:
        bench = await Bench(transactional=True).started()
        bench.runner.put(chunk(0, 5))
        bench.runner.put(chunk(0, 3, OTHER))
        await bench.until(lambda: bool(bench.writer.transactions))
        assert bench.writer.transactions == [(8, {TP: 5, OTHER: 3})]
        assert bench.runner.committed == {TP: 5, OTHER: 3}
        await bench.runner.drain()

    asyncio.run(scenario())


def test_a_lane_is_told_where_what_it_wrote_ended_once_that_is_committed() -> None:
    async def scenario() -> None:
        bench = await Bench(transactional=True).started()
        await bench.work(chunk(0, 5))
        assert bench.lanes[0].ends == [(1, {("out", 0): 1})]
        bench.writer.commit = refuse
        bench.runner.put(chunk(5, 9))
        await bench.until(lambda: bool(bench.crashes))
        assert bench.lanes[0].sizes == [5, 4]
        assert len(bench.lanes[0].ends) == 1, "nothing is told of what may not hold"

    async def refuse(*_: object) -> None:
        raise KafkaTimeoutError

    asyncio.run(scenario())


def test_positions_behind_markers_are_committed_without_a_transaction() -> None:
    """Else the group would for ever look behind on a topic that is written in transactions."""

    async def scenario() -> None:
        bench = await Bench(transactional=True).started()
        await bench.work(chunk(0, 5, skip=1), chunk(6, 6, skip=2))
        await bench.until(lambda: bench.group.offsets[TP] == 8)
        assert bench.runner.lag({TP: 8}) == {TP: 0}
        assert bench.lanes[0].sizes == [5], "a handler never sees an empty batch"
        await bench.runner.drain()

    asyncio.run(scenario())


def test_draining_finishes_the_batch_in_work_and_forgets_the_rest() -> None:
    async def scenario() -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        async def wait(_: Batch) -> None:
            entered.set()
            await go.wait()

        bench = await Bench(on_batch=wait, records_max=5).started()
        bench.runner.put(chunk(0, 5))
        bench.runner.put(chunk(5, 10))
        await entered.wait()
        draining = asyncio.create_task(bench.runner.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        bench.runner.put(chunk(10, 15))
        go.set()
        await draining
        assert len(bench.lanes[0].offsets) == 5
        assert bench.group.offsets[TP] == 5

    asyncio.run(scenario())


def test_a_lane_that_stays_over_a_rebalance_keeps_its_state() -> None:
    async def scenario() -> None:
        bench = await Bench(transactional=True).started()
        await bench.work(chunk(0, 5))
        await bench.runner.drain()
        bench.runner.start([TP, OTHER])
        await bench.until(lambda: len(bench.group.resumed) == 2)
        assert bench.group.resumed[-1] == {TP: 5, OTHER: 0}
        assert bench.steps.count("restore") == 1
        await bench.runner.drain()

    asyncio.run(scenario())


def test_a_lane_whose_offsets_another_worker_has_moved_is_built_anew() -> None:
    async def scenario() -> None:
        bench = await Bench(transactional=True).started()
        await bench.work(chunk(0, 5))
        await bench.runner.drain()
        bench.group.offsets[TP] = 9
        bench.runner.start([TP, OTHER])
        await bench.until(lambda: len(bench.group.resumed) == 2)
        assert bench.steps == ["fence", "restore", "close", "stop writer", "fence", "restore"]
        assert bench.runner.done[TP] == 9
        await bench.runner.drain()

    asyncio.run(scenario())


@pytest.mark.parametrize("stays", [True, False])
def test_a_restore_goes_on_over_a_rebalance_and_is_broken_off_when_the_lane_leaves(stays: bool) -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def slow_restore(self: Recorder, log: LaneLog) -> None:
            self.steps.append("restore")
            await go.wait()

        bench = Bench(transactional=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Recorder, "restore", slow_restore)
            bench.runner.start()
            await bench.until(lambda: "restore" in bench.steps)
            await bench.runner.drain()
            if stays:
                go.set()
                await bench.until(lambda: bench.runner.restored)
                assert not bench.group.resumed, "the partitions are not assigned yet"
                bench.runner.start([TP, OTHER])
                await bench.until(lambda: bool(bench.group.resumed))
                assert bench.steps == ["fence", "restore"]
                await bench.runner.drain()
            else:
                await bench.runner.release()
                assert bench.steps == ["fence", "restore", "close", "stop writer"]
                assert not bench.group.resumed
        assert not bench.crashes

    asyncio.run(scenario())


def test_a_full_lane_wants_no_more_until_it_has_room() -> None:
    async def scenario() -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        async def wait(_: Batch) -> None:
            entered.set()
            await go.wait()

        bench = await Bench(on_batch=wait, records_max=10).started()
        bench.runner.put(chunk(0, 10))
        await entered.wait()
        bench.runner.put(chunk(10, 20))
        assert not bench.runner.wants_more
        before = bench.group.made_room
        go.set()
        await bench.until(lambda: bench.group.made_room > before)
        assert bench.runner.wants_more
        await bench.runner.drain()

    asyncio.run(scenario())


@pytest.mark.parametrize("transactional", [False, True])
def test_an_error_of_the_handler_crashes_the_worker_and_commits_nothing(transactional: bool) -> None:
    async def scenario() -> None:
        async def fail(batch: Batch) -> None:
            if batch.records[0].offset == 5:
                raise ValueError("no")

        bench = await Bench(on_batch=fail, transactional=transactional, records_max=5).started()
        await bench.work(chunk(0, 5))
        bench.runner.put(chunk(5, 10))
        await bench.until(lambda: bool(bench.crashes))
        await bench.runner.cancel()
        assert bench.group.offsets[TP] <= 5
        assert not bench.runner.wants_more

    asyncio.run(scenario())


def test_a_handler_without_state_gets_its_batch_again_when_it_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.transport.runner.RETRY_FIRST_S", 0.001)

    async def scenario() -> None:
        tries: list[int] = []

        async def fail_twice(batch: Batch) -> None:
            tries.append(len(batch))
            batch.emit("out", b"half done")
            if len(tries) < 3:
                raise Transient("later")

        bench = await Bench(on_batch=fail_twice, retries=True).started()
        await bench.work(chunk(0, 5))
        assert tries == [5, 5, 5]
        assert bench.steps[-1] == "write 6", "what the failed tries emitted is gone"
        assert not bench.crashes
        await bench.runner.drain()

    asyncio.run(scenario())


def test_a_fetch_larger_than_a_batch_is_split_and_only_its_end_moves_over_markers() -> None:
    parts = list(split(chunk(0, 25, skip=4), 10))
    assert [(len(part.records), part.next_offset) for part in parts] == [(10, 10), (10, 20), (5, 29)]
    assert [part.next_offset for part in split(chunk(0, 5), 10)] == [5]


class Clock(Recorder):
    """A lane that writes a record whenever it hears the time."""

    timer_s = 0.0

    def __init__(self, steps: list[str]) -> None:
        super().__init__(steps)
        self.read: list[frozenset[str]] = []

    async def on_timer(self, batch: Batch, at_us: int, read: Any) -> None:
        self.read.append(read)
        batch.emit("out", b"tick")


def test_a_lane_with_a_timer_hears_the_time_and_how_far_it_has_come() -> None:
    """What it writes then is a transaction with the offsets as they are; a topic that goes on is not called read."""

    async def scenario() -> None:
        bench = Bench(transactional=True)
        clock = Clock(bench.steps)
        bench.runner._make_lane = lambda: clock
        bench.group.end_offsets = {TP: 5, OTHER: 0}
        await bench.started()
        await bench.until(lambda: len(bench.writer.transactions) > 1)
        assert set(clock.read) == {frozenset({"u"})}
        assert bench.writer.transactions[0] == (1, {TP: 0, OTHER: 0})
        await bench.work(chunk(0, 5))
        await bench.until(lambda: frozenset({"t", "u"}) in clock.read)
        await bench.runner.drain()
        assert bench.crashes == []

    asyncio.run(scenario())


def test_brokers_that_do_not_say_where_topics_end_leave_the_lane_without_the_time() -> None:
    """A lane that believed itself at the end would be wrong; it works on, and hears the time when they answer."""

    async def scenario() -> None:
        bench = Bench(transactional=True)
        clock = Clock(bench.steps)
        bench.runner._make_lane = lambda: clock
        bench.group.answers = False
        await bench.started()
        await bench.work(chunk(0, 5))
        assert clock.read == []
        bench.group.answers = True
        bench.group.end_offsets = {TP: 5, OTHER: 0}
        await bench.until(lambda: clock.read == [frozenset({"t", "u"})] * len(clock.read) != [])
        await bench.runner.drain()
        assert bench.crashes == []

    asyncio.run(scenario())
