"""What the ledger reads of the records it takes in, and nothing else.

The gate has checked each event in full, and legs and balances are the ledger's own. Decoding just these fields, without
the checks, costs a fifth of decoding the typed event; the names are those of `koban.events` and `koban.records`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from koban.events import Line
from koban.records import WaitingRefund


class Tender(msgspec.Struct, frozen=True, gc=False):
    kind: str
    amount_minor: int
    lot: str | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    """The fields of all bodies that a posting rule reads. A missing id is empty and names no account."""

    wallet_id: str = ""
    amount_minor: int = 0
    merchant_id: str = ""
    tenders: tuple[Tender, ...] = ()
    source: str = "bank"
    verified: bool = False
    funding_id: str | None = None
    bank_id: str = ""
    captured_minor: int = 0
    refund_id: str = ""
    transfer_id: str = ""
    withdrawal_id: str = ""
    receiver_wallet_id: str = ""
    kind: str = ""
    fee_minor: int = 0
    tax_minor: int = 0
    early_fee_minor: int = 0
    gross_minor: int = 0
    campaign_id: str = ""
    sponsor: str = "promo"
    sponsor_id: str | None = None
    shard: str | None = None
    returned_minor: int = 0
    lot: str = ""
    lot_kind: str = "points_ltd"
    lines: tuple[Line, ...] = ()
    approvals: tuple[str, ...] = ()
    currency: str = "JPY"


class Fact(msgspec.Struct, frozen=True, gc=False):
    """An event as the ledger sees it. Times are UTC microseconds."""

    event_type: str
    event_id: Annotated[str, msgspec.Meta(min_length=1)]
    occurred_at_us: int
    aggregate: str
    aggregate_id: str
    body: Body
    correlation_id: str | None = None

    @property
    def payment_id(self) -> str | None:
        """The payment that the event belongs to, if any."""
        return self.correlation_id or (self.aggregate_id if self.aggregate == "payment" else None)


class ArrivedLeg(msgspec.Struct, frozen=True, gc=False):
    """A leg from another lane."""

    entry_id: str
    event_id: str
    account: str
    debit_minor: int
    occurred_at_us: int
    event_type: str = ""
    payment_id: str | None = None
    reference_id: str | None = None
    claim_minor: int = 0


class ArrivedLegs(msgspec.Struct, frozen=True, gc=False):
    """The legs of one record."""

    legs: tuple[ArrivedLeg, ...]


class StoredBalance(msgspec.Struct, frozen=True, gc=False):
    """What a lane's state is rebuilt from."""

    account: str
    posted_minor: int
    version: int


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """What the lives of payments, transfers and withdrawals are rebuilt from: an entry of the journal."""

    entry_id: str
    event_id: str
    event_type: str
    occurred_at_us: int
    payment_id: str | None = None
    lines: tuple[Line, ...] = ()
    reference_id: str | None = None
    counterparty: str | None = None
    split: tuple[Line, ...] = ()


decode_fact = msgspec.json.Decoder(Fact).decode
"""The fact in a valid event's JSON. Raises msgspec.DecodeError when it is none."""
decode_legs = msgspec.json.Decoder(ArrivedLegs).decode
decode_entry = msgspec.json.Decoder(StoredEntry).decode
decode_waiting = msgspec.json.Decoder(WaitingRefund).decode
decode_balance = msgspec.json.Decoder(StoredBalance).decode
