"""Which lane an owner belongs to: the partition number that Kafka's Java client picks for the owner's key.

Every topic keyed by an account owner has the same number of partitions, and every producer must put an owner's records
on the same one. The rule is the Java client's: murmur2 of the key's bytes, made positive, modulo the partitions.
librdkafka's default differs (CRC32), and a key may be missing; the gate moves such records to their lane.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from functools import lru_cache

from koban.ledger.accounts import base_of, parse

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_OWNERS_CACHED_MAX = 262_144
"""A lane has few hundred thousand active owners; at about 150 bytes each this bounds the cache at some 40 MB."""


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 of `data`, as an unsigned integer."""
    length = len(data)
    h = _SEED ^ length
    for (k,) in struct.iter_unpack("<I", data[: length & ~3]):
        k = (k * _M) & _MASK  # noqa: PLW2901  # the algorithm's own step, as published
        k = ((k ^ (k >> 24)) * _M) & _MASK  # noqa: PLW2901  # same
        h = ((h * _M) & _MASK) ^ k
    if tail := data[length & ~3 :]:
        h = ((h ^ int.from_bytes(tail, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def lane_of_key(key: bytes, partitions: int) -> int:
    """The partition, from 0 to `partitions` - 1, of a record with these key bytes."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=_OWNERS_CACHED_MAX)
def lane_of(owner: str, partitions: int) -> int:
    """The lane, from 0 to `partitions` - 1, of an account owner: a wallet, a merchant, a campaign, a bank."""
    return lane_of_key(owner.encode(), partitions)


def lanes_of(account: str, partitions: int) -> Collection[int]:
    """The lanes that may have a part of an account: its owner's, or all of them for an account of the house.

    `A.bank@2` names its lane. Raises ValueError for what is no account of the chart.
    """
    known = parse(base_of(account))
    if known is None:
        raise ValueError(f"{account!r} is no account of the chart")
    _, _, lane = account.partition("@")
    if lane.isdecimal():
        return {int(lane)}
    return range(partitions) if known.of_house else {lane_of(known.owner, partitions)}
