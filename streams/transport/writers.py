"""Writes what batches emitted: in one transaction with their offsets, or before their offsets are committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from itertools import zip_longest
from typing import Any

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from schemas.partitioning import lane_of_key
from streams.transport.failpoint import Place, passed
from streams.transport.outbox import Outbox
from streams.transport.record_batch import RecordBatch

# A transaction that starts while the markers of the one before are still being written is refused; aiokafka then waits
# 20 ms. The markers take about a millisecond, and a lane's transactions follow each other closely.
aiokafka.producer.sender.BACKOFF_OVERRIDE = 0.003

BATCH_BYTES_MAX = 900_000
"""Of one produced record batch; brokers take about a million bytes. A single larger record still goes alone."""
TRANSACTION_TIMEOUT_MS = 60_000
"""The broker aborts a transaction that is open for longer, and fences its writer."""
FENCING_TIMEOUT_S = 60
ABORT_TIMEOUT_S = 5
KEYS_CACHED_MAX = 262_144

Offsets = Mapping[TopicPartition, int]
Ends = Mapping[tuple[str, int], int]


class Writer:
    """Writes outboxes with one Kafka producer."""

    def __init__(self, client: dict[str, Any], compression: str | None, **options: Any) -> None:
        self._producer = AIOKafkaProducer(
            **client, acks="all", max_batch_size=BATCH_BYTES_MAX, linger_ms=0, retry_backoff_ms=50, **options
        )
        self._new_batch = partial(
            RecordBatch, BATCH_BYTES_MAX, compression, transactional="transactional_id" in options
        )
        self._partitions: dict[str, int] = {}
        """Topic → partitions, of topics that were written to. Topics keyed by owner never grow."""

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    def outbox(self) -> Outbox:
        return Outbox(self._new_batch, self._partitions, partition_of)

    async def write(self, outboxes: Iterable[Outbox]) -> Ends:
        """Returns when the brokers have all of it: where that ended, as far as they told.

        Raises aiokafka's KafkaError when one record batch was refused.
        """
        sent = await self._send(outboxes)
        ends: dict[tuple[str, int], int] = {}
        for (_, count), written in zip(sent, await asyncio.gather(*(future for future, _ in sent)), strict=True):
            place = written.topic, written.partition
            if written.offset >= 0:  # -1: the broker had it from an earlier try
                ends[place] = written.offset + count
        return ends

    async def _send(self, outboxes: Iterable[Outbox]) -> list[tuple[asyncio.Future[Any], int]]:
        """Hands over the first record batch of every partition before the second of any: a transaction then learns of
        all its partitions at once. One that is added while another is written to makes the broker refuse the write
        for a moment (Kafka 4 verifies, and tells older clients that replicas are missing)."""
        building: dict[tuple[str, int | None], list[RecordBatch]] = {}
        for outbox in outboxes:
            await self._settle(outbox)
            for place, slot in outbox.slots.items():
                if filled := [batch for batch in slot.batches if batch.count]:
                    building.setdefault(place, []).extend(filled)
        sent: list[tuple[asyncio.Future[Any], int]] = []
        for layer in zip_longest(*building.values()):
            for (topic, partition), batch in zip(building, layer, strict=True):
                if batch is not None:
                    sent.append((await self._producer.send_batch(batch, topic, partition=partition), batch.count))
        return sent

    async def _settle(self, outbox: Outbox) -> None:
        for topic in {output.topic for output in outbox.late}:
            self._partitions[topic] = len(await self._producer.partitions_for(topic))
        outbox.settle()


class IdempotentWriter(Writer):
    """At least once: a record is never written twice by one worker, but again by the next one after a crash."""

    def __init__(self, client: dict[str, Any], compression: str | None) -> None:
        super().__init__(client, compression, enable_idempotence=True)


class TransactionalWriter(Writer):
    """Exactly once: outputs and offsets of a lane become visible together or not at all.

    Only the latest writer that has started under a ``transactional_id`` can write: starting one is the fence.
    """

    def __init__(self, client: dict[str, Any], compression: str | None, transactional_id: str, group: str) -> None:
        super().__init__(
            client, compression, transactional_id=transactional_id, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS
        )
        self._group = group

    async def start(self) -> None:
        """Fences older writers, and finishes what they left open. Raises TimeoutError after ``FENCING_TIMEOUT_S``."""
        async with asyncio.timeout(FENCING_TIMEOUT_S):
            await super().start()

    async def commit(self, outboxes: Iterable[Outbox], offsets: Offsets) -> Ends:
        """One transaction: where its records ended, as far as the brokers told.

        Raises KafkaError (fenced, refused, timed out): whether it holds is then unknown here.
        """
        producer = self._producer
        await producer.begin_transaction()
        positions = {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        # aiokafka commits a transaction even if a record batch of it was refused: each must be awaited before.
        ends = await self.write(outboxes)
        passed(Place.AFTER_PRODUCE)
        await producer.send_offsets_to_transaction(positions, self._group)
        passed(Place.AFTER_OFFSETS)
        await producer.commit_transaction()
        passed(Place.AFTER_COMMIT)
        return ends

    async def abandon(self) -> None:
        """Aborts what is open, so that readers need not wait for its time-out, and stops; not an error if it can't."""
        producer = self._producer
        with contextlib.suppress(KafkaError, AssertionError, TimeoutError):
            async with asyncio.timeout(ABORT_TIMEOUT_S):
                if producer._txn_manager.is_in_transaction():
                    await producer.abort_transaction()
                await producer.stop()


@lru_cache(maxsize=KEYS_CACHED_MAX)
def partition_of(key: bytes | None, count: int) -> int:
    """The partition that the Java client picks for a key. Raises ValueError without a key."""
    if key is None:
        raise ValueError("a record without a key needs its partition named")
    return lane_of_key(key, count)
