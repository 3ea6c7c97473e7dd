"""What the books know of payments, transfers, withdrawals and expired lots: a few bytes each, by key.

What is in a store follows from the lane's journal alone. So an event is first judged, which reads the store, and its
entry is then applied, which changes it; applying a lane's entries again, in their order, builds the same store, and so
does applying them from an earlier point than the store's own.

A life is over when nothing of it is open any more and no event of it can come in time: `keep_us` after it began, by
the store's clock, which is the latest business time of an entry that changed the store. From then on it counts as
forgotten, whether or not its bytes were taken away yet, which happens in small portions and leaves a tombstone. So the
answers are the same whenever that happens. Tombstones are dropped with their generation, `tombstone_days` later and up
to an eighth more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from koban.business_time import US_PER_DAY
from koban.ledger.facts import Fact, StoredEntry
from koban.ledger.refusals import REFUND_DAYS_MAX, Refusal
from koban.ledger.tombstones import Tombstones, tombstone_of
from koban.records import Posting

LATE_DAYS = 35
"""An event may come this much later than it happened and still find its payment."""
TOMBSTONE_DAYS = 1_825
"""Five years: as long as anybody can claim what they paid."""
GENERATIONS = 8
"""Tombstones are dropped in steps of this part of their time."""

PORTION = 1_000
"""Of what is over, so much is taken away at a time, and twice as much as was put."""

BeganAt = Callable[[str, bytes], int | None]
"""By key and value: when a life began, in UTC microseconds; None while something of it is open."""


class Head(msgspec.Struct, array_like=True, gc=False):
    """What every life begins with: where it stands, and when it began, in UTC microseconds."""

    state: int
    at_us: int


head_of = msgspec.msgpack.Decoder(Head).decode


class Changes(NamedTuple):
    """What changed in a store: what it takes to bring a copy up to date."""

    keys: list[str]
    """In their order: of a key that is there twice the last one counts."""
    lives: list[bytes | None]
    """One a key; None for what was forgotten."""
    tombstones: dict[int, bytes]
    """Generation → the new ones, one behind the other."""
    dropped_before: int | None
    """Older generations are dropped; None when none was since the last time."""
    clock_us: int
    forgotten: int
    """How many lives were taken away."""


class Store(dict[str, bytes]):
    """Lives by key. A payment's key is its wallet and its id; other keys start with a slash and what they are.

    The wallet is in the key, so that an id that two wallets use, which no producer should, means two payments whether
    or not the wallets share a lane. Each value begins as `Head` says.
    """

    __slots__ = (
        "_buried",
        "_days",
        "_dropped_before",
        "_generation_us",
        "changed_keys",
        "changed_lives",
        "clock_us",
        "has_tombstones",
        "keep_us",
        "tombstones",
    )

    def __init__(self, late_days: int = LATE_DAYS, tombstone_days: int = TOMBSTONE_DAYS) -> None:
        super().__init__()
        self.keep_us = (REFUND_DAYS_MAX + late_days) * US_PER_DAY
        self._generation_us = max(tombstone_days * US_PER_DAY // GENERATIONS, US_PER_DAY)
        self.clock_us = 0
        """The latest business time of an entry that changed the store."""
        self.tombstones = Tombstones()
        self.has_tombstones = False
        """Whether there ever were any."""
        self.changed_keys: list[str] = []
        self.changed_lives: list[bytes | None] = []
        """What was put since the last `take_changes`, side by side; None for what was forgotten. Two lists, since a
        dict of as many would cost a payment as much as posting it."""
        self._buried: dict[int, list[bytes]] = {}
        self._dropped_before = -1
        self._days: dict[int, list[str]] = {}
        """Day of the clock → keys that were put then; one that was put again stands on that day too."""

    def put(self, key: str, value: bytes, /) -> None:
        """Keeps a value in place of the one before."""
        self[key] = value
        self.changed_keys.append(key)
        self.changed_lives.append(value)

    # --- what is over

    def is_over(self, began_at_us: int | None) -> bool:
        """Whether a life that began then counts as forgotten; None says that something of it is open."""
        return began_at_us is not None and began_at_us + self.keep_us <= self.clock_us

    def has_forgotten(self, key: str) -> bool:
        """Whether there was such a life, as far as tombstones tell."""
        return self.has_tombstones and tombstone_of(key) in self.tombstones

    def as_of(self, clock_us: int, began_at: BeganAt) -> tuple[dict[str, bytes], set[bytes]]:
        """The lives and the tombstones that are left at an instant not before the clock's, whatever was done so far."""
        lives: dict[str, bytes] = {}
        newest = {}
        for key, life in self.items():
            began_at_us = began_at(key, life)
            if began_at_us is None or began_at_us + self.keep_us > clock_us:
                lives[key] = life
            else:
                newest[tombstone_of(key)] = self._generation_of(began_at_us)
        for generation, stone in self.tombstones:
            newest[stone] = max(generation, newest.get(stone, generation))
        oldest = self._generation_min(clock_us)
        left = {stone for stone, generation in newest.items() if generation >= oldest}
        if left:  # an id that was used again has a life and, or not, the tombstone of the one before
            left.difference_update(map(tombstone_of, lives))
        return lives, left

    def _generation_of(self, began_at_us: int) -> int:
        return (began_at_us + self.keep_us) // self._generation_us

    def _generation_min(self, clock_us: int) -> int:
        """The oldest generation that is kept at an instant."""
        return clock_us // self._generation_us - GENERATIONS

    # --- what has changed

    def take_changes(self, began_at: BeganAt) -> Changes:
        """What changed since the last call; of what is over, a portion is taken away first.

        The portion keeps up with what is put, whatever the rate, and so do the time and the memory that it takes.
        """
        today = self._days.setdefault(self.clock_us // US_PER_DAY, [])
        today.extend(
            self.changed_keys
        )  # over by the end of this day of the clock and `keep_us`, if nothing is open then
        forgotten = self._forget(began_at, 2 * len(self.changed_keys) + PORTION)
        keys, lives = self.changed_keys, self.changed_lives
        self.changed_keys, self.changed_lives = [], []
        buried, self._buried = self._buried, {}
        tombstones = {generation: b"".join(stones) for generation, stones in buried.items()}
        return Changes(keys, lives, tombstones, self._drop(), self.clock_us, forgotten)

    def _forget(self, began_at: BeganAt, limit: int) -> int:
        """Looks at up to `limit` keys whose day has come."""
        day_max = (self.clock_us - self.keep_us) // US_PER_DAY - 1
        forgotten = 0
        for day in sorted(day for day in self._days if day <= day_max):
            keys = self._days[day]
            portion = keys[-limit:]
            del keys[-limit:]
            if not keys:
                del self._days[day]
            forgotten += self._bury(portion, began_at)
            limit -= len(portion)
            if limit <= 0:
                break
        return forgotten

    def _bury(self, keys: list[str], began_at: BeganAt) -> int:
        """Not what is open, or began later: that will be put again, or was, and stands on another day too."""
        began_max_us = self.clock_us - self.keep_us
        generation_min, forgotten = self._generation_min(self.clock_us), 0
        for key in keys:
            life = self.get(key)
            began_at_us = None if life is None else began_at(key, life)
            if began_at_us is None or began_at_us > began_max_us:
                continue
            del self[key]
            self.changed_keys.append(key)
            self.changed_lives.append(None)
            forgotten += 1
            self.has_tombstones = True
            generation, stone = self._generation_of(began_at_us), tombstone_of(key)
            if generation >= generation_min and self.tombstones.add(generation, stone):
                self._buried.setdefault(generation, []).append(stone)
        return forgotten

    def _drop(self) -> int | None:
        oldest = max(self._generation_min(self.clock_us), 0)
        if oldest == self._dropped_before:
            return None
        self.tombstones.drop_before(oldest)
        self._dropped_before = oldest
        return oldest

    # --- restoring

    def restore_tombstones(self, generation: int, stones: bytes) -> None:
        """Takes over tombstones from a copy."""
        self.has_tombstones = True
        self.tombstones.restore(generation, stones)

    def restore(self, key: str, life: bytes) -> None:
        """Takes over a life from a copy."""
        self[key] = life
        self._days.setdefault(head_of(life).at_us // US_PER_DAY, []).append(key)


Judge = Callable[[Fact, Store], Refusal | None]
"""Says why an event can't be posted, or None; changes nothing."""
Change = Callable[[Posting | StoredEntry, str, Store], None]
"""What an entry changes in the store; the text is the owner of its event, which is the key of its record."""
