"""Records by the column: many of one kind are packed at once, by Arrow, instead of one after the other.

A record's bytes are pieces that stand side by side: words that all rows have, and a column's value between them.
Joined by the column, a balance costs 0.8 us where one record at a time costs 2.7: nothing becomes an object of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.transport.record_batch import Slot, varint

Ints = NDArray[numpy.int64]
Part = Any
"""Bytes that all rows have, or a `pa.BinaryArray` with a value a row."""

_VARINTS_KEPT = 16_384
_VARINT_BOUNDS = numpy.array([1 << 7 * size for size in range(1, 10)], numpy.uint64)
_BINARY = pa.binary()
_ROWS_AT_ONCE = 4_096
_AS_IT_STANDS = bytes(set(range(0x20, 0x100)) - set(b'"\\'))
"""What JSON does not escape."""
_encode = msgspec.json.Encoder().encode

_VARINTS = pa.array([varint(number) for number in range(_VARINTS_KEPT)], _BINARY)
"""Those of the usual lengths and offsets."""


def varints(values: Ints) -> Part:
    """Their varints."""
    if (values == values[0]).all():
        return varint(int(values[0]))
    if values.min() >= 0 and values.max() < _VARINTS_KEPT:
        return _VARINTS.take(pa.array(values))
    return pa.array([varint(value) for value in values.tolist()], _BINARY)


def varint_sizes(values: Ints) -> Ints:
    """How many bytes their varints have."""
    zigzag = (values << 1 ^ values >> 63).view(numpy.uint64)
    return numpy.searchsorted(_VARINT_BOUNDS, zigzag, side="right") + 1


def texts(values: Sequence[str | bytes]) -> Part:
    """A column of these."""
    return pa.array(values, _BINARY)


def digits(values: Sequence[int] | Ints) -> Part:
    """A column of whole numbers in decimal digits."""
    column = numpy.asarray(values, numpy.int64)
    if (column == column[0]).all():
        return b"%d" % column[0]
    return pc.cast(pc.cast(pa.array(column), pa.string()), _BINARY)


def json_texts(values: Sequence[str]) -> Part:
    """A column of these as they stand between the quotes of JSON."""
    column = texts(values)
    raw = column.buffers()[2]
    if raw is not None and bytes(raw).translate(None, _AS_IT_STANDS):
        return texts([_encode(value)[1:-1] for value in values])
    return column


class Text:
    """A column of bytes that is put together of parts."""

    __slots__ = ("parts", "sizes")

    def __init__(self, *parts: Part) -> None:
        self.parts: list[Part] = []
        self.sizes: Ints | int = 0
        """Bytes of each row, or of every row."""
        for part in parts:
            self.add(part)

    def add(self, part: Part) -> None:
        """Puts a part behind those that are there."""
        if isinstance(part, bytes):
            self.sizes = self.sizes + len(part)
            if self.parts and isinstance(self.parts[-1], bytes):
                self.parts[-1] += part
            else:
                self.parts.append(part)
        else:
            self.sizes = self.sizes + _sizes_of(part)
            self.parts.append(part)

    def join(self, other: Text) -> None:
        """Puts another text behind it."""
        sizes = self.sizes + other.sizes
        for part in other.parts:
            self.add(part)
        self.sizes = sizes

    def rows(self, count: int) -> list[bytes]:
        """Each row by itself."""
        joined = joined_rows(self.parts)
        return [joined] * count if isinstance(joined, bytes) else joined.to_pylist()


def sized(text: Text) -> Text:
    """A text behind its length."""
    sizes = text.sizes
    found = Text(varint(sizes) if isinstance(sizes, int) else varints(sizes))
    found.join(text)
    return found


def joined_rows(parts: Iterable[Part]) -> Part:
    """The parts of each row in one piece."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return pc.binary_join_element_wise(*parts, b"") if parts else b""


def _sizes_of(part: Part) -> Ints:
    sizes: Ints = pc.binary_length(part).to_numpy().astype(numpy.int64)
    return sizes


class Header(NamedTuple):
    """A header of many records. `present` says which of them have it; None says all."""

    name: str
    value: Text
    present: NDArray[numpy.bool_] | None = None


class Rows:
    """Records of one topic and partition, by column. Times are Kafka timestamps in ms."""

    __slots__ = ("headers", "key", "times_ms", "value")

    def __init__(self, times_ms: Sequence[int] | Ints, key: Text, value: Text, headers: Sequence[Header]) -> None:
        self.times_ms: Ints = numpy.asarray(times_ms, numpy.int64)
        self.key = key
        self.value = value
        self.headers = headers

    def __len__(self) -> int:
        return len(self.times_ms)

    def packed(self) -> Text:
        """What stands in a record behind its offset: key, value, headers."""
        found = sized(self.key)
        found.join(sized(self.value))
        counts: Ints | int = len(self.headers)
        for header in self.headers:
            if header.present is not None:
                counts = counts - ~header.present
        found.add(varint(counts) if isinstance(counts, int) else varints(counts))
        for name, value, present in self.headers:
            encoded = name.encode()
            whole = Text(varint(len(encoded)) + encoded)
            whole.join(sized(value))
            if present is not None and not present.all():
                whole = Text(pc.if_else(pa.array(present), joined_rows(whole.parts), b""))
            found.join(whole)
        return found

    def each(self) -> list[tuple[int, bytes, bytes, list[tuple[str, bytes]]]]:
        """Record by record: time, key, value, headers."""
        count = len(self)
        columns = [
            (name, value.rows(count), [True] * count if present is None else present.tolist())
            for name, value, present in self.headers
        ]
        return [
            (at_ms, key, value, [(name, values[row]) for name, values, present in columns if present[row]])
            for row, (at_ms, key, value) in enumerate(
                zip(self.times_ms.tolist(), self.key.rows(count), self.value.rows(count), strict=True)
            )
        ]


def write(rows: Rows, slot: Slot) -> None:
    """Packs the rows behind what is in a slot: the same bytes as of `Slot.append`, one after the other."""
    packed = rows.packed()
    sizes = numpy.broadcast_to(numpy.asarray(packed.sizes, numpy.int64), len(rows))
    start = 0
    while start < len(rows):
        start += _write_some(packed.parts, sizes[start:], rows.times_ms[start:], start, slot)


def _write_some(parts: list[Part], sizes: Ints, times_ms: Ints, start: int, slot: Slot) -> int:
    """As many rows as the open record batch has room for; opens another one when there is none left."""
    batch = slot.batches[-1]
    sizes, times_ms = sizes[:_ROWS_AT_ONCE], times_ms[:_ROWS_AT_ONCE]
    if batch.at_ms is None:
        batch.turn_to(int(times_ms[0]))
    deltas = times_ms - batch.first_ms
    offsets = numpy.arange(batch.count, batch.count + len(sizes))
    lengths = 1 + varint_sizes(deltas) + varint_sizes(offsets) + sizes
    ends = numpy.cumsum(lengths + varint_sizes(lengths))
    count = int(numpy.searchsorted(ends, batch.bytes_max - len(batch.body)))
    if batch.count == 0:
        count = max(count, 1)
    if count:
        records = Text(varints(lengths[:count]), b"\0", varints(deltas[:count]), varints(offsets[:count]))
        for part in parts:
            records.add(part if isinstance(part, bytes) else part.slice(start, count))
        batch.extend(_bytes_of(records, count), count, int(times_ms[:count].max()))
    if count < len(sizes):
        slot.roll()
    return count


def _bytes_of(text: Text, count: int) -> memoryview:
    """All rows of a text, one behind the other."""
    joined = joined_rows(text.parts)
    if isinstance(joined, bytes):
        return memoryview(joined * count)
    _, ends, raw = joined.buffers()
    return memoryview(raw)[: numpy.frombuffer(ends, numpy.int32)[count]]
