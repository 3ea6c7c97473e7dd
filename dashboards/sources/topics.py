"""The newest committed records of the topics: a look at each partition's end, at a cost that no rate can raise."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

NEWEST = {
    "payments-valid": 40,
    "balances": 20,
    "alerts": 40,
    "payments-dlq": 60,
    "cashback": 10,
    "campaigns": 50,
    "ledger-seals": 40,
}
"""Topic → how many offsets of each partition's end are looked at; transaction markers take offsets too."""
COUNTED = ("payments",)
"""Topics whose records are only counted."""
KEPT_MAX = 60
ROUND_S_MAX = 1.2


class Seen(NamedTuple):
    """A record as it was seen."""

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Newest(NamedTuple):
    """What the topics hold now."""

    records: dict[str, list[Seen]]
    """Topic → its newest records, the newest first."""
    counted: dict[str, int]
    """Topic → offsets written so far."""


class Topics:
    """One consumer without a group, which commits nothing and is in nobody's way."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: Any = None
        self._ends: dict[TopicPartition, int] = {}
        self._kept: dict[str, deque[Seen]] = {topic: deque(maxlen=KEPT_MAX) for topic in NEWEST}

    async def ask(self) -> Newest:
        """Look at what is new. Raises KafkaError or TimeoutError; the next call starts afresh."""
        try:
            return await self._ask()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(consumer.stop(), 1.0)

    async def _ask(self) -> Newest:
        if self._consumer is None:
            await self._open()
        consumer = self._consumer
        tps = [tp for tp in consumer.assignment() if tp.topic in NEWEST]
        counted = [tp for tp in consumer.assignment() if tp.topic in COUNTED]
        ends: dict[TopicPartition, int] = await consumer.end_offsets([*tps, *counted])
        fresh = {tp: end for tp, end in ends.items() if tp.topic in NEWEST and end > self._ends.get(tp, 0)}
        for tp, end in fresh.items():
            consumer.seek(tp, max(self._ends.get(tp, 0), end - NEWEST[tp.topic]))
        consumer.pause(*(tp for tp in consumer.assignment() if tp not in fresh))
        consumer.resume(*fresh)
        await self._read(consumer, fresh)
        self._ends |= fresh
        return Newest(
            {topic: sorted(kept, key=lambda seen: -seen.timestamp_ms) for topic, kept in self._kept.items()},
            {topic: sum(end for tp, end in ends.items() if tp.topic == topic) for topic in COUNTED},
        )

    async def _open(self) -> None:
        """Connect and find the partitions. A broker that was set up anew has other offsets: forget the old ones."""
        consumer = AIOKafkaConsumer(
            *NEWEST,
            *COUNTED,
            bootstrap_servers=self._bootstrap,
            client_id="koban-console",
            group_id=None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=5000,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=256 * 1024,
        )
        self._consumer = consumer
        await consumer.start()
        tps = list(consumer.assignment())
        if not tps:
            raise ConnectionError("no topics yet")
        consumer.pause(*tps)
        ends = await consumer.end_offsets(tps)
        if any(ends[tp] < end for tp, end in self._ends.items() if tp in ends):
            self._kept = {topic: deque(maxlen=KEPT_MAX) for topic in NEWEST}
            self._ends = {}

    async def _read(self, consumer: Any, fresh: dict[TopicPartition, int]) -> None:
        until = time.monotonic() + ROUND_S_MAX
        open_tps = set(fresh)
        while open_tps and time.monotonic() < until:
            for tp, records in (await consumer.getmany(*open_tps, timeout_ms=200)).items():
                for record in records:
                    if record.offset < fresh[tp]:
                        seen = Seen(tp.partition, record.offset, record.timestamp, record.value, tuple(record.headers))
                        self._kept[tp.topic].append(seen)
            for tp in list(open_tps):
                if await consumer.position(tp) >= fresh[tp]:
                    open_tps.discard(tp)
