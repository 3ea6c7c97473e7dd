"""A Kafka of the benchmark's own: topics filled once, and read back whole."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from ops.bench import machine
from ops.bench.payments import Payment
from ops.platform import Platform, platform

LANES = 4
WAIT_S_MAX = 60


class Broker:
    """A Kafka of the benchmark's own."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.bootstrap = ""
        self._process: psutil.Process | None = None

    def __enter__(self) -> Broker:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="koban-bench-"))) / "platform"
        settings = self._stack.enter_context(platform(folder, only=("kafka",)))
        self.bootstrap = settings.kafka_bootstrap
        self._process = psutil.Process(next(row.pid for row in Platform(folder).status() if row.name == "kafka"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def confine(self, cores: set[int]) -> None:
        assert self._process is not None
        machine.confine(self._process, cores)


def create(bootstrap: str, *topics: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics([NewTopic(topic, LANES, 1) for topic in topics])


def recreate(bootstrap: str, group: str, *topics: str) -> None:
    """Topics as if they had never been written to, and a group as if it had never read any."""
    forget(bootstrap, group, *topics)
    create(bootstrap, *topics)


def forget(bootstrap: str, group: str, *topics: str) -> None:
    """Deletes topics, and how far a group has read; returns when both are gone."""
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        old = set(admin.list_topics()) & set(topics)
        if old:
            admin.delete_topics(sorted(old))
        _await(lambda: not old & set(admin.list_topics()), f"{', '.join(sorted(old))} to be deleted")
        if any(found["group_id"] == group for found in admin.list_groups()):
            _await(lambda: _deleted(admin, group), f"group {group} to be deleted")


def _deleted(admin: KafkaAdminClient, group: str) -> bool:
    """Whether it is; not while the broker still counts a killed member in."""
    return bool(admin.delete_groups([group])[group] in ("OK", "GroupIdNotFoundError"))


def _await(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {WAIT_S_MAX} s for {what}")
        time.sleep(0.1)


async def preload(bootstrap: str, topic: str, records: Iterable[Payment]) -> None:
    """Writes records to their lanes, in large batches."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=900_000) as producer:
        builders = [producer.create_batch() for _ in range(LANES)]
        for lane, key, value in records:
            if builders[lane].append(timestamp=None, key=key, value=value) is None:
                await producer.send_batch(builders[lane], topic, partition=lane)
                builders[lane] = producer.create_batch()
                builders[lane].append(timestamp=None, key=key, value=value)
        for lane, builder in enumerate(builders):
            await producer.send_batch(builder, topic, partition=lane)
        await producer.flush()


async def read_all(bootstrap: str, topic: str) -> list[bytes]:
    """All committed values of a topic, those of a partition in their order."""
    values: list[bytes] = []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    async with consumer:
        tps = [TopicPartition(topic, lane) for lane in range(LANES)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value for record in records]
    return values
