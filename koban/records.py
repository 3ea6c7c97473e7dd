"""What the stages write that is no event: journal entries, legs, balances, volumes, signals, alerts, campaigns.

Amounts are integers in minor units (yen), times microseconds since the epoch in UTC, ids strings. Constraints live in
the types, as in ``koban.events``; what spans several fields is asserted when a record is made, and refused when read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from koban.events import AmountMinor, AmountOrZeroMinor, BasisPoints, Count, Id, Line, Microseconds, TenderKind, Text

MAX_TOTAL_MINOR = 1_000_000_000_000_000
"""No balance or sum may be larger: a quadrillion yen, and still a whole number that a JavaScript client can hold."""

AccountId = Annotated[str, msgspec.Meta(min_length=3, max_length=160, pattern=r"^[A-Z]\.[A-Za-z0-9._:%-]+(@[0-9]+)?\Z")]
"""Kind of owner, owner and role: `U.u-17.points`, `M.m-3.payable`; of the house a lane's part: `A.bank@2`."""
DerivedId = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
"""An id that a stage made of other ids."""
SignedMinor = Annotated[int, msgspec.Meta(ge=-MAX_TOTAL_MINOR, le=MAX_TOTAL_MINOR)]
TotalMinor = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_MINOR)]
Version = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""A SHA-256 in hex digits."""
Family = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]\Z")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=9_007_199_254_740_991)]
SumMinor = Annotated[int, msgspec.Meta(ge=0, le=9_007_199_254_740_991)]
"""Everything ever debited to a family, in minor units: a whole number that a JavaScript client can hold."""
Typology = Annotated[str, msgspec.Meta(pattern=r"^T[0-9]{2}\Z")]


class Breach(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of the books that an event broke and that was posted all the same, because the money has moved."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    account: AccountId | None = None
    detail: Text | None = None


class Posting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An `Entry` of lines that were summed just before: checking them once more would double its cost."""

    entry_id: DerivedId
    event_id: Id
    event_type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    payment_id: Id | None = None
    occurred_at_us: Microseconds
    lines: Annotated[tuple[Line, ...], msgspec.Meta(max_length=64)]
    """None for an event that changes what the books know but moves no money yet: a refund that was asked for."""
    breaches: Annotated[tuple[Breach, ...], msgspec.Meta(max_length=64)] = ()
    reference_id: Id | None = None
    """The refund, transfer or withdrawal that the event is about."""
    counterparty: AccountId | None = None
    """The account on the other side, where the lines don't tell: whom a hold is for, who gets a transfer."""
    split: Annotated[tuple[Line, ...], msgspec.Meta(max_length=10)] = ()
    """What a refund gives back to the accounts that paid, as credits, before any cap."""


class Entry(Posting, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A journal entry: what one event did to the accounts. Its lines sum to zero, else ValueError.

    An event has one entry under its own id. What follows from it in another owner's lane has an entry there, under the
    event's id and a word: `:reserved` for a refund's money, `:over_limit` for what a wallet had no room for.
    """

    def __post_init__(self) -> None:
        total = 0
        for line in self.lines:
            total += line.debit_minor
        if total != 0:
            raise ValueError(f"lines sum to {total}, not to 0")


class Leg(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of an entry on its way to an account of another lane, or a refund's claim on a merchant's money."""

    entry_id: DerivedId
    event_id: Id
    event_type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    owner: Id
    account: AccountId
    debit_minor: SignedMinor
    """Zero for a claim."""
    occurred_at_us: Microseconds
    payment_id: Id | None = None
    reference_id: Id | None = None
    """The refund that the leg belongs to, if any."""
    claim_minor: AmountOrZeroMinor = 0
    """What is to be reserved of the account for a refund, as soon as it is there."""


class WaitingRefund(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refund that waits until its merchant has the money. Those of one merchant are served in their order."""

    event_id: Id
    """The event that asked for it."""
    payment_id: Id
    refund_id: Id
    account: AccountId
    """The merchant's account that is to pay it."""
    amount_minor: AmountMinor
    asked_at_us: Microseconds


class ReplayedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that somebody sent again; the newest record of its place counts."""

    place: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6}:[0-9]{1,18}\Z")]
    """Partition and offset of the letter."""
    sent_to: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    event_id: Id
    mended: bool
    """Whether other bytes were sent than the letter holds."""
    replayed_at_us: Microseconds


class Legs(msgspec.Struct, frozen=True, kw_only=True):
    """Legs from one lane to another in the order of their entries; one record, since a leg alone is tiny."""

    from_lane: Count
    to_lane: Count
    legs: Annotated[tuple[Leg, ...], msgspec.Meta(min_length=1, max_length=5_000)]


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """An account after one entry. Versions count up by one; available = posted − held, else ValueError.

    Amounts are on the account's own side: a wallet's money is positive when there is some, and so is a receivable.
    """

    account: AccountId
    owner: Id
    posted_minor: SignedMinor
    held_minor: TotalMinor = 0
    available_minor: SignedMinor
    pending_in_minor: TotalMinor = 0
    version: Version
    as_of_us: Microseconds
    event_id: Id
    entry_id: DerivedId

    def __post_init__(self) -> None:
        if self.available_minor != self.posted_minor - self.held_minor:
            raise ValueError(f"available is {self.available_minor}, not posted {self.posted_minor} − {self.held_minor}")


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Payments and refunds of one merchant in one minute of business time."""

    merchant_id: Id
    minute_us: Microseconds
    """The minute's start."""
    payments: Count
    amount_minor: TotalMinor
    refunds: Count = 0
    refunded_minor: TotalMinor = 0


class Signal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fraud pattern matched: which, on whose wallet, over what window, and by what figures."""

    signal_id: DerivedId
    """Made of typology, wallet and window, so that the same match always has the same id."""
    typology: Typology
    wallet_id: Id
    at_us: Microseconds
    """When the pattern was complete, in event time."""
    window_start_us: Microseconds
    event_id: Id | None = None
    """The event that completed the pattern."""
    event_ids: Annotated[tuple[Id, ...], msgspec.Meta(max_length=200)] = ()
    payments: Count
    merchants: Count
    amount_minor: TotalMinor


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the fraud desk looks at: one wallet, one typology, from the first matching payment to the last so far."""

    alert_id: DerivedId
    typology: Typology
    wallet_id: Id
    first_at_us: Microseconds
    last_at_us: Microseconds
    payments: Count
    merchants: Count
    amount_minor: TotalMinor
    event_id: Id | None = None
    """The event that raised the alert, or moved it on."""
    signals: Count = 1

    def __post_init__(self) -> None:
        if self.last_at_us < self.first_at_us:
            raise ValueError("last_at_us is before first_at_us")


class Campaign(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A campaign that gives back a rate of each payment, up to a cap a payment and a budget in total."""

    campaign_id: Id
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    starts_at_us: Microseconds
    ends_at_us: Microseconds
    """The first microsecond after it."""
    rate_bp: BasisPoints
    cap_per_payment_minor: AmountMinor
    budget_minor: AmountMinor
    amount_min_minor: AmountOrZeroMinor = 0
    """Smaller payments earn nothing."""
    tenders: tuple[TenderKind, ...] = ()
    """Only what was paid with these counts; none named means all."""
    merchants: Annotated[tuple[Id, ...], msgspec.Meta(max_length=10_000)] = ()
    """Only payments at these; none named means everywhere."""
    funded_by: Literal["promo", "sponsor", "merchant"] = "promo"
    sponsor_id: Id | None = None

    def __post_init__(self) -> None:
        if self.ends_at_us <= self.starts_at_us:
            raise ValueError("ends_at_us is not after starts_at_us")
        if self.funded_by != "promo" and self.sponsor_id is None:
            raise ValueError(f"sponsor_id is missing, though funded by {self.funded_by}")


class FamilyTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What all entries of a lane so far debited and credited to accounts of one family (`U`, `M`, `A`, …)."""

    debit_minor: SumMinor
    credit_minor: SumMinor


Totals = dict[Family, FamilyTotal]


class SealedRange(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one partition in a window: ``[first_offset, next_offset)``, how many, and their Merkle root."""

    first_offset: Offset
    next_offset: Offset
    count: Offset
    root: Digest


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane wrote in ``[from_us, to_us)``, fixed for ever and chained to the seal before."""

    lane: Count
    number: Version
    """Counts up by one in a lane."""
    from_us: Microseconds
    to_us: Microseconds
    journal: SealedRange
    balances: SealedRange
    totals: Totals
    """Of the lane's entries from the first one to the window's end."""
    in_flight_minor: SignedMinor
    """The lane's account of legs in flight at the window's end."""
    previous: Digest
    """The hash of the lane's seal before; zeros for the first."""
    hash: Digest


class OpenRange(msgspec.Struct, frozen=True, kw_only=True):
    """A window of one partition that is not sealed yet, as far as it was read."""

    start_us: Microseconds
    end_us: Microseconds
    first_offset: Offset
    next_offset: Offset
    count: Offset
    peaks: tuple[bytes, ...]
    totals: Totals
    in_flight_minor: SignedMinor | None


class OpenSide(msgspec.Struct, frozen=True, kw_only=True):
    """How far one partition was read, and its windows that are not sealed yet."""

    next_offset: Offset
    parts: tuple[OpenRange, ...]


class SealState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a lane's sealer needs to go on after a restart."""

    number: Count
    to_us: Annotated[int, msgspec.Meta(ge=0)]
    hash: Digest
    totals: Totals
    in_flight_minor: SignedMinor
    journal: OpenSide
    balances: OpenSide


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Records whose offsets follow each other."""

    first_offset: Offset
    count: Offset


class SealLeaves(msgspec.Struct, frozen=True, kw_only=True):
    """The leaves of consecutive records of one partition, and the sealer's state behind them."""

    lane: Count
    side: Literal["journal", "balances"]
    runs: Annotated[tuple[Run, ...], msgspec.Meta(max_length=100_000)]
    leaves: bytes
    state: SealState


RECORD_TYPES: dict[str, Any] = {
    "journal-entry": Entry,
    "ledger-legs": Legs,
    "balance": Balance,
    "waiting-refund": WaitingRefund,
    "volume": Volume,
    "fraud-signal": Signal,
    "alert": Alert,
    "campaign": Campaign,
    "replayed-letter": ReplayedLetter,
    "seal": Seal,
    "seal-leaves": SealLeaves,
}
"""Name of a value's schema → its Struct."""
