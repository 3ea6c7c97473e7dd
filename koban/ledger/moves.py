"""What moved money in one batch: what the batch writes is put together from this, by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from koban.ledger.facts import ArrivedLeg
from koban.ledger.slots import Slot, Touched
from koban.records import Balance, Leg, Posting

PAYMENT_COMPLETED = "PaymentCompleted"

Row = tuple[str, str | None, int, bytes, int, str, Slot | None, int]
"""An entry, in the order of `Columns`. A tuple costs a payment half of what eight lists do."""


class Columns(NamedTuple):
    """Entries by column. The last three are of plain payments, of any other entry nothing, no one and 0."""

    event_ids: Sequence[str]
    payment_ids: Sequence[str | None]
    occurred_at_us: Sequence[int]
    keys: Sequence[bytes]
    """Of the entries' records."""
    times_ms: Sequence[int]
    """The Kafka timestamp of the record that let the entry come about."""
    payers: Sequence[str]
    payees: Sequence[Slot | None]
    amounts_minor: Sequence[int]


class Moves:
    """Entries, a row each and in their order, and legs that arrived.

    Most entries are of plain payments, and of those only what differs is kept. A cause, as accounts have it that were
    touched, is a row's number, or ``~n`` for the leg number n.
    """

    __slots__ = ("entries", "legs", "legs_ms", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.entries: dict[int, Posting] = {}
        """By the number of its row: what is not the entry of a plain payment."""
        self.legs: list[ArrivedLeg] = []
        self.legs_ms: list[int] = []
        """The timestamp of the record that brought the leg."""

    def columns(self) -> Columns:
        """The rows, of which there is at least one."""
        return Columns(*zip(*self.rows, strict=True))

    def open(self, event_id: str, payment_id: str | None, occurred_at_us: int, key: bytes, at_ms: int) -> int:
        """A row for an entry that is not of a plain payment; it comes to `entries` when it is complete."""
        self.rows.append((event_id, payment_id, occurred_at_us, key, at_ms, "", None, 0))
        return len(self.rows) - 1

    def entry_id(self, row: int) -> str:
        """A plain payment's entry has its event's id."""
        entry = self.entries.get(row)
        event_id, *_ = self.rows[row]
        return event_id if entry is None else entry.entry_id

    def leg(self, row: int) -> Leg:
        """What a plain payment sends to the merchant's lane."""
        event_id, payment_id, occurred_at_us, _, _, _, payee, amount_minor = self.rows[row]
        assert payee is not None, f"row {row} is of no plain payment"
        return Leg(
            event_id, event_id, PAYMENT_COMPLETED, payee.owner, payee.account, -amount_minor, occurred_at_us, payment_id
        )

    def sent(self, leg: int | Leg) -> tuple[str, int]:
        """The entry that a leg is of, and the Kafka timestamp in ms of the record that let it come about."""
        if isinstance(leg, int):
            event_id, _, _, _, at_ms, *_ = self.rows[leg]
            return event_id, at_ms
        return leg.entry_id, next(at_ms for event_id, _, _, _, at_ms, *_ in self.rows if event_id == leg.event_id)

    def times_of_events(self) -> dict[str, int]:
        """Event id → the Kafka timestamp in ms of the last record that moved something in its name."""
        times = {leg.event_id: at_ms for leg, at_ms in zip(self.legs, self.legs_ms, strict=True)}
        return times | {event_id: at_ms for event_id, _, _, _, at_ms, *_ in self.rows}

    def causes(self, causes: Iterable[int]) -> Iterator[tuple[str, str, int, int]]:
        """(event id, entry id, business time, Kafka timestamp in ms) of each cause."""
        for cause in causes:
            if cause < 0:
                leg = self.legs[~cause]
                yield leg.event_id, leg.entry_id, leg.occurred_at_us, self.legs_ms[~cause]
            else:
                event_id, _, occurred_at_us, _, at_ms, *_ = self.rows[cause]
                yield event_id, self.entry_id(cause), occurred_at_us, at_ms

    def balances(self, touched: Touched) -> list[Balance]:
        """As records, a balance at a time. Raises ValueError for one that its contract refuses."""
        return [
            Balance(
                account=account,
                owner=owner,
                posted_minor=posted,
                held_minor=held,
                available_minor=posted - held,
                pending_in_minor=pending_in,
                version=version,
                as_of_us=as_of_us,
                event_id=event_id,
                entry_id=entry_id,
            )
            for (account, owner, posted, held, pending_in, version, _), (event_id, entry_id, as_of_us, _) in zip(
                zip(*touched, strict=True), self.causes(touched.causes), strict=True
            )
        ]
