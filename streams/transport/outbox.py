"""What a batch emits, put at once into the record batches that are sent to Kafka: nothing is kept twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from streams.transport.batch import Batch, Output, Record
from streams.transport.record_batch import RecordBatch, Slot

if TYPE_CHECKING:
    from streams.transport.columns import Rows


class Outbox:
    """What one batch emitted, by topic and partition."""

    def __init__(
        self,
        new_batch: Callable[[], RecordBatch],
        partitions: Mapping[str, int],
        partition_of: Callable[[bytes | None, int], int],
    ) -> None:
        self.slots: dict[tuple[str, int | None], Slot] = {}
        self.late: list[Output] = []
        """Of topics whose number of partitions is not known yet; see ``settle``."""
        self._new_batch = new_batch
        self._partitions = partitions
        self._partition_of = partition_of

    def add(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        timestamp_ms: int | None,
    ) -> None:
        slot = self.slots.get((topic, partition))
        if slot is None:
            if topic not in self._partitions:
                self.late.append(Output(topic, partition, key, value, headers, timestamp_ms))
                return
            if partition is None:
                partition = self._partition_of(key, self._partitions[topic])
            slot = self.slots.get((topic, partition))
            if slot is None:
                slot = self.slots[topic, partition] = Slot(self._new_batch)
        slot.append(value, key, headers, timestamp_ms)

    def add_rows(self, topic: str, partition: int, rows: Rows) -> None:
        """``add`` for many records of one place."""
        slot = self.slots.get((topic, partition))
        if slot is None:
            slot = self.slots[topic, partition] = Slot(self._new_batch)
        rows.write(slot)

    def settle(self) -> None:
        """Places what was late; the partitions of all its topics are known by now."""
        late, self.late = self.late, []
        for topic, partition, key, value, headers, timestamp_ms in late:
            self.add(topic, partition, key, value, headers, timestamp_ms)

    def counts(self) -> dict[str, int]:
        """Topic → records."""
        counts: dict[str, int] = {}
        for (topic, _), slot in self.slots.items():
            counts[topic] = counts.get(topic, 0) + slot.count
        return counts


class WritingBatch(Batch):
    """A batch whose outputs go to a writer."""

    __slots__ = ("_new_outbox", "outbox")

    def __init__(
        self,
        topic: str,
        partition: int,
        records: Sequence[Record],
        next_offset: int,
        new_outbox: Callable[[], Outbox],
    ) -> None:
        super().__init__(topic, partition, records, next_offset)
        self._new_outbox = new_outbox
        self.outbox = new_outbox()

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
        self.outbox.add(topic, partition, key, value, headers or [], timestamp_ms)

    def emit_rows(self, topic: str, partition: int, rows: Rows) -> None:
        self.outbox.add_rows(topic, partition, rows)

    def forget_outputs(self) -> None:
        """Before the batch is tried again."""
        self.outbox = self._new_outbox()
