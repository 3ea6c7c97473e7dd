"""What a batch emits becomes record batches: in order, by topic and partition, none too large."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from schemas.partitioning import lane_of
from streams.transport.outbox import Outbox, WritingBatch
from streams.transport.record_batch import RecordBatch, Slot
from streams.transport.writers import partition_of

BYTES_MAX = 1000


def outbox(**partitions: int) -> Outbox:
    return Outbox(lambda: RecordBatch(BYTES_MAX), partitions, partition_of)


def records(slot: Slot) -> list[list[Any]]:
    """Of each record batch, as a reader finds them."""
    found = []
    for batch in slot.batches:
        memory = MemoryRecords(bytes(batch._build()))
        found.append(list(memory.next_batch()))
        assert batch.record_count() == len(found[-1]), "the producer counts sequence numbers by it"
    return found


def test_a_batch_emits_with_key_headers_time_and_partition() -> None:
    batch = WritingBatch("in", 1, [], 0, lambda: outbox(out=4))
    batch.emit("out", b"v", key=b"k", headers=[("h", b"1")], timestamp_ms=5, partition=2)
    ((record,),) = records(batch.outbox.slots["out", 2])
    assert (record.key, record.value, record.timestamp, list(record.headers)) == (b"k", b"v", 5, [("h", b"1")])


def test_without_a_partition_the_key_decides_as_everywhere_else() -> None:
    box = outbox(out=4)
    box.add("out", None, b"w-000001", b"v", [], 5)
    assert list(box.slots) == [("out", lane_of("w-000001", 4))]


def test_without_a_partition_and_a_key_it_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs its partition named"):
        outbox(out=4).add("out", None, None, b"v", [], 5)


def test_records_of_a_partition_keep_their_order_over_several_record_batches() -> None:
    box = outbox(out=1)
    for number in range(100):
        box.add("out", 0, None, b"%03d" % number * 10, [], 5)
    found = records(box.slots["out", 0])
    assert len(found) > 2
    assert [record.value[:3] for batch in found for record in batch] == [b"%03d" % number for number in range(100)]
    assert [record.offset for record in found[1]] == list(range(len(found[1])))
    assert box.counts() == {"out": 100}


def test_a_record_larger_than_a_record_batch_goes_alone() -> None:
    box = outbox(out=1)
    for value in (b"a", b"b" * 5000, b"c"):
        box.add("out", 0, None, value, [], 5)
    assert [[len(record.value) for record in batch] for batch in records(box.slots["out", 0])] == [[1], [5000], [1]]


def test_records_of_a_topic_not_yet_known_wait_for_it_in_their_order() -> None:
    partitions: dict[str, int] = {}
    box = Outbox(lambda: RecordBatch(BYTES_MAX), partitions, partition_of)
    box.add("out", 0, b"k", b"1", [], 5)
    box.add("out", None, b"k", b"2", [], 5)
    assert not box.slots
    partitions["out"] = 1
    box.settle()
    assert [record.value for batch in records(box.slots["out", 0]) for record in batch] == [b"1", b"2"]
    assert not box.late


def test_a_batch_that_is_tried_again_has_emitted_nothing() -> None:
    batch = WritingBatch("in", 1, [], 0, lambda: outbox(out=4))
    batch.emit("out", b"v", partition=0)
    batch.forget_outputs()
    assert batch.outbox.counts() == {}
