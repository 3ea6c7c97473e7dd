"""How often something may be tried: a bucket of tries a key, filled again by and by, for a bounded number of keys."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict

import msgspec

KEYS_MAX = 20_000
"""Beyond it the key that was tried longest ago is forgotten."""


class Limit(msgspec.Struct, frozen=True):
    """``burst`` tries at once, and another every ``refill_s`` seconds."""

    burst: int
    refill_s: float


OF_ACCOUNT = Limit(burst=6, refill_s=30)
OF_ADDRESS = Limit(burst=20, refill_s=3)


class Attempts:
    """Tries by key."""

    def __init__(self, limit: Limit, keys_max: int = KEYS_MAX) -> None:
        self._limit = limit
        self._keys_max = keys_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._turn = threading.Lock()

    def take(self, key: str, now_s: float) -> float:
        """Takes a try; 0.0 when there was one, else the seconds until there is."""
        with self._turn:
            tries, since_s = self._buckets.pop(key, (float(self._limit.burst), now_s))
            tries = min(float(self._limit.burst), tries + max(0.0, now_s - since_s) / self._limit.refill_s)
            taken = tries >= 1
            self._buckets[key] = (tries - taken, now_s)
            while len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
            return 0.0 if taken else (1 - tries) * self._limit.refill_s

    def __len__(self) -> int:
        return len(self._buckets)


def address_key(address: str) -> str:
    """Whose tries an address counts among: an IPv6 host has a whole /64 to itself."""
    try:
        place = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((place, 64), strict=False)) if place.version == 6 else address
