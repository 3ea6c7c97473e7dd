"""Reads what is committed in a lane's partition of a topic, from its start (or near its end) to its present end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient

from streams.transport import fetched
from streams.transport.batch import Record
from streams.transport.failpoint import Place, passed

FETCH_BYTES = 2 * 1024 * 1024
METADATA_TIMEOUT_S = 30


class MissingTopicError(LookupError):
    """A topic that the stage is built from is not there: reading on would look like an empty state."""


class Span(msgspec.Struct, frozen=True):
    """Where a partition begins and ends, and which topic it is of: one made anew under its name has another id."""

    topic_id: str
    start: int
    end: int


class LaneLog:
    """The committed past of one partition number. Its end is taken when a read starts, so when the lane is fenced."""

    def __init__(self, partition: int, client: dict[str, Any], on_progress: Callable[[], None] = lambda: None) -> None:
        self.partition = partition
        self._client = client
        self._on_progress = on_progress

    async def span(self, topic: str) -> Span:
        """The partition as it is now. Raises MissingTopicError when there is none."""
        consumer = AIOKafkaConsumer(**self._client, isolation_level="read_committed", enable_auto_commit=False)
        try:
            await consumer.start()
            tp = await self._partition(consumer, topic)
            start = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
        finally:
            await consumer.stop()
        return Span(await asyncio.to_thread(_topic_id, self._client, topic), start, end)

    async def read(
        self, topic: str, last: int | None = None, start: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        """Lists of records in order of offset; at least the ``last`` N of them (as far as there are), or those from
        offset ``start`` on, or all.

        Transaction markers take offsets too, one or more a transaction, so the last N records are looked for among the
        last 2 N offsets, and more than N may come. Raises MissingTopicError when there is no such partition.
        """
        consumer = AIOKafkaConsumer(
            **self._client,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            async for records in self._read(consumer, topic, last, start):
                yield records
        finally:
            await consumer.stop()

    async def _partition(self, consumer: Any, topic: str) -> TopicPartition:
        if self.partition not in (await _partitions(consumer, topic) or ()):
            raise MissingTopicError(
                f"topic {topic!r} has no partition {self.partition}: create it with `koban topics apply`"
            )
        return TopicPartition(topic, self.partition)

    async def _read(
        self, consumer: Any, topic: str, last: int | None, since: int | None
    ) -> AsyncIterator[Sequence[Record]]:
        tp = await self._partition(consumer, topic)
        consumer.assign([tp])
        start = max((await consumer.beginning_offsets([tp]))[tp], since or 0)
        end = (await consumer.end_offsets([tp]))[tp]
        if last is not None:
            start = max(start, end - 2 * last)
        consumer.seek(tp, start)
        fetcher = consumer._fetcher
        state = consumer._subscription.subscription.assignment.state_value(tp)
        while not state.has_valid_position or state.position < end:
            arrived = fetcher._create_fetch_waiter()
            chunks = list(fetched.take(fetcher))
            if not chunks:
                await asyncio.wait([arrived], timeout=1.0)
            else:
                await asyncio.sleep(0)  # the next fetch goes out before these records are worked on
            arrived.cancel()
            for chunk in chunks:
                self._on_progress()
                records = chunk.records
                if chunk.next_offset > end:
                    records = [record for record in records if record.offset < end]
                if records:
                    yield records
                    passed(Place.IN_RESTORE)


async def _partitions(consumer: Any, topic: str) -> set[int] | None:
    """Partition numbers of a topic, or None."""
    async with asyncio.timeout(METADATA_TIMEOUT_S):
        cluster = await consumer._client.fetch_all_metadata()
    partitions: set[int] | None = cluster.partitions_for_topic(topic)
    return partitions


def _topic_id(client: dict[str, Any], topic: str) -> str:
    """aiokafka speaks no version of the protocol that tells it."""
    with closing(KafkaAdminClient(**client)) as admin:
        return str(admin.describe_topics([topic])[0]["topic_id"])
