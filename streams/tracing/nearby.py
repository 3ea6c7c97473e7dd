"""A payment's records found by time, in a few looks at each partition: for a page that somebody waits for.

Whatever a stage makes of an event keeps its Kafka timestamp. So a payment's records lie, in every partition, at or
shortly behind the first record of that time; a window of a few seconds there holds them, whatever the topics' size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from kafka import KafkaConsumer, TopicPartition

from koban.settings import Settings
from streams.committed_reader import committed_reader
from streams.tracing.record import LogRecord
from streams.tracing.story import STAGE_OF_TOPIC, Trace

BEHIND_MS = 3_000
"""A stage that takes events in out of their order writes them so, within about so much."""
BEYOND_MAX = 100
"""So many records in a row from after the window end the look at a partition."""
RECORDS_MAX = 60_000
"""Of one trace, over all partitions."""
WINDOWS_MAX = 20
POLL_MS = 150
FETCH = {"max_partition_fetch_bytes": 262_144, "max_poll_records": 2_000, "fetch_max_wait_ms": 50}
"""Small: a window is a few seconds of a partition."""


def trace_nearby(
    settings: Settings,
    payment_id: str,
    times_ms: Sequence[int],
    *,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Trace, bool]:
    """The payment's records near these Kafka timestamps, and whether every window was read to its end.

    Raises KafkaError when no broker answers.
    """
    result = Trace(payment_id)
    with committed_reader(settings.kafka_bootstrap, **FETCH) as consumer:
        partitions = [
            TopicPartition(topic, partition)
            for topic in sorted(consumer.topics() & STAGE_OF_TOPIC.keys())
            for partition in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        deadline = clock() + within_s
        found: list[LogRecord] = []
        whole = True
        for first_ms, last_ms in windows(times_ms):
            whole = _read(consumer, partitions, first_ms, last_ms, found, lambda: deadline - clock()) and whole
    unique = {(record.topic, record.partition, record.offset): record for record in found}.values()
    result.take(record for record in unique if record.topic != "balances")
    result.take_balances(record for record in unique if record.topic == "balances")
    result.sort()
    return result, whole


def windows(times_ms: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Stretches of time that hold these instants and what comes shortly after; near ones are one stretch."""
    pending: tuple[int, int] | None = None
    for at in sorted(set(times_ms))[-WINDOWS_MAX:]:
        if pending is not None and at <= pending[1]:
            pending = (pending[0], at + BEHIND_MS)
            continue
        if pending is not None:
            yield pending
        pending = (at, at + BEHIND_MS)
    if pending is not None:
        yield pending


def _read(
    consumer: KafkaConsumer,
    partitions: Sequence[TopicPartition],
    first_ms: int,
    last_ms: int,
    found: list[LogRecord],
    left_s: Callable[[], float],
) -> bool:
    """Collects a window of every partition; False when the time or the number of records was used up before."""
    starts = consumer.offsets_for_times(dict.fromkeys(partitions, first_ms))
    ends = consumer.end_offsets(list(partitions))
    open_tps = {tp for tp, at in starts.items() if at is not None and at.offset < ends[tp]}
    if not open_tps:
        return True
    consumer.assign(list(open_tps))
    for tp in open_tps:
        consumer.seek(tp, starts[tp].offset)
    beyond = dict.fromkeys(open_tps, 0)
    while open_tps:
        if left_s() <= 0 or len(found) >= RECORDS_MAX:
            return False
        for tp, records in consumer.poll(timeout_ms=POLL_MS).items():
            for record in records:
                late = record.timestamp > last_ms
                beyond[tp] = beyond[tp] + 1 if late else 0
                if not late:
                    found.append(LogRecord.of(record))
        done = {tp for tp in open_tps if beyond[tp] >= BEYOND_MAX or consumer.position(tp) >= ends[tp]}
        if done:
            open_tps -= done
            consumer.pause(*done)
    return True
