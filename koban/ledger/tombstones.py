"""What is left of a life that was forgotten: eight bytes, enough to know that it has been.

A tombstone is a hash of the life's key. Two keys share one once in 2⁶⁴; a payment that never was is then refused by the
name of one that is over, and nothing else follows. Tombstones lie in generations by the time at which their lives came
to be forgotten, so that whole generations can be dropped.

A generation is a list of buckets that grows by one bucket at a time (linear hashing): nothing is ever built anew, and a
bucket is a plain `bytes`, so that a tombstone takes about 8.7 bytes. Looking one up takes under a microsecond a
generation; it is done for what the store does not know, which is rare.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

BYTES = 8
IN_BUCKET = 64
"""Tombstones of a bucket, on average."""


def tombstone_of(key: str) -> bytes:
    """A key's tombstone."""
    return blake2b(key.encode(), digest_size=BYTES).digest()


class Tombstones:
    """The tombstones of one lane, by generation."""

    def __init__(self) -> None:
        self._generations: dict[int, _Generation] = {}

    def __contains__(self, stone: bytes) -> bool:
        return any(stone in generation for generation in self._generations.values())

    def __bool__(self) -> bool:
        return bool(self._generations)

    def __len__(self) -> int:
        return sum(generation.count for generation in self._generations.values())

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Each with its generation, in no order."""
        return ((number, stone) for number, found in self._generations.items() for stone in found)

    def add(self, generation: int, stone: bytes) -> bool:
        """Puts one up; False when it stands in that generation already."""
        found = self._generations.get(generation)
        if found is None:
            found = self._generations[generation] = _Generation()
        return found.add(stone)

    def restore(self, generation: int, stones: bytes) -> None:
        """Takes over tombstones of a copy, each for the first time."""
        found = self._generations.setdefault(generation, _Generation())
        for at in range(0, len(stones), BYTES):
            found.add(stones[at : at + BYTES])

    def drop_before(self, generation: int) -> None:
        """Takes away all older generations."""
        for number in [number for number in self._generations if number < generation]:
            del self._generations[number]


class _Generation:
    __slots__ = ("_buckets", "_mask", "count")

    def __init__(self) -> None:
        self._buckets = [b""]
        self._mask = 1
        """As many bits as it takes to number the next bucket."""
        self.count = 0

    def __contains__(self, stone: bytes) -> bool:
        return _is_in(stone, self._buckets[self._place(stone)])

    def __iter__(self) -> Iterator[bytes]:
        return (bucket[at : at + BYTES] for bucket in self._buckets for at in range(0, len(bucket), BYTES))

    def add(self, stone: bytes) -> bool:
        buckets = self._buckets
        place = self._place(stone)
        bucket = buckets[place]
        if _is_in(stone, bucket):
            return False
        buckets[place] = bucket + stone
        self.count += 1
        if self.count > IN_BUCKET * len(buckets):
            self._split()
        return True

    def _place(self, stone: bytes) -> int:
        """By as many of the lowest bits as there are buckets for; one that there is not yet has another stand in."""
        mask = self._mask
        place = int.from_bytes(stone, "big") & mask
        return place if place < len(self._buckets) else place & (mask >> 1)

    def _split(self) -> None:
        """Adds a bucket, and gives it what is its own of the one that stood in for it."""
        buckets = self._buckets
        new = len(buckets)
        bit = (self._mask + 1) >> 1
        old = new ^ bit
        bucket = buckets[old]
        stones = [bucket[at : at + BYTES] for at in range(0, len(bucket), BYTES)]
        buckets[old] = b"".join([stone for stone in stones if not int.from_bytes(stone, "big") & bit])
        buckets.append(b"".join([stone for stone in stones if int.from_bytes(stone, "big") & bit]))
        self._mask = (1 << (new + 1).bit_length()) - 1


def _is_in(stone: bytes, bucket: bytes) -> bool:
    at = bucket.find(stone)
    while at > 0 and at % BYTES:  # across two others
        at = bucket.find(stone, at + 1)
    return at >= 0
