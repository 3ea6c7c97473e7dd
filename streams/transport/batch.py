"""A micro-batch: consecutive records of one partition, and what is written because of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from streams.transport.columns import Rows


class Record(Protocol):
    """One record as it lies in Kafka. Topic and partition are the batch's, so a record does not repeat them."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Output(NamedTuple):
    """A record to be written. Without a partition the key decides, as the Java client would."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int | None


class Batch:
    """Consecutive records of one partition, in order of offset, never empty.

    ``next_offset`` is where the partition goes on: past the last record and past any transaction markers behind it.
    """

    __slots__ = ("next_offset", "outputs", "partition", "records", "topic")

    def __init__(self, topic: str, partition: int, records: Sequence[Record], next_offset: int) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self.next_offset = next_offset
        self.outputs: list[Output] = []

    def emit(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> None:
        """Writes a record when the handler has returned: in the batch's transaction, or before its offset commits.

        Records of one topic and partition keep the order in which they were emitted. ``value`` None is a tombstone.
        """
        self.outputs.append(Output(topic, partition, key, value, headers or [], timestamp_ms))

    def emit_rows(self, topic: str, partition: int, rows: Rows) -> None:
        """``emit`` for many records of one place, quicker."""
        for at_ms, key, value, headers in rows.each():
            self.emit(topic, value, key=key, headers=headers, timestamp_ms=at_ms, partition=partition)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<Batch {self.topic}/{self.partition}@{self.records[0].offset} records={len(self.records)}>"
