"""Kafka's record batches (message format 2), packed in place.

They stand where aiokafka's ``BatchBuilder`` would. Its ``append`` is compiled, but wants each record's headers as a
list of pairs: with the eight headers of a derived record 0.85 us a record, list included, against 0.35 us where the
headers that a batch's records have in common are packed once. https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

from aiokafka import codec
from crc32c import crc32c

Headers = Sequence[tuple[str, bytes]]

# Base offset, length, leader epoch, magic, checksum | attributes, last offset delta, first and latest timestamp,
# producer's id and epoch, base sequence, records. The checksum is over what is behind it.
_BEFORE_CHECKSUM, _BEHIND_CHECKSUM = struct.Struct(">qiibI"), struct.Struct(">hiqqqhii")
HEADER_BYTES = _BEFORE_CHECKSUM.size + _BEHIND_CHECKSUM.size
_BEFORE_LENGTH_BYTES = 12
_MAGIC, _NO_EPOCH, _TRANSACTIONAL = 2, -1, 0x10
_CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, codec.gzip_encode),
    "snappy": (2, codec.snappy_encode),
    "lz4": (3, codec.lz4_encode),
    "zstd": (4, codec.zstd_encode),
}
_join = b"".join


def varint(number: int) -> bytes:
    """A whole number, zigzag and 7 bits a byte."""
    left = number << 1 if number >= 0 else (-number << 1) - 1
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


_NOTHING = varint(-1)
"""The length of a key or value that is null."""


def sized(value: bytes | None) -> bytes:
    """Bytes behind their length; null has the length -1."""
    return _NOTHING if value is None else varint(len(value)) + value


def packed(headers: Headers) -> bytes:
    """Headers as they stand in a record, without their number in front."""
    return _join(sized(name.encode()) + sized(value) for name, value in headers)


class RecordBatch:
    """Records of one partition, packed one behind the other until it is sent.

    They stay below ``bytes_max`` together; a single larger record goes alone.
    """

    __slots__ = (
        "_attributes", "_built", "_compression", "_max_ms", "_producer", "_turned_at", "at_ms", "body", "bytes_max",
        "count", "first_ms", "start",
    )  # fmt: skip

    def __init__(self, bytes_max: int, compression: str | None = None, *, transactional: bool = False) -> None:
        self.body = bytearray(HEADER_BYTES)
        self.count = 0
        self.at_ms: int | None = None
        """The timestamp that `start` is of."""
        self.start = b""
        """How a record at that time starts: its attributes, and the time since the batch's first."""
        self.bytes_max = bytes_max
        self.first_ms = self._max_ms = self._turned_at = 0
        self._compression = compression
        self._attributes = _TRANSACTIONAL if transactional else 0
        self._producer = (-1, -1, 0)
        self._built: bytearray | None = None

    def turn_to(self, at_ms: int) -> None:
        """Makes `start` that of another timestamp."""
        if self.at_ms is None:
            self.first_ms = self._max_ms = at_ms
        self._max_ms = self._latest_ms()
        self.at_ms, self._turned_at = at_ms, self.count
        self.start = b"\0" + varint(at_ms - self.first_ms)

    def _latest_ms(self) -> int:
        """The latest timestamp of a record; the one that it was turned to last counts once a record has it."""
        return self._max_ms if self.count == self._turned_at else max(self._max_ms, self.at_ms or 0)

    def add(self, record: bytes) -> bool:
        """Adds a record that begins as the batch says: `start`, the varint of `count`. False when there is no room."""
        body, size = self.body, varint(len(record))
        if self.count and len(body) + len(size) + len(record) >= self.bytes_max:
            return False
        body += size
        body += record
        self.count += 1
        return True

    def extend(self, records: bytes | memoryview, count: int, latest_ms: int) -> None:
        """Adds records that are packed already, each behind its size, and the latest of their timestamps."""
        self.turn_to(latest_ms)
        self.body += records
        self.count += count

    # --- what aiokafka asks of its own

    def record_count(self) -> int:
        """How many records there are."""
        return self.count

    def size(self) -> int:
        """Bytes so far."""
        return len(self.body)

    def close(self) -> None:
        """Nothing to seal."""

    def closed(self) -> bool:
        """Whether it can be sent: always."""
        return True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = producer_id, producer_epoch, base_sequence

    def _build(self) -> bytearray:
        """The bytes to be sent; the same at every try."""
        if self._built is None:
            self._built = self._sealed()
        return self._built

    def _sealed(self) -> bytearray:
        body, attributes = self.body, self._attributes
        if self._compression is not None:
            number, encode = _CODECS[self._compression]
            shorter = encode(bytes(memoryview(body)[HEADER_BYTES:]))
            if len(shorter) < len(body) - HEADER_BYTES:
                body[HEADER_BYTES:] = shorter
                attributes |= number
        _BEHIND_CHECKSUM.pack_into(
            body, _BEFORE_CHECKSUM.size, attributes, self.count - 1, self.first_ms, self._latest_ms(), *self._producer,
            self.count,
        )  # fmt: skip
        checksum = crc32c(memoryview(body)[_BEFORE_CHECKSUM.size :])
        _BEFORE_CHECKSUM.pack_into(body, 0, 0, len(body) - _BEFORE_LENGTH_BYTES, _NO_EPOCH, _MAGIC, checksum)
        return body


class Slot:
    """The record batches of one topic and partition; the last of them is open."""

    __slots__ = ("_new_batch", "batches")

    def __init__(self, new_batch: Callable[[], RecordBatch]) -> None:
        self._new_batch = new_batch
        self.batches = [new_batch()]

    @property
    def count(self) -> int:
        """Records in all of them."""
        return sum(batch.count for batch in self.batches)

    def roll(self) -> RecordBatch:
        """Opens another record batch, since the last one is full."""
        self.batches.append(self._new_batch())
        return self.batches[-1]

    def append(self, value: bytes | None, key: bytes | None, headers: Headers, timestamp_ms: int | None) -> None:
        """Packs a record; without a timestamp it is of now."""
        at_ms = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        rest = _join((sized(key), sized(value), varint(len(headers)), packed(headers)))
        batch = self.batches[-1]
        while True:
            if batch.at_ms != at_ms:
                batch.turn_to(at_ms)
            record = _join((batch.start, varint(batch.count), rest))
            if batch.add(record):
                return
            batch = self.roll()
