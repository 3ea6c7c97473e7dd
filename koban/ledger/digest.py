"""The books' whole state as one hash: two ways to the same state have the same hash, and a yen more has another."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b

import msgspec

from koban.ledger.accounts import base_of
from koban.records import WaitingRefund

_BYTES = 16
_encode = msgspec.json.Encoder().encode


class StateHash:
    """A sum of hashes, so that the order of what is added does not matter. Each thing is to be added once.

    What depends on how lanes and batches happened to fall is left out: which event touched an account last, and who
    stands where in a merchant's queue.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._house: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        """Account of the house → balance and version, summed over the lanes' parts."""

    def add_balance(self, account: str, posted_minor: int, version: int) -> None:
        """An account, or a lane's part of one."""
        if "@" in account:
            total = self._house[base_of(account)]
            total[0] += posted_minor
            total[1] += version
        else:
            self._add_account(account, posted_minor, version)

    def add_life(self, key: str, life: bytes) -> None:
        """What is known of a payment, a transfer, a withdrawal or an expired lot."""
        self._sum += _hash(b"life|%b|%b" % (key.encode(), life))

    def add_tombstone(self, tombstone: bytes) -> None:
        """What is left of a life that was forgotten."""
        self._sum += _hash(b"tombstone|" + tombstone)

    def add_waiting(self, refund: WaitingRefund) -> None:
        """A refund that waits for its merchant's money."""
        self._sum += _hash(b"waiting|" + _encode(refund))

    def hexdigest(self) -> str:
        """The hash in 32 hex digits; more may be added behind it."""
        before = self._sum
        for account, (posted_minor, version) in self._house.items():
            self._add_account(account, posted_minor, version)
        total, self._sum = self._sum, before
        return f"{total % (1 << 8 * _BYTES):0{2 * _BYTES}x}"

    def _add_account(self, account: str, posted_minor: int, version: int) -> None:
        self._sum += _hash(f"{account}|{posted_minor}|{version}".encode())


def _hash(value: bytes) -> int:
    return int.from_bytes(blake2b(value, digest_size=_BYTES).digest(), "big")
