"""Which events a lane has seen lately: event id → hash of its body, for the last so many events, in few bytes each.

A Python dict would take some 250 bytes an event. Here an event takes 24 bytes in two rings (the hash of its id, the
hash of its body) and about 17 in two open-addressing indexes over them. An index is never deleted from: it serves one
window of insertions, then becomes the old one, and the one before it is dropped. An entry whose place in the rings
was taken by a newer event no longer matches, which makes eviction exact and free.

Ids are told apart by Python's 64-bit keyed string hash. Two ids that share it (1 in 10¹³ events with 2 million
remembered) give a conflict, which is a dead letter that can be replayed, and never a silent duplicate: the 128-bit
body hash covers the id.
"""

from __future__ import annotations

from array import array
from enum import Enum

HASH_BYTES = 16
_SLOTS_MIN = 1 << 12


class Standing(Enum):
    """What the window says of an event: unknown, sent again unchanged, or its id used for something else."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2


NEW, DUPLICATE, CONFLICT = Standing


class Seen:
    """The last ``window`` events that were NEW, in the order of their first arrival."""

    __slots__ = ("_bodies", "_head", "_ids", "_old", "_slots_max", "_window", "_young", "_young_count", "_young_limit")

    def __init__(self, window: int) -> None:
        assert window > 0
        self._window = window
        self._ids: array[int] = array("q")
        self._bodies = bytearray()
        self._head = 0
        """Ring position that the next event takes."""
        self._slots_max = _slots_for(window)
        self._old = _empty(_SLOTS_MIN)
        self._young = _empty(min(_SLOTS_MIN, self._slots_max))
        self._young_count = 0
        self._young_limit = len(self._young) // 2

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the rings and indexes."""
        return sum(part.itemsize * len(part) for part in (self._ids, self._old, self._young)) + len(self._bodies)

    def add(self, event_id: str, body_hash: bytes) -> Standing:
        """Judges an event and remembers it if it is NEW. ``body_hash`` is 16 bytes."""
        fingerprint = hash(event_id)
        ids = self._ids
        young = self._young
        mask = len(young) - 1
        slot = fingerprint & mask
        while (position := young[slot]) >= 0:
            if ids[position] == fingerprint:
                return self._compare(position, body_hash)
            slot = (slot + 1) & mask
        old = self._old
        mask = len(old) - 1
        old_slot = fingerprint & mask
        while (position := old[old_slot]) >= 0:
            if ids[position] == fingerprint:
                return self._compare(position, body_hash)
            old_slot = (old_slot + 1) & mask
        position = self._head
        if position == len(ids):
            ids.append(fingerprint)
            self._bodies += body_hash
        else:
            ids[position] = fingerprint
            self._bodies[position * HASH_BYTES : (position + 1) * HASH_BYTES] = body_hash
        young[slot] = position
        self._head = position + 1 if position + 1 < self._window else 0
        self._young_count += 1
        if self._young_count >= self._young_limit:
            self._make_room()
        return NEW

    def _compare(self, position: int, body_hash: bytes) -> Standing:
        same = self._bodies[position * HASH_BYTES : (position + 1) * HASH_BYTES] == body_hash
        return DUPLICATE if same else CONFLICT

    def _make_room(self) -> None:
        """Grows the young index while it may; once it has served a whole window, it becomes the old one."""
        if self._young_count >= self._window:
            self._old, self._young = self._young, _empty(self._slots_max)
            self._young_count = 0
        elif len(self._young) < self._slots_max:
            self._young = self._grown(len(self._young) * 2)
        self._young_limit = self._window if len(self._young) == self._slots_max else len(self._young) // 2

    def _grown(self, slots: int) -> array[int]:
        """The young index over more slots. While it grows no window was ever full, so positions count from zero."""
        grown = _empty(slots)
        mask = slots - 1
        for position, fingerprint in enumerate(self._ids):
            slot = fingerprint & mask
            while grown[slot] >= 0:
                slot = (slot + 1) & mask
            grown[slot] = position
        return grown


def _slots_for(window: int) -> int:
    """The smallest power of two that a window fills to at most three fifths."""
    slots = 8
    while slots * 3 < window * 5:
        slots *= 2
    return slots


def _empty(slots: int) -> array[int]:
    return array("i", b"\xff" * 4) * slots
