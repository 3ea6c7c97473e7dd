"""Topics and consumer groups: where each partition begins and ends, who has read how far, and how long ago that was."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

EVERY_S = 2.0
TIMEOUT_S = 6.0
BEGIN_ROUNDS = 15
"""Begins move only when a segment is dropped: they are asked for every so many rounds."""
ENDS_KEPT = 900
"""Half an hour of looks: a group that is further behind is told as at least so late."""
RATE_WINDOW_S = 10.0
MARKERS_MAX = 64
"""A transaction's marker takes an offset that no reader commits; a gap up to this is looked into before it is told."""
GROUP_PREFIX = "koban-"
LOOKS_S_MAX = 1.0
_POLL_MS = 100


class GroupLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group is behind in a topic, over its partitions."""

    group: str
    topic: str
    records: int
    seconds: float
    """Since the oldest record that it has not read was first seen at the end; 0 when it has read all."""
    rate_per_s: float | None = None
    """Offsets a second that it went on by over the last seconds."""


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it lies now."""

    name: str
    begins: dict[int, int]
    """Partition → its first offset that is kept."""
    ends: dict[int, int]
    """Partition → the offset behind its last committed record."""
    rate_per_s: float | None
    """Offsets a second written over the last seconds."""
    groups: tuple[GroupLag, ...]

    @property
    def offsets(self) -> int:
        """How many offsets are kept."""
        return sum(end - self.begins.get(partition, 0) for partition, end in self.ends.items())


class Offsets(msgspec.Struct, frozen=True, kw_only=True):
    """All topics by name, with the groups that read them."""

    topics: dict[str, TopicState]

    def lags(self) -> list[GroupLag]:
        """Every group's lag in every topic that it reads."""
        return [lag for topic in self.topics.values() for lag in topic.groups]


class Ends:
    """A partition's end over time, by which an offset's age is known without reading any record."""

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._times: list[float] = []
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, at: float, end: int) -> None:
        """The partition ended there at a time, in seconds of one clock."""
        if self._ends and end < self._ends[-1]:  # the topic was made anew
            self._ends.clear()
            self._times.clear()
            self._seen.clear()
        if not self._ends or end > self._ends[-1]:
            self._ends.append(end)
            self._times.append(at)
            if len(self._ends) > ENDS_KEPT:
                del self._ends[0], self._times[0]
        self._seen.append((at, end))
        while len(self._seen) > 2 and self._seen[1][0] <= at - RATE_WINDOW_S:
            self._seen.popleft()

    def age_s(self, offset: int, now: float) -> float:
        """For how long a record at this offset has been there, as far as was seen; 0 when there is none yet."""
        at = bisect_right(self._ends, offset)
        return 0.0 if at == len(self._ends) else max(0.0, now - self._times[at])

    def rate_per_s(self) -> float | None:
        """Offsets a second over the window; None before two looks."""
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return None if last_at - first_at < 0.5 else (last - first) / (last_at - first_at)


class Groups:
    """Asks the brokers, with a consumer that belongs to no group and an admin client."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: Any = None
        self._admin: Any = None
        self._round = 0
        self._begins: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, Ends] = {}
        self._reads: dict[tuple[str, TopicPartition], Ends] = {}
        """Group and partition → where it was over time."""
        self._only_markers: set[tuple[TopicPartition, int, int]] = set()
        """A partition's offset and end between which nothing but markers lies."""

    async def ask(self) -> Offsets:
        """All topics and groups. Raises KafkaError or TimeoutError; the next call starts afresh."""
        try:
            return await self._ask()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave."""
        consumer, self._consumer = self._consumer, None
        admin, self._admin = self._admin, None
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                if consumer is not None:
                    await consumer.stop()
                if admin is not None:
                    await admin.close()

    async def _ask(self) -> Offsets:
        if self._consumer is None:
            await self._open()
        partitions = await self._partitions()
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions) if partitions else {}
        if self._round % BEGIN_ROUNDS == 0 or ends.keys() - self._begins.keys():
            self._begins = await self._consumer.beginning_offsets(partitions) if partitions else {}
        self._round += 1
        now = time.time()
        for tp, end in ends.items():
            self._ends.setdefault(tp, Ends()).see(now, end)
        committed = await self._committed()
        await self._look_behind(committed, ends)
        read_to = self._read_to(committed, ends)
        for group, offsets in read_to.items():
            for tp, offset in offsets.items():
                self._reads.setdefault((group, tp), Ends()).see(now, offset)
        return made(ends, self._begins, self._ends, read_to, now, self._reads)

    async def _open(self) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="koban-console-offsets",
            group_id=None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="latest",
            request_timeout_ms=5000,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=64 * 1024,
            metadata_max_age_ms=10_000,
        )
        await self._consumer.start()
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, request_timeout_ms=5000)
        await self._admin.start()

    async def _partitions(self) -> list[TopicPartition]:
        """All of them; the consumer holds each, paused, so that it knows whom to ask."""
        found = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in await self._admin.describe_topics()
            for partition in topic["partitions"]
            if not topic["topic"].startswith("__")
        ]
        if set(found) != self._consumer.assignment():
            self._consumer.assign(found)
            self._consumer.pause(*found)
        return found

    async def _committed(self) -> dict[str, dict[TopicPartition, int]]:
        """Group → partition → the offset it goes on from."""
        names = sorted(name for name, *_ in await self._admin.list_consumer_groups() if name.startswith(GROUP_PREFIX))
        answers = await asyncio.gather(*(self._admin.list_consumer_group_offsets(name) for name in names))
        return {
            name: {tp: found.offset for tp, found in answer.items() if found.offset >= 0}
            for name, answer in zip(names, answers, strict=True)
        }

    async def _look_behind(
        self, committed: Mapping[str, Mapping[TopicPartition, int]], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Where groups stand still a few offsets before the end, looks whether any of them is a record.

        Only so many looks a round: a gap that was not looked into counts as records until it was.
        """
        gaps = {
            (tp, offset, ends[tp])
            for offsets in committed.values()
            for tp, offset in offsets.items()
            if tp in ends and 0 < ends[tp] - offset <= MARKERS_MAX
        }
        self._only_markers &= gaps
        until = time.monotonic() + LOOKS_S_MAX
        for tp, offset, end in sorted(gaps - self._only_markers):
            if time.monotonic() > until:
                return
            if self._ends[tp].age_s(offset, time.time()) < EVERY_S:
                continue  # fresh: the group will have read it by the next look
            if not await self._has_record(tp, offset, end):
                self._only_markers.add((tp, offset, end))

    async def _has_record(self, tp: TopicPartition, offset: int, end: int) -> bool:
        self._consumer.seek(tp, offset)
        self._consumer.resume(tp)
        try:
            for _ in range(3):
                records = (await self._consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=1)).get(tp, [])
                if records:
                    return bool(records[0].offset < end)
                if await self._consumer.position(tp) >= end:
                    return False
        finally:
            self._consumer.pause(tp)
        return True

    def _read_to(
        self, committed: Mapping[str, Mapping[TopicPartition, int]], ends: Mapping[TopicPartition, int]
    ) -> dict[str, dict[TopicPartition, int]]:
        """Committed offsets, those before nothing but markers moved to the end."""
        return {
            group: {
                tp: ends[tp] if (tp, offset, ends.get(tp)) in self._only_markers else offset
                for tp, offset in offsets.items()
            }
            for group, offsets in committed.items()
        }


def made(
    ends: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
    history: Mapping[TopicPartition, Ends],
    committed: Mapping[str, Mapping[TopicPartition, int]],
    now: float,
    reads: Mapping[tuple[str, TopicPartition], Ends] | None = None,
) -> Offsets:
    """The topics of what the brokers said."""
    names = sorted({tp.topic for tp in ends})
    lags = list(_lags(ends, history, committed, now, reads or {}))
    topics = {}
    for name in names:
        own = sorted(tp for tp in ends if tp.topic == name)
        rates = [history[tp].rate_per_s() for tp in own]
        topics[name] = TopicState(
            name=name,
            begins={tp.partition: begins.get(tp, 0) for tp in own},
            ends={tp.partition: ends[tp] for tp in own},
            rate_per_s=None if None in rates else sum(rate for rate in rates if rate is not None),
            groups=tuple(lag for lag in lags if lag.topic == name),
        )
    return Offsets(topics=topics)


def _lags(
    ends: Mapping[TopicPartition, int],
    history: Mapping[TopicPartition, Ends],
    committed: Mapping[str, Mapping[TopicPartition, int]],
    now: float,
    reads: Mapping[tuple[str, TopicPartition], Ends],
) -> Iterable[GroupLag]:
    for group, offsets in sorted(committed.items()):
        for topic in sorted({tp.topic for tp in offsets if tp in ends}):
            own = {tp: offset for tp, offset in offsets.items() if tp.topic == topic and tp in ends}
            rates = [reads[group, tp].rate_per_s() for tp in own if (group, tp) in reads]
            known = [rate for rate in rates if rate is not None]
            behind = {tp: offset for tp, offset in own.items() if ends[tp] > offset}
            yield GroupLag(
                group=group,
                topic=topic,
                records=sum(ends[tp] - offset for tp, offset in behind.items()),
                seconds=max((history[tp].age_s(offset, now) for tp, offset in behind.items()), default=0.0),
                rate_per_s=sum(known) if known else None,
            )
