"""The book as a store: what the journal's entries are written to, and what is asked of it.

Like a sink it answers for each entry, and an entry that it has is ``STALE``. Unlike a sink's items, a lane's entries
are an order: each has its position in the lane's journal, and accounts' running sums depend on those in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from koban.ledger.history import Axis
from koban.records import Balance, Entry
from sinks.contract import Result

STATEMENT_LINES_MAX = 500
ACCOUNTS_OF_OWNER_MAX = 1_000


class PostedEntry(msgspec.Struct, frozen=True):
    """An entry as it lies in a lane's journal."""

    position: int
    """Its offset."""
    recorded_at_us: int
    """When the ledger posted it."""
    value: bytes


class StoredEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry in the book."""

    lane: int
    position: int
    recorded_at_us: int
    """The latest of its own and those in front of it in the lane: a lane's time in the book never goes back."""
    entry: Entry


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an account's statement. Amounts are debits less credits."""

    account: str
    lane: int
    position: int
    line: int
    entry_id: str
    event_type: str
    payment_id: str | None
    occurred_at_us: int
    recorded_at_us: int
    debit_minor: int
    sum_minor: int
    """Of all accounts of the statement together, after this line."""


Place = tuple[int, int, int, int]
"""Where a line stands in a statement: recorded time, lane, position, line."""


class Amounts(msgspec.Struct, frozen=True):
    """A sum over accounts' lines."""

    sum_minor: int = 0
    """Debits less credits."""
    lines: int = 0


class Mark(msgspec.Struct, frozen=True):
    """How far a lane of the book is complete."""

    lane: int
    complete_to_us: int
    entries_to: int
    """The position behind the last entry."""


class TooManyAccountsError(ValueError):
    """An owner has more accounts than one answer may hold."""


class Book(Protocol):
    """What the journal is written to."""

    async def append(self, lane: int, entries: Sequence[PostedEntry]) -> list[Result]:
        """Appends entries of a lane, in their order; one result an entry. All that are written are so together."""
        ...

    async def mark(self, lane: int, complete_to_us: int) -> None:
        """Says that all entries of a lane recorded up to an instant are in the book. Raises Transient."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class BookQueries(Protocol):
    """What is asked of the book. Everything may raise Transient."""

    def balance_at(self, accounts: Sequence[str], at_us: int, axis: Axis) -> Amounts:
        """Σ of the accounts' lines up to an instant, that instant included."""
        ...

    def statement(self, accounts: Sequence[str], limit: int, before: Place | None = None) -> list[StatementLine]:
        """Lines of the accounts, the last recorded first, from in front of a place on."""
        ...

    def entry(self, entry_id: str) -> StoredEntry | None:
        """An entry by its id."""
        ...

    def accounts(self, prefix: str) -> list[str]:
        """The names of the book's accounts that begin so, in their order. Raises TooManyAccountsError."""
        ...

    def known(self, account: str) -> bool:
        """Whether anything was ever posted to an account."""
        ...

    def live(self, prefix: str) -> list[Balance]:
        """The latest balance records of the accounts that begin so, in their order. Raises TooManyAccountsError."""
        ...

    def live_of(self, accounts: Sequence[str]) -> list[Balance]:
        """The latest balance records of these accounts, as far as there are, in their order."""
        ...

    def marks(self) -> list[Mark]:
        """How far the book is complete, by lane."""
        ...

    def trial_balance(self) -> dict[str, tuple[int, int, int]]:
        """Family and kind (`U.money`, `A.bank`) → accounts, lines, debits less credits."""
        ...
