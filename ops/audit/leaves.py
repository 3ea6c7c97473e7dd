"""The leaves of one side of a lane: how they are hashed, and how those found lie beside those sealed."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ops.kafka_log import LogRecord

LEAF = 48
"""Bytes of a leaf: 16 of the key's SHA-256, 32 of the value's."""


def digest(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def leaf_of(record: LogRecord) -> bytes:
    """Sixteen bytes of the key's hash, and the value's hash; zeros for what is not there."""
    name = bytes(16) if record.key is None else digest(record.key)[:16]
    return name + (bytes(32) if record.value is None else digest(record.value))


def merkle_root(leaves: bytes) -> str:
    """The root over packed leaves, level by level: pairs are hashed, an odd last one moves up as it is."""
    level = [digest(b"\x00", leaves[at : at + LEAF]) for at in range(0, len(leaves), LEAF)]
    if not level:
        return digest().hex()
    while len(level) > 1:
        pairs = [digest(b"\x01", level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0].hex()


class Records:
    """One side of a lane: a leaf and an offset a record."""

    def __init__(self) -> None:
        self.leaves = bytearray()
        self.offsets = array("q")

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, offset: int, leaf: bytes) -> None:
        self.offsets.append(offset)
        self.leaves += leaf

    def leaf(self, at: int) -> bytes:
        return bytes(self.leaves[at * LEAF : (at + 1) * LEAF])


@dataclass
class Aligned:
    """Which records are those that were sealed."""

    numbers: list[int]
    """For each record that is there, its number among the sealed ones; where it has none, that of the one before."""
    altered: list[tuple[int, int]] = field(default_factory=list)
    """(number there, number sealed)."""
    missing: list[int] = field(default_factory=list)
    """Numbers sealed."""
    superseded: set[int] = field(default_factory=set)
    """Of the missing ones those of which a later record of the same key is there."""
    moved: list[int] = field(default_factory=list)
    """Numbers there."""
    extra: list[int] = field(default_factory=list)
    """Numbers there. What follows the last sealed record is not extra: nobody has sealed it yet."""


def align(stored: Records, found: Records) -> Aligned:
    """Finds each stored leaf among those there. No two records are the same, since each has an id or a version."""
    count = min(len(stored), len(found))
    if stored.leaves[: count * LEAF] == found.leaves[: count * LEAF] and count == len(stored):
        return Aligned(list(range(len(found))))
    numbers_of = {stored.leaf(number): number for number in range(len(stored))}
    matched: list[int | None] = [numbers_of.pop(found.leaf(at), None) for at in range(len(found))]
    missing = sorted(numbers_of.values())
    last = max((at for at, number in enumerate(matched) if number is not None), default=-1)
    aligned = Aligned(_carried(matched))
    aligned.moved = _moved(matched)
    gone = set(missing)
    beyond = len(stored)
    for at in range(len(found)):
        if matched[at] is not None:
            continue
        altered = _counterpart(stored, found.leaf(at), aligned.numbers[at] + 1, gone)
        if altered is not None:
            gone.discard(altered)
            aligned.altered.append((at, altered))
            aligned.numbers[at] = altered
        elif at < last:
            aligned.extra.append(at)
        else:
            aligned.numbers[at] = beyond
            beyond += 1
    aligned.missing = [number for number in missing if number in gone]
    newest = {found.leaf(at)[:16]: aligned.numbers[at] for at in range(len(found))}
    aligned.superseded = {number for number in gone if newest.get(stored.leaf(number)[:16], -1) > number}
    return aligned


def _carried(matched: Sequence[int | None]) -> list[int]:
    numbers, last = [], -1
    for number in matched:
        last = last if number is None else number
        numbers.append(last)
    return numbers


def _counterpart(stored: Records, leaf: bytes, first: int, gone: set[int]) -> int | None:
    """The missing record of the same key that lay where this one lies now."""
    number = first
    while number in gone:
        if stored.leaf(number)[:16] == leaf[:16]:
            return number
        number += 1
    return None


def _moved(matched: Sequence[int | None]) -> list[int]:
    """Records out of their order: those that changed places, or, if that is shorter, one that was taken elsewhere."""
    there = [at for at, number in enumerate(matched) if number is not None]
    in_order = sorted(number for number in matched if number is not None)
    misplaced = [at for at, number in zip(there, in_order, strict=True) if matched[at] != number]
    if not misplaced:
        return []
    taken = _out_of_order(matched)
    return misplaced if len(misplaced) <= len(taken) + 1 else taken


def _out_of_order(matched: Sequence[int | None]) -> list[int]:
    """The fewest records that, taken out, leave the others in their order."""
    tails: list[int] = []
    places: list[int] = []
    before: dict[int, int] = {}
    for at, number in enumerate(matched):
        if number is None:
            continue
        place = bisect_left(tails, number)
        if place:
            before[at] = places[place - 1]
        tails[place : place + 1] = [number]
        places[place : place + 1] = [at]
    kept = set()
    at_last: int | None = places[-1] if places else None
    while at_last is not None:
        kept.add(at_last)
        at_last = before.get(at_last)
    return [at for at, number in enumerate(matched) if number is not None and at not in kept]
