"""What moved money in one batch: what the batch writes is put together from this, by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from koban.ledger.facts import ArrivedLeg
from koban.ledger.slots import Slot, Touched
from koban.records import Balance, Leg, Posting

PAYMENT_COMPLETED = "PaymentCompleted"


class Moves:
    """Entries, a row each and in their order, and legs that arrived.

    Most entries are of plain payments, and of those only what differs is kept. A cause, as accounts have it that were
    touched, is a row's number, or ``~n`` for the leg number n.
    """

    __slots__ = (
        "amounts_minor", "entries", "event_ids", "keys", "legs", "legs_ms", "occurred_at_us", "payees", "payers",
        "payment_ids", "times_ms",
    )  # fmt: skip

    def __init__(self) -> None:
        self.event_ids: list[str] = []
        self.payment_ids: list[str | None] = []
        self.occurred_at_us: list[int] = []
        self.keys: list[bytes] = []
        """Of the entries' records."""
        self.times_ms: list[int] = []
        """The timestamp of the record that let the entry come about."""
        self.payers: list[str] = []
        self.payees: list[Slot | None] = []
        self.amounts_minor: list[int] = []
        """Of plain payments; of any other entry nothing, no one and 0."""
        self.entries: dict[int, Posting] = {}
        """Row → the entry, where it is not of a plain payment."""
        self.legs: list[ArrivedLeg] = []
        self.legs_ms: list[int] = []
        """The timestamp of the record that brought the leg."""

    def __len__(self) -> int:
        return len(self.event_ids)

    def open(self, event_id: str, payment_id: str | None, occurred_at_us: int, key: bytes, at_ms: int) -> int:
        """A row for an entry that is not of a plain payment; it comes to `entries` when it is complete."""
        self.event_ids.append(event_id)
        self.payment_ids.append(payment_id)
        self.occurred_at_us.append(occurred_at_us)
        self.keys.append(key)
        self.times_ms.append(at_ms)
        self.payers.append("")
        self.payees.append(None)
        self.amounts_minor.append(0)
        return len(self.event_ids) - 1

    def entry_id(self, row: int) -> str:
        """A plain payment's entry has its event's id."""
        entry = self.entries.get(row)
        return self.event_ids[row] if entry is None else entry.entry_id

    def leg(self, row: int) -> Leg:
        """What a plain payment sends to the merchant's lane."""
        payee, event_id = self.payees[row], self.event_ids[row]
        assert payee is not None, f"row {row} is of no plain payment"
        return Leg(
            event_id, event_id, PAYMENT_COMPLETED, payee.owner, payee.account, -self.amounts_minor[row],
            self.occurred_at_us[row], self.payment_ids[row],
        )  # fmt: skip

    def sent(self, leg: int | Leg) -> tuple[str, int]:
        """The entry that a leg is of, and the Kafka timestamp in ms of the record that let it come about."""
        if isinstance(leg, int):
            return self.event_ids[leg], self.times_ms[leg]
        return leg.entry_id, self.times_ms[self.event_ids.index(leg.event_id)]

    def times_of_events(self) -> dict[str, int]:
        """Event id → the Kafka timestamp in ms of the last record that moved something in its name."""
        times = {leg.event_id: at_ms for leg, at_ms in zip(self.legs, self.legs_ms, strict=True)}
        return times | dict(zip(self.event_ids, self.times_ms, strict=True))

    def causes(self, causes: Iterable[int]) -> Iterator[tuple[str, str, int, int]]:
        """(event id, entry id, business time, Kafka timestamp in ms) of each cause."""
        for cause in causes:
            if cause < 0:
                leg = self.legs[~cause]
                yield leg.event_id, leg.entry_id, leg.occurred_at_us, self.legs_ms[~cause]
            else:
                yield self.event_ids[cause], self.entry_id(cause), self.occurred_at_us[cause], self.times_ms[cause]

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
