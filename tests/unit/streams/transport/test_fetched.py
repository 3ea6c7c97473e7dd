"""What of a fetch is handed out: committed records from the position on; markers and aborted records never."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.fetched import take, unpack

TP = TopicPartition("t", 0)
COMMIT, ABORT = 1, 0


def plain(base: int, *values: bytes, producer: int = -1, transactional: bool = False) -> bytes:
    """A record batch as a broker keeps it."""
    builder = DefaultRecordBatchBuilder(2, 0, transactional, producer, 0, 0, 1_000_000)
    for number, value in enumerate(values):
        builder.append(number, 1000 + number, b"k", value, [("h", b"1")])
    return at(base, builder.build())


def at(base: int, batch: bytes) -> bytes:
    return struct.pack(">q", base) + bytes(batch[8:])


def marker(base: int, producer: int, kind: int) -> bytes:
    """A control batch: attributes say transactional and control, the key holds version and kind."""
    builder = DefaultRecordBatchBuilder(2, 0, True, producer, 0, 0, 1_000_000)
    builder.append(0, 1000, struct.pack(">hh", 0, kind), struct.pack(">hi", 0, 0), [])
    batch = bytearray(builder.build())
    struct.pack_into(">h", batch, 21, struct.unpack_from(">h", batch, 21)[0] | 0x20)
    return at(base, bytes(batch))


def fetched(
    *batches: bytes, start: int = 0, aborted: list[tuple[int, int]] | None = None, check_crcs: bool = False
) -> Any:
    return PartitionRecords(
        TP, MemoryRecords(b"".join(batches)), aborted, start, None, None, check_crcs, READ_COMMITTED
    )


def values(records: Any) -> list[bytes]:
    return [record.value for record in unpack(records)]


def test_a_record_keeps_what_it_has_in_kafka() -> None:
    record = unpack(fetched(plain(7, b"v")))[0]
    assert (record.offset, record.timestamp, record.key, record.value) == (7, 1000, b"k", b"v")
    assert list(record.headers) == [("h", b"1")]


def test_records_before_the_position_are_left_out() -> None:
    """A fetch brings the whole record batch that holds the position."""
    records = fetched(plain(10, b"a", b"b", b"c"), start=12)
    assert values(records) == [b"c"]
    assert records.next_fetch_offset == 13


def test_markers_are_never_handed_out_but_the_position_moves_over_them() -> None:
    records = fetched(plain(0, b"a", producer=5, transactional=True), marker(1, 5, COMMIT))
    assert values(records) == [b"a"]
    assert records.next_fetch_offset == 2


def test_aborted_records_are_left_out_and_those_of_others_between_them_are_not() -> None:
    records = fetched(
        plain(0, b"lost", producer=5, transactional=True),
        plain(1, b"kept", producer=6, transactional=True),
        plain(2, b"bare"),
        marker(3, 5, ABORT),
        marker(4, 6, COMMIT),
        plain(5, b"next", producer=5, transactional=True),
        marker(6, 5, COMMIT),
        aborted=[(5, 0)],
    )
    assert values(records) == [b"kept", b"bare", b"next"]
    assert records.next_fetch_offset == 7


def test_a_fetch_of_markers_alone_moves_the_position() -> None:
    records = fetched(marker(3, 5, ABORT), start=3)
    assert values(records) == []
    assert records.next_fetch_offset == 4


def test_gaps_left_by_the_cleaner_are_stepped_over() -> None:
    records = fetched(plain(3, b"a"), plain(90, b"b"), start=1)
    assert [record.offset for record in unpack(records)] == [3, 90]


def test_a_damaged_record_batch_is_an_error() -> None:
    damaged = bytearray(plain(0, b"value"))
    damaged[-3] ^= 1
    with pytest.raises(CorruptRecordException):
        unpack(fetched(bytes(damaged), check_crcs=True))


@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=8), st.integers(0, 10), st.booleans()
)
def test_it_hands_out_what_aiokafka_would(rounds: list[tuple[int, bool, bool]], start: int, first_whole: bool) -> None:
    """Against aiokafka's own, slower reading, on transactions that end either way, with gaps."""
    batches, aborted, offset = [], [], 0
    for number, (count, abort, gap) in enumerate(rounds):
        producer = number % 3
        batches.append(plain(offset, *[b"%d" % number] * count, producer=producer, transactional=True))
        if abort:
            aborted.append((producer, offset))
        batches.append(marker(offset + count, producer, ABORT if abort else COMMIT))
        offset += count + 1 + 2 * gap
    start = 0 if first_whole else start
    ours, theirs = (fetched(*batches, start=start, aborted=list(aborted)) for _ in range(2))
    assert [(r.offset, r.value) for r in unpack(ours)] == [(r.offset, r.value) for r in theirs]
    assert ours.next_fetch_offset == theirs.next_fetch_offset


class State:
    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


class Assignment:
    active = True

    def __init__(self, position: int) -> None:
        self.state = State(position)

    def state_value(self, _: TopicPartition) -> State:
        return self.state


class Fetcher:
    """The parts of aiokafka's fetcher that are touched."""

    def __init__(self, **records: Any) -> None:
        self._records = {TopicPartition(topic, 0): result for topic, result in records.items()}
        self._wait_consume_future = None
        self._subscriptions = self
        self.assigned = True

    def _notify(self, _: object) -> None:
        self.notified = True

    def is_assigned(self, _: TopicPartition) -> bool:
        return self.assigned


def test_what_was_taken_is_fetched_on_from() -> None:
    assignment = Assignment(0)
    result = FetchResult(TP, assignment=assignment, partition_records=fetched(plain(0, b"a", b"b")), backoff=0)
    fetcher = Fetcher(t=result)
    (chunk,) = take(fetcher)
    assert (chunk.topic, chunk.partition, len(chunk.records), chunk.next_offset) == ("t", 0, 2, 2)
    assert assignment.state.position == 2
    assert fetcher._records == {}


def test_what_was_fetched_before_a_seek_is_thrown_away() -> None:
    result = FetchResult(TP, assignment=Assignment(5), partition_records=fetched(plain(0, b"a")), backoff=0)
    assert list(take(Fetcher(t=result))) == []


def test_partitions_that_are_not_wanted_keep_theirs_even_an_error() -> None:
    fetcher = Fetcher(t=FetchError(error=OffsetOutOfRangeError(), backoff=0))
    assert list(take(fetcher, set())) == []
    assert fetcher._records
    with pytest.raises(OffsetOutOfRangeError):
        list(take(fetcher, {TP}))
    fetcher = Fetcher(t=FetchError(error=OffsetOutOfRangeError(), backoff=0))
    fetcher.assigned = False
    assert list(take(fetcher, set())) == []
    assert not fetcher._records, "nobody will ask for a partition that is gone"
