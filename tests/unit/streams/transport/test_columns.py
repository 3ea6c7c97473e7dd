"""Records that are packed by the column are, byte for byte, those that are appended one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.columns import (
    Header,
    Rows,
    Text,
    digits,
    in_json,
    merged,
    texts,
    varint_sizes,
    varints,
    write,
)
from streams.transport.record_batch import RecordBatch, Slot, varint

AT_MS = 1_700_000_000_000
VALUES = st.binary(max_size=200) | st.integers(16_000, 20_000).map(bytes)
KEYS = st.binary(max_size=40)
TIMES = st.sampled_from([AT_MS, AT_MS, AT_MS + 5, AT_MS - 86_400_000, AT_MS + 10**9])
IDS = st.binary(max_size=30)
RECORDS = st.lists(st.tuples(TIMES, KEYS, VALUES, IDS, st.none() | IDS), min_size=1, max_size=30)
INTS = st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 20_000), min_size=1)


def rows_of(records: list[tuple[Any, ...]]) -> Rows:
    times, keys, values, ids, optional = zip(*records, strict=True)
    present = numpy.array([it is not None for it in optional])
    headers = [
        Header("source", Text(b"ledger")),
        Header("id", Text(texts(ids), b":", texts(ids))),
        Header("maybe", Text(texts([it or b"" for it in optional])), present),
    ]
    return Rows(times, Text(texts(keys)), Text(b"[", texts(values), b"]"), headers)


def append(slot: Slot, records: list[tuple[Any, ...]]) -> None:
    for at_ms, key, value, own, optional in records:
        headers = [("source", b"ledger"), ("id", own + b":" + own)]
        slot.append(b"[" + value + b"]", key, headers if optional is None else [*headers, ("maybe", optional)], at_ms)


def new_slot(bytes_max: int) -> Slot:
    return Slot(lambda: RecordBatch(bytes_max))


def sealed(slot: Slot) -> list[bytes]:
    return [bytes(batch._build()) for batch in slot.batches if batch.count]


@given(RECORDS, RECORDS, RECORDS, st.sampled_from([500, 30_000, 900_000]))
def test_rows_among_single_records(
    before: list[tuple[Any, ...]], rows: list[tuple[Any, ...]], behind: list[tuple[Any, ...]], bytes_max: int
) -> None:
    """Over as many record batches as they fill, behind others and in front of others."""
    by_column, one_by_one = new_slot(bytes_max), new_slot(bytes_max)
    append(by_column, before)
    write(rows_of(rows), by_column)
    write(rows_of(rows), by_column)
    append(by_column, behind)
    append(one_by_one, [*before, *rows, *rows, *behind])
    assert sealed(by_column) == sealed(one_by_one)


def test_more_rows_than_are_packed_at_once() -> None:
    """Ten thousand of one kind, all in one record batch."""
    records = [(AT_MS + number // 7, b"k%d" % number, b"v" * (number % 50), b"i", b"o") for number in range(10_000)]
    by_column, one_by_one = new_slot(2_000_000), new_slot(2_000_000)
    write(rows_of(records), by_column)
    append(one_by_one, records)
    assert sealed(by_column) == sealed(one_by_one)
    assert by_column.batches[0].count == 10_000


@given(RECORDS)
def test_rows_one_by_one(records: list[tuple[Any, ...]]) -> None:
    """What a batch that only collects its outputs makes of them."""
    expected = [
        (at_ms, key, b"[" + value + b"]", own + b":" + own, optional) for at_ms, key, value, own, optional in records
    ]
    found = [
        (at_ms, key, value, dict(headers)["id"], dict(headers).get("maybe"))
        for at_ms, key, value, headers in rows_of(records).each()
    ]
    assert found == expected


@given(INTS)
def test_varints_of_a_column(numbers: list[int]) -> None:
    """Of any size, all alike or not."""
    column, expected = numpy.array(numbers), [varint(number) for number in numbers]
    found = varints(column)
    assert ([found] * len(numbers) if isinstance(found, bytes) else found.to_pylist()) == expected
    assert varint_sizes(column).tolist() == [len(it) for it in expected]


@given(INTS)
def test_digits_of_a_column(numbers: list[int]) -> None:
    """Decimal, with a sign where there is one."""
    assert Text(digits(numbers)).rows(len(numbers)) == [b"%d" % number for number in numbers]


@given(st.lists(st.tuples(st.booleans(), IDS), min_size=1).filter(lambda rows: any(first for first, _ in rows)))
def test_two_texts_in_one_column(rows: list[tuple[bool, bytes]]) -> None:
    """Each row where it was."""
    first = [b"<%b>" % value for is_first, value in rows if is_first]
    others = [b"<%b>" % value for is_first, value in rows if not is_first]
    others_at = [row for row, (is_first, _) in enumerate(rows) if not is_first]
    some = Text(b"<", texts([value[1:-1] for value in first]), b">")
    found = merged(some, others, others_at)
    assert found.values.to_pylist() == [b"<%b>" % value for _, value in rows]
    assert found.sizes.tolist() == [len(value) + 2 for _, value in rows]


@pytest.mark.parametrize("odd", ["é", "\n", "\0", '"', "\\", "\x7f", "日本"])
def test_texts_in_json(odd: str) -> None:
    """Escaped where JSON wants it, whatever stands beside them."""
    found = in_json(texts(["plain", odd])).values.to_pylist()
    assert found == [msgspec.json.encode(it)[1:-1] for it in ("plain", odd)]


def test_a_header_that_no_row_has() -> None:
    """Is not there, and not counted."""
    absent = Header("maybe", Text(texts([b"", b""])), numpy.array([False, False]))
    slot, plain = new_slot(500), new_slot(500)
    write(Rows([1, 1], Text(b"k"), Text(texts([b"a", b"b"])), [absent]), slot)
    for value in (b"a", b"b"):
        plain.append(value, b"k", [], 1)
    assert sealed(slot) == sealed(plain)


@pytest.mark.parametrize("count", [1, 2])
def test_rows_that_are_all_alike(count: int) -> None:
    """Nothing in them differs but where they stand."""
    slot, plain = new_slot(500), new_slot(500)
    write(Rows([1] * count, Text(b"k"), Text(b"v"), [Header("h", Text(b"1"))]), slot)
    for _ in range(count):
        plain.append(b"v", b"k", [("h", b"1")], 1)
    assert sealed(slot) == sealed(plain)
