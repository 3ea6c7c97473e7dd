"""A lane's state on the worker's own disk: a checkpoint, so that a restart reads only what the log has beyond it.

The log stays the truth. A checkpoint is one atomic write of what changed since the last one, with the offsets up to
which it covers the log; only what is committed goes in. Whatever is wrong with a store, it is thrown away and made anew
from the whole log. An older copy is not wrong: the log is read from its offsets on.
"""

from __future__ import annotations

import shutil
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import cast

import msgspec
from rocksdict import MemtableFactory, Options, Rdict, WriteBatch

from koban.ledger.facts import StoredBalance
from koban.ledger.lives import Changes
from koban.ledger.slots import Slot
from koban.ledger.tombstones import BYTES
from streams.transport import Span

FORMAT = 3
"""Of keys and values. A store of another format is made anew."""
_BALANCE, _LIFE, _TOMBSTONES, _COVERAGE = b"b", b"l", b"t", b"~"
"""What keys begin with. The coverage is the last key, so a reading that ends before it was cut short."""
_GENERATION_BYTES = 4
_STANDS = struct.Struct(">qq")
"""What is kept of an account: its balance and its version. All else is in the log."""


class Loss(StrEnum):
    """Why a store can't be used, in order of precedence."""

    IN_USE = "in_use"
    """Another worker of this machine still has it open; it is left alone."""
    DAMAGED = "damaged"
    ABSENT = "absent"
    OTHER_FORMAT = "other_format"
    OTHER_LANE = "other_lane"
    OTHER_TOPIC = "other_topic"
    """The topic was deleted and made anew: offsets mean other records now."""
    OUTSIDE_LOG = "outside_log"
    """The log ends before what the store covers, or begins after it."""
    AHEAD = "ahead"
    """It knows a later version of an account than the log."""
    UNBALANCED = "unbalanced"
    """Its accounts and the log behind it don't sum to zero."""


class StoreLostError(Exception):
    """A store can't be used; `loss` says why."""

    def __init__(self, loss: Loss, detail: str = "") -> None:
        super().__init__(f"{loss}: {detail}" if detail else str(loss))
        self.loss = loss


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says of itself. The offsets are the next ones to be read."""

    format: int
    lane: int
    lanes: int
    topic_ids: dict[str, str]
    offsets: dict[str, int]
    clock_us: int
    """That of `koban.ledger.lives.Store`."""


def rocks_options() -> Options:
    """How RocksDB keeps a store.

    Nothing is read between two checkpoints, so what is written need not be kept in order before it goes to a table:
    2.1 us a payment with RocksDB's usual skip list, 0.7 with a vector that is sorted then.
    """
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    options.set_allow_concurrent_memtable_write(False)
    options.set_memtable_factory(MemtableFactory.vector())
    return options


class LaneStore:
    """The store of one lane in a folder of its own. One process has it open at a time, and RocksDB sees to that."""

    def __init__(self, folder: Path, lane: int, lanes: int) -> None:
        self._folder = folder
        self._lane = lane
        self._lanes = lanes
        self._db: Rdict | None = None
        self._topic_ids: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self, spans: Mapping[str, Span]) -> Coverage:
        """Opens the store and holds it against the log. Raises StoreLostError."""
        self._topic_ids = {topic: span.topic_id for topic, span in spans.items()}
        self._db = self._opened()
        try:
            sealed = self._db.get(_COVERAGE)
        except Exception as error:  # rocksdict raises nothing more special
            raise StoreLostError(Loss.DAMAGED, str(error)) from error
        if sealed is None:
            raise StoreLostError(Loss.ABSENT)
        coverage = _unsealed(sealed)
        if coverage.format != FORMAT:
            raise StoreLostError(Loss.OTHER_FORMAT, f"{coverage.format}")
        if (coverage.lane, coverage.lanes) != (self._lane, self._lanes):
            raise StoreLostError(Loss.OTHER_LANE, f"lane {coverage.lane} of {coverage.lanes}")
        if coverage.topic_ids != self._topic_ids:
            raise StoreLostError(Loss.OTHER_TOPIC)
        for topic, span in spans.items():
            offset = coverage.offsets.get(topic, -1)
            if not span.start <= offset <= span.end:
                raise StoreLostError(Loss.OUTSIDE_LOG, f"{topic}: {offset} is not in {span.start} to {span.end}")
        return coverage

    def start_anew(self) -> None:
        """Throws away what is there. Raises StoreLostError when another worker has it open."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._db = self._opened()

    def _opened(self) -> Rdict:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            return Rdict(str(self._folder), rocks_options())
        except Exception as error:  # rocksdict raises nothing more special
            loss = Loss.IN_USE if "/LOCK" in str(error) else Loss.DAMAGED
            raise StoreLostError(loss, str(error)) from error

    # --- reading

    def balances(self) -> Iterator[StoredBalance]:
        """Every account that was posted to. Raises StoreLostError."""
        for account, stands in self._rows(_BALANCE):
            yield StoredBalance(account.decode(), *_STANDS.unpack(stands))

    def lives(self) -> Iterator[tuple[bytes, bytes]]:
        """Key → what is known of a payment, a transfer or a withdrawal. Raises StoreLostError."""
        return self._rows(_LIFE)

    def tombstones(self) -> Iterator[tuple[int, bytes]]:
        """Generation → tombstones, one behind the other. Raises StoreLostError."""
        for key, stones in self._rows(_TOMBSTONES):
            yield int.from_bytes(key[:_GENERATION_BYTES], "big"), stones

    def _rows(self, kind: bytes) -> Iterator[tuple[bytes, bytes]]:
        assert self._db is not None
        rows = cast("Iterator[tuple[bytes, bytes]]", self._db.items(from_key=kind))  # raw mode has only bytes
        ended = False
        try:
            for key, value in rows:
                if key[:1] != kind:
                    ended = True
                    break
                yield key[1:], value
        except Exception as error:  # rocksdict raises nothing more special
            raise StoreLostError(Loss.DAMAGED, str(error)) from error
        finally:
            del rows  # RocksDB keeps its lock while there is an iterator, and an error's traceback would keep that
        if not ended:
            raise StoreLostError(Loss.DAMAGED, "rows are missing")

    # --- writing

    def fill(self, balances: Iterable[StoredBalance], changes: Changes | None = None) -> None:
        """Takes over what is known while the whole log is read; it counts with the next `write`."""
        self._write(balances, changes, None)

    def write(self, balances: Iterable[Slot], changes: Changes, offsets: Mapping[str, int]) -> None:
        """A checkpoint: all of it is there after a crash, or none. From any thread, while nobody posts to the slots."""
        coverage = Coverage(
            format=FORMAT,
            lane=self._lane,
            lanes=self._lanes,
            topic_ids=self._topic_ids,
            offsets=dict(offsets),
            clock_us=changes.clock_us,
        )
        self._write(balances, changes, _sealed(coverage))

    def _write(self, balances: Iterable[Slot | StoredBalance], changes: Changes | None, coverage: bytes | None) -> None:
        rows = WriteBatch(raw_mode=True)
        put, stands = rows.put, _STANDS.pack
        for balance in balances:
            put(_BALANCE + balance.account.encode(), stands(balance.posted_minor, balance.version))
        if changes is not None:
            _put_changes(rows, changes)
        if coverage is not None:
            rows.put(_COVERAGE, coverage)
        with self._lock:
            assert self._db is not None, "the store is closed"
            self._db.write(rows)

    def close(self) -> None:
        """Lets go of the folder, once a write in work has ended. What RocksDB could not write then shows in `open`."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                with suppress(Exception):  # rocksdict raises nothing more special
                    db.close()


def _put_changes(rows: WriteBatch, changes: Changes) -> None:
    for name, life in zip(changes.keys, changes.lives, strict=True):
        key = _LIFE + name.encode()
        if life is None:
            rows.delete(key)
        else:
            rows.put(key, life)
    for generation, stones in changes.tombstones.items():
        rows.put(_generation(generation) + stones[:BYTES], stones)  # a tombstone is put up once, so the key is new
    if changes.dropped_before is not None:
        rows.delete_range(_generation(0), _generation(changes.dropped_before))


def _generation(number: int) -> bytes:
    return _TOMBSTONES + number.to_bytes(_GENERATION_BYTES, "big")


def _sealed(coverage: Coverage) -> bytes:
    raw = msgspec.json.encode(coverage)
    return zlib.crc32(raw).to_bytes(4, "big") + raw


def _unsealed(sealed: bytes) -> Coverage:
    raw = sealed[4:]
    if zlib.crc32(raw).to_bytes(4, "big") != sealed[:4]:
        raise StoreLostError(Loss.DAMAGED, "what it says of itself has another checksum")
    try:
        return msgspec.json.decode(raw, type=Coverage)
    except msgspec.DecodeError as error:
        raise StoreLostError(Loss.OTHER_FORMAT, str(error)) from error
