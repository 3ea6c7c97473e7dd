"""What a batch emits, put at once into the record batches that are sent to Kafka: nothing is kept twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streams.transport.batch import Batch, Emitter, Output, Record


class Slot:
    """The record batches of one topic and partition, the last of them open."""

    __slots__ = ("append", "builders", "count", "total")

    def __init__(self, builder: Any) -> None:
        self.builders = [builder]
        self.append = builder._builder.append
        self.count = 0
        """Records in the open one."""
        self.total = 0
        """Records in the ones before."""

    def roll(self, builder: Any) -> None:
        """Closes the open record batch, which is full, and opens another."""
        self.close()
        self.total += self.count
        self.builders.append(builder)
        self.append = builder._builder.append
        self.count = 0

    def close(self) -> None:
        self.builders[-1]._relative_offset = self.count
        self.builders[-1].close()


class Outbox:
    """What one batch emitted, by topic and partition."""

    def __init__(
        self,
        new_builder: Callable[[], Any],
        partitions: Mapping[str, int],
        partition_of: Callable[[bytes | None, int], int],
    ) -> None:
        self.slots: dict[tuple[str, int | None], Slot] = {}
        self.late: list[Output] = []
        """Of topics whose number of partitions is not known yet; see ``settle``."""
        self._new_builder = new_builder
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
                slot = self.slots[topic, partition] = Slot(self._new_builder())
        if slot.append(slot.count, timestamp_ms, key, value, headers) is None:
            slot.roll(self._new_builder())
            slot.append(0, timestamp_ms, key, value, headers)
        slot.count += 1

    def emitter(self, topic: str, partition: int) -> Emitter:
        """``add`` for one place: what is looked up for each record there is looked up once."""
        slot: Slot | None = None

        def emit(value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], timestamp_ms: int) -> None:
            nonlocal slot
            if slot is None:
                slot = self.slots.get((topic, partition))
                if slot is None:
                    slot = self.slots[topic, partition] = Slot(self._new_builder())
            if slot.append(slot.count, timestamp_ms, key, value, headers) is None:
                slot.roll(self._new_builder())
                slot.append(0, timestamp_ms, key, value, headers)
            slot.count += 1

        return emit

    def settle(self) -> None:
        """Places what was late; the partitions of all its topics are known by now."""
        late, self.late = self.late, []
        for topic, partition, key, value, headers, timestamp_ms in late:
            self.add(topic, partition, key, value, headers, timestamp_ms)

    def counts(self) -> dict[str, int]:
        """Topic → records."""
        counts: dict[str, int] = {}
        for (topic, _), slot in self.slots.items():
            counts[topic] = counts.get(topic, 0) + slot.total + slot.count
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

    def emitter(self, topic: str, partition: int) -> Emitter:
        return self.outbox.emitter(topic, partition)

    def forget_outputs(self) -> None:
        """Before the batch is tried again."""
        self.outbox = self._new_outbox()
