"""An account's state in its lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from koban.ledger.accounts import Account, Nature, Use

_FREE, _PENDING_IN = Use.FREE, Use.PENDING_IN


class Slot(msgspec.Struct, gc=False, eq=False):
    """An account's place in its lane, or, when `lane` is another one, just the way there.

    A lane may have millions of them, and their memory is what posting waits for: so one object an account, and what
    touched it last is known for the batch alone, not for ever.
    """

    nature: Nature
    lane: int
    account: str
    owner: str
    family: str
    """The first letter of its name; legs in flight are a family of their own."""
    of_house: bool = False
    """Its name says the lane too, which the names in events don't."""
    stored: bool = True
    """The lane's store knows its balance and version."""
    posted_minor: int = 0
    version: int = 0
    cause: int | None = None
    """What touched it last since `Book.take_touched`: see `Moves`. None when nothing did."""

    @classmethod
    def of(cls, account: Account, lane: int) -> Slot:
        """Of an account that nothing was posted to yet."""
        return cls(account.nature, lane, account.name, account.owner, account.name[0], account.of_house)

    @property
    def held_minor(self) -> int:
        """What of the balance is not available: all or nothing, by the account's use."""
        return max(self.posted_minor, 0) if self.nature.use is not _FREE else 0

    @property
    def pending_in_minor(self) -> int:
        """What is promised and not there yet."""
        return self.held_minor if self.nature.use is _PENDING_IN else 0


class Touched(NamedTuple):
    """Balances that a batch changed, by column: an account a row, each in its latest state."""

    accounts: Sequence[str]
    owners: Sequence[str]
    posted_minor: Sequence[int]
    held_minor: Sequence[int]
    pending_in_minor: Sequence[int]
    versions: Sequence[int]
    causes: Sequence[int]

    @classmethod
    def of(cls, slots: Sequence[Slot]) -> Touched:
        """Of accounts that were just touched."""
        held = pending_in = [0] * len(slots)
        if any([slot.nature.use is not _FREE for slot in slots]):  # noqa: C419  # a list is quicker than a generator
            held = [slot.held_minor for slot in slots]
            pending_in = [slot.pending_in_minor for slot in slots]
        return cls(
            [slot.account for slot in slots],
            [slot.owner for slot in slots],
            [slot.posted_minor for slot in slots],
            held,
            pending_in,
            [slot.version for slot in slots],
            [0 if slot.cause is None else slot.cause for slot in slots],
        )
