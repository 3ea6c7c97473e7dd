"""An account's state in its lane."""

from __future__ import annotations

import msgspec

from koban.ledger.accounts import Account, Nature, Use

_FREE, _PENDING_IN = Use.FREE, Use.PENDING_IN


class State(msgspec.Struct, gc=False):
    """What a `koban.records.Balance` says, field by field, kept up to date in place and written as it stands.

    What is held and available follows from the account's use; `Slot.settled` works it out before it is read.
    """

    account: str
    owner: str
    posted_minor: int = 0
    held_minor: int = 0
    available_minor: int = 0
    pending_in_minor: int = 0
    version: int = 0
    as_of_us: int = 0
    event_id: str = ""
    entry_id: str = ""


class Slot(msgspec.Struct, gc=False):
    """An account's place in its lane, or, when `lane` is another one, just the way there."""

    state: State
    lane: int
    nature: Nature
    of_house: bool = False
    """Its name says the lane too, which the names in events don't."""
    touched: bool = False
    family: str = ""
    """The first letter of its name; legs in flight are a family of their own."""
    told_minor: int = 0
    """What the lane's trial balance knows of it."""

    @classmethod
    def of(cls, account: Account, lane: int) -> Slot:
        """Of an account that nothing was posted to yet."""
        return cls(State(account.name, account.owner), lane, account.nature, account.of_house, family=account.name[0])

    def settled(self) -> State:
        """The state as it is to be written."""
        state, use = self.state, self.nature.use
        posted = state.posted_minor
        held = posted if posted > 0 and use is not _FREE else 0
        state.held_minor = held
        state.available_minor = posted - held
        state.pending_in_minor = held if use is _PENDING_IN else 0
        return state
