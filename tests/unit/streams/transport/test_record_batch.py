"""Record batches are, byte for byte, what aiokafka's own builder makes of the same records."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.record_batch import RecordBatch, Slot, varint

AT_MS = 1_700_000_000_000
CODECS = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

KEYS = st.none() | st.binary(max_size=40)
VALUES = st.binary(max_size=200) | st.integers(16_000, 20_000).map(bytes)
TIMES = st.sampled_from([AT_MS, AT_MS, AT_MS + 5, AT_MS - 86_400_000, AT_MS + 10**9])
IDS = st.binary(max_size=30)


def theirs(records: list[tuple[Any, ...]], bytes_max: int, codec: str | None, *, transactional: bool) -> list[bytes]:
    """aiokafka's record batches of (value, key, headers, time)."""
    made: list[Any] = []
    for value, key, headers, at_ms in records:
        if not made or made[-1].append(timestamp=at_ms, key=key, value=value, headers=headers) is None:
            made.append(BatchBuilder(bytes_max, CODECS[codec], is_transactional=transactional))
            made[-1].append(timestamp=at_ms, key=key, value=value, headers=headers)
    return [sealed(batch) for batch in made]


def sealed(batch: Any) -> bytes:
    batch._set_producer_state(7, 2, 11)
    return bytes(batch._build())


RECORDS = st.lists(
    st.tuples(VALUES | st.none(), KEYS, st.lists(st.tuples(st.text(max_size=9), IDS), max_size=3), TIMES),
    min_size=1,
    max_size=20,
)


def slot_of(records: list[tuple[Any, ...]], bytes_max: int, codec: str | None = None, **options: bool) -> Slot:
    slot = Slot(lambda: RecordBatch(bytes_max, codec, **options))
    for record in records:
        slot.append(*record)
    return slot


@given(RECORDS, st.sampled_from([500, 30_000]), st.booleans())
def test_appended_records(records: list[tuple[Any, ...]], bytes_max: int, transactional: bool) -> None:
    """Of any length, in several batches."""
    slot = slot_of(records, bytes_max, transactional=transactional)
    expected = theirs(records, bytes_max, None, transactional=transactional)
    assert [sealed(batch) for batch in slot.batches] == expected


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec])
@given(RECORDS)
def test_compressed_records(codec: str, records: list[tuple[Any, ...]]) -> None:
    """A reader finds the same; aiokafka also compresses what gets longer by it."""
    (ours,), (expected,) = (
        slot_of(records, 900_000, codec).batches,
        theirs(records, 900_000, codec, transactional=False),
    )
    assert read(sealed(ours)) == read(expected)
    assert len(sealed(ours)) <= len(expected)


def read(raw: bytes) -> list[tuple[Any, ...]]:
    batch = MemoryRecords(raw).next_batch()
    assert batch.validate_crc()
    return [(it.offset, it.timestamp, it.key, it.value, list(it.headers)) for it in batch]


@pytest.mark.parametrize(("number", "bytes_"), [(0, b"\0"), (-1, b"\1"), (1, b"\2"), (63, b"\x7e"), (64, b"\x80\1")])
def test_varints(number: int, bytes_: bytes) -> None:
    assert varint(number) == bytes_


def test_a_batch_is_built_once() -> None:
    """A record batch that is sent again is the same, whatever the producer's state by then."""
    slot = Slot(lambda: RecordBatch(500))
    slot.append(b"v", None, [], None)
    first = bytes(slot.batches[0]._build())
    assert bytes(slot.batches[0]._build()) == first
    assert slot.batches[0].size() == len(first)
