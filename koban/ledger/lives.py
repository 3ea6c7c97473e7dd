"""Where the books keep what they know of payments, transfers, withdrawals and expired lots: a few bytes each, by key.

A store may be a dict, or a database on disk: what is in it follows from the lane's journal alone. So an event is first
judged, which reads the store, and its entry is then applied, which changes it; applying a lane's entries again, in
their order, builds the same store, and so does applying them from an earlier point than the store's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from koban.ledger.facts import Fact, StoredEntry
from koban.ledger.refusals import Refusal
from koban.records import Posting


class Store(Protocol):
    """Bytes by key. A payment's key is its wallet and its id; other keys start with a slash and what they are.

    The wallet is in the key, so that an id that two wallets use, which no producer should, means two payments whether
    or not the wallets share a lane.
    """

    def get(self, key: str, /) -> bytes | None:
        """What was put last; None for a key that is not there."""
        ...

    def put(self, key: str, value: bytes, /) -> None:
        """Keeps a value in place of the one before."""
        ...

    def forget(self, key: str, /) -> None:
        """Drops a key, if it is there: an event on it is then refused as unknown."""
        ...


class InMemory(dict[str, bytes]):
    """A store that lives as long as its worker."""

    def put(self, key: str, value: bytes, /) -> None:
        self[key] = value

    def forget(self, key: str, /) -> None:
        self.pop(key, None)


Judge = Callable[[Fact, Store], Refusal | None]
"""Says why an event can't be posted, or None; changes nothing."""
Change = Callable[[Posting | StoredEntry, str, Store], None]
"""What an entry changes in the store; the text is the owner of its event, which is the key of its record."""
