"""The worker's lanes: starts, drains and lets go of them as the group gives and takes partitions."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec
from aiokafka import TopicPartition

from streams.transport.fetched import Chunk
from streams.transport.lane import Lane
from streams.transport.metrics import StageMetrics
from streams.transport.runner import Runner, split

logger = logging.getLogger("koban.transport")


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """What works on a set of topics: one lane object a partition number."""

    name: str
    topics: tuple[str, ...]
    make_lane: Callable[[int], Lane]
    retries: bool
    """The lane has no state, so a batch can be tried again when its handler says so."""


class Desk:
    """Runners by lane. The driver's calls come one after another, from the group's own task and from the drain loop."""

    def __init__(
        self,
        handlers: Iterable[Handler],
        *,
        make_runner: Callable[[Handler, int, list[TopicPartition]], Runner],
        hold: Callable[[Iterable[TopicPartition]], None],
        stable_ends: Callable[[Iterable[TopicPartition]], dict[TopicPartition, int]],
        metrics: StageMetrics,
        records_max: int,
        drain_s_max: float,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self.runners: dict[tuple[str, int], Runner] = {}
        self.assigned = False
        """Whether the group has given this worker its share, which may be nothing."""
        self.behind = False
        """Whether some offset was not worked on when last looked at."""
        self._handler_of = {topic: handler for handler in handlers for topic in handler.topics}
        self._make_runner = make_runner
        self._hold = hold
        self._stable_ends = stable_ends
        self._metrics = metrics
        self._records_max = records_max
        self._drain_s_max = drain_s_max
        self._on_crash = on_crash
        self._by_partition: dict[tuple[str, int], Runner] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """All lanes of this worker are restored."""
        return self.assigned and all(runner.restored for runner in self.runners.values())

    def wanted(self) -> set[TopicPartition]:
        """Partitions that chunks are welcome of."""
        return {tp for runner in self.runners.values() if runner.wants_more for tp in runner.tps}

    def put(self, chunk: Chunk) -> None:
        runner = self._by_partition.get((chunk.topic, chunk.partition))
        if runner is not None:
            for part in split(chunk, self._records_max):
                runner.put(part)

    async def revoke(self) -> None:
        """All lanes finish what they have in hand. Raises TimeoutError when one does not in ``drain_s_max``.

        The group gives everything back at each rebalance; a lane that then comes back goes on as it was.
        """
        self.assigned = False
        self._by_partition.clear()
        async with asyncio.timeout(self._drain_s_max):
            await asyncio.gather(*(runner.drain() for runner in self.runners.values()))

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        """Starts the lanes of these partitions. Does not wait: the group's heartbeats only go on afterwards."""
        tps = list(tps)
        self._hold(tps)
        lanes: defaultdict[tuple[str, int], list[TopicPartition]] = defaultdict(list)
        for tp in tps:
            lanes[self._handler_of[tp.topic].name, tp.partition].append(tp)
        for lane in self.runners.keys() - lanes.keys():
            self._let_go(lane)
        for lane, members in sorted(lanes.items()):
            self._start(lane, members)
        self.assigned = True
        logger.info("lanes: %s", ", ".join(runner.name for runner in self.runners.values()) or "none")

    async def close(self) -> None:
        """Drains and lets go of everything. Raises TimeoutError like ``revoke``."""
        await self.revoke()
        for lane in list(self.runners):
            self._let_go(lane)
        async with asyncio.timeout(self._drain_s_max):
            await asyncio.gather(*self._leaving)

    async def cancel(self) -> None:
        """Stops everything at once, for a crash."""
        await asyncio.gather(*(runner.cancel() for runner in self.runners.values()))

    def report(self) -> None:
        """Brings the lag and lane figures up to date."""
        behind = False
        for runner in self.runners.values():
            for tp, lag in runner.lag(self._stable_ends(runner.tps)).items():
                self._metrics.lag(tp.topic, tp.partition, lag)
                behind = behind or lag > 0
        self.behind = behind
        restored = sum(runner.restored for runner in self.runners.values())
        self._metrics.lanes(len(self.runners) - restored, restored)

    def lags(self, topic: str) -> list[tuple[int, int]]:
        """Partition of ``topic`` and offsets not worked on yet, of the lanes that this worker has restored.

        A list, as of now: lanes come and go while the caller awaits between one and the next.
        """
        return [
            (tp.partition, lag)
            for runner in self.runners.values()
            if runner.restored
            for tp, lag in runner.lag(self._stable_ends(runner.tps)).items()
            if tp.topic == topic
        ]

    def _start(self, lane: tuple[str, int], tps: list[TopicPartition]) -> None:
        handler = self._handler_of[tps[0].topic]
        runner = self.runners.get(lane)
        if runner is None:
            runner = self.runners[lane] = self._make_runner(handler, lane[1], tps)
        for tp in tps:
            self._by_partition[tp.topic, tp.partition] = runner
        runner.start(tps)

    def _let_go(self, lane: tuple[str, int]) -> None:
        runner = self.runners.pop(lane)
        for tp in runner.tps:
            self._metrics.forget_lag(tp.topic, tp.partition)
        self._in_background(runner.release())

    def _in_background(self, step: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await step
            except Exception as error:
                self._on_crash(error)

        task = asyncio.create_task(guarded())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
