"""Reads topics to their end, for the tools that look back: verify, trace, dead letters. Committed records only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kafka import KafkaConsumer, TopicPartition

from streams.committed_reader import committed_reader
from streams.tracing.record import LogRecord as LogRecord

POLL_MS = 500
FETCH = {"max_partition_fetch_bytes": 8_388_608, "fetch_max_bytes": 33_554_432, "max_poll_records": 10_000}
SILENT_POLLS_MAX = 60
"""After this many empty polls in a row (30 s) the broker is taken to be gone."""


class LogUnavailableError(Exception):
    """Kafka did not answer in time; the message says which topic was being read."""


def topic_names(bootstrap: str) -> set[str]:
    """The topics that exist."""
    with committed_reader(bootstrap, **FETCH) as consumer:
        return set(consumer.topics())


def end_offsets(bootstrap: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the offset behind the last committed record."""
    with committed_reader(bootstrap, **FETCH) as consumer:
        return {(tp.topic, tp.partition): offset for tp, offset in _ends(consumer, topics).items()}


def start_offsets(bootstrap: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the first offset that is kept."""
    with committed_reader(bootstrap, **FETCH) as consumer:
        starts = _seek(consumer, _ends(consumer, topics), None)
        return {(tp.topic, tp.partition): offset for tp, offset in starts.items()}


def read_topics(bootstrap: str, topics: Sequence[str], since_ms: int | None = None) -> Iterator[LogRecord]:
    """Yields every committed record of ``topics`` up to the end at the start of the call, per partition in order.

    ``since_ms`` starts at the first record with that Kafka timestamp or a later one. Raises LogUnavailableError.
    """
    with committed_reader(bootstrap, **FETCH) as consumer:
        ends = _ends(consumer, topics)
        consumer.assign(list(ends))
        starts = _seek(consumer, ends, since_ms)
        open_partitions = {tp for tp, end in ends.items() if starts[tp] < end}
        consumer.assign(list(open_partitions))
        for tp in open_partitions:
            consumer.seek(tp, starts[tp])
        silent = 0
        while open_partitions:
            batches = consumer.poll(timeout_ms=POLL_MS)
            silent = 0 if batches else silent + 1
            if silent > SILENT_POLLS_MAX:
                raise LogUnavailableError(f"Kafka sent nothing for 30 s while reading {', '.join(sorted(topics))}")
            for tp, records in batches.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield LogRecord.of(record)
            done = {tp for tp in open_partitions if consumer.position(tp) >= ends[tp]}
            if done:
                open_partitions -= done
                consumer.pause(*done)


def _ends(consumer: KafkaConsumer, topics: Sequence[str]) -> dict[TopicPartition, int]:
    partitions = [TopicPartition(topic, p) for topic in topics for p in consumer.partitions_for_topic(topic) or ()]
    ends: dict[TopicPartition, int] = consumer.end_offsets(partitions) if partitions else {}
    return ends


def _seek(consumer: KafkaConsumer, ends: dict[TopicPartition, int], since_ms: int | None) -> dict[TopicPartition, int]:
    starts: dict[TopicPartition, int] = consumer.beginning_offsets(list(ends)) if ends else {}
    if since_ms is None or not ends:
        return starts
    found = consumer.offsets_for_times(dict.fromkeys(ends, since_ms))
    return {tp: found[tp].offset if found.get(tp) else end for tp, end in ends.items()}
