"""Every event of the wallet, typed: the one place that says what travels on the topics.

An event is a flat envelope with a typed ``body``. On the wire it is one JSON object; ``event_type`` tells which body
it carries. Amounts are integers in minor units of ``currency`` (yen have none, so one unit is one yen); points are
worth one yen each. Times are microseconds since the epoch in UTC: exact for every source, and still within the whole
numbers that a JavaScript client can hold. Ids are strings for the same reason.

Constraints live in the types, so that decoding is the check: a value that decodes is a valid event.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_type_hints

import msgspec

MAX_AMOUNT_MINOR = 1_000_000_000_000
"""No single amount may be larger: a bound against a misplaced factor, far above any wallet or campaign movement."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*\Z")]
Text = Annotated[str, msgspec.Meta(max_length=200)]
AmountMinor = Annotated[int, msgspec.Meta(gt=0, le=MAX_AMOUNT_MINOR)]
AmountOrZeroMinor = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT_MINOR)]
BasisPoints = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Microseconds = Annotated[int, msgspec.Meta(ge=1_262_304_000_000_000, le=4_102_444_800_000_000)]
"""UTC microseconds from 2010 to 2100: a clock outside it is broken, and must not move event time for everyone."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Kind(StrEnum):
    """Kinds of money in a wallet, in the order in which they are spent."""

    VOUCHER = "voucher"
    POINTS_LTD = "points_ltd"
    POINTS = "points"
    MONEY_LITE = "money_lite"
    MONEY = "money"


class Receivable(StrEnum):
    """Tenders that are no balance: somebody else owes the money."""

    CARD = "card"
    PAYLATER = "paylater"


TenderKind = Literal["voucher", "points_ltd", "points", "money_lite", "money", "card", "paylater"]
TransferKind = Literal["money_lite", "money"]
TopUpSource = Literal["bank", "card", "carrier", "paylater"]
CodeKind = Literal["MPM_STATIC", "MPM_DYNAMIC", "CPM", "ONLINE", "BILL"]
Currency = Literal["JPY"]


class Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who caused the event: a user, a merchant, a system, or a person of staff."""

    kind: Literal["user", "merchant", "system", "staff"]
    id: Id


class Tender(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a payment, paid with one kind of money. ``lot`` names the lot or programme of limited money."""

    kind: TenderKind
    amount_minor: AmountMinor
    lot: Id | None = None


Tenders = Annotated[tuple[Tender, ...], msgspec.Meta(min_length=1, max_length=10)]


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all bodies share. Unknown fields are allowed: a producer may be one version ahead of its consumers."""


class WalletBody(Body, frozen=True, kw_only=True, omit_defaults=True):
    """Of one wallet: ``wallet_id`` is the partition key, so that a wallet's events keep their order."""

    wallet_id: Id


class TopUp(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    amount_minor: AmountMinor
    source: TopUpSource
    verified: bool = False
    funding_id: Id | None = None
    currency: Currency = "JPY"


class TopUpEnded(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    amount_minor: AmountMinor
    source: TopUpSource = "bank"
    funding_id: Id | None = None
    currency: Currency = "JPY"


class BankClearing(Body, frozen=True, kw_only=True, omit_defaults=True):
    bank_id: Id
    amount_minor: AmountMinor
    currency: Currency = "JPY"


class Payment(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """A payment, or the authorisation of one. Σ tenders = ``amount_minor`` is checked with the event."""

    merchant_id: Id
    store_id: Id
    amount_minor: AmountMinor
    tenders: Tenders
    code: CodeKind = "MPM_STATIC"
    terminal_id: Id | None = None
    device_id: Id | None = None
    store_name: Text | None = None
    mcc: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")] | None = None
    memo: Text | None = None
    currency: Currency = "JPY"


class HoldEnded(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """Ends a hold: all tenders as authorised, and how much of them the merchant takes (zero when voided)."""

    merchant_id: Id
    store_id: Id
    authorized_minor: AmountMinor
    tenders: Tenders
    captured_minor: AmountOrZeroMinor = 0
    store_name: Text | None = None
    mcc: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")] | None = None
    device_id: Id | None = None
    currency: Currency = "JPY"


class Cancel(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """Takes back a whole payment on its own day: every line of it is reversed."""

    merchant_id: Id
    amount_minor: AmountMinor
    tenders: Tenders
    currency: Currency = "JPY"


class Refund(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """A refund of a part of a payment; ``tenders`` is the split over the tenders that paid."""

    refund_id: Id
    merchant_id: Id
    amount_minor: AmountMinor
    tenders: Tenders
    payment_at_us: Microseconds | None = None
    refunded_before_minor: AmountOrZeroMinor = 0
    currency: Currency = "JPY"


class Transfer(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """Money from one wallet to another; ``wallet_id`` is the sender's."""

    transfer_id: Id
    receiver_wallet_id: Id
    amount_minor: AmountMinor
    kind: TransferKind
    device_id: Id | None = None
    currency: Currency = "JPY"


class Withdrawal(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    withdrawal_id: Id
    amount_minor: AmountMinor
    fee_minor: AmountOrZeroMinor = 0
    currency: Currency = "JPY"


class Settlement(Body, frozen=True, kw_only=True, omit_defaults=True):
    merchant_id: Id
    settlement_id: Id
    period: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})?\Z")]
    gross_minor: AmountMinor
    fee_minor: AmountOrZeroMinor
    tax_minor: AmountOrZeroMinor
    fee_rate_bp: BasisPoints
    early_fee_minor: AmountOrZeroMinor = 0
    currency: Currency = "JPY"


class Payout(Body, frozen=True, kw_only=True, omit_defaults=True):
    merchant_id: Id
    payout_id: Id
    amount_minor: AmountMinor
    currency: Currency = "JPY"


class CampaignFunding(Body, frozen=True, kw_only=True, omit_defaults=True):
    """Money put into a campaign's pot. ``merchant_id`` is set when a merchant's campaign wallet pays."""

    campaign_id: Id
    amount_minor: AmountMinor
    sponsor: Literal["promo", "sponsor", "merchant"] = "promo"
    sponsor_id: Id | None = None
    merchant_id: Id | None = None
    approvals: Annotated[tuple[Id, ...], msgspec.Meta(min_length=2, max_length=10)]
    currency: Currency = "JPY"


class BudgetLease(Body, frozen=True, kw_only=True, omit_defaults=True):
    campaign_id: Id
    shard: Id
    epoch: Count
    seq: Count
    amount_minor: AmountMinor
    currency: Currency = "JPY"


class Cashback(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """A campaign's decision on a payment: what it was computed from, and what the caps and the pot left of it."""

    campaign_id: Id
    definition_hash: Id
    payment_id: Id
    amount_minor: AmountMinor
    basis_minor: AmountOrZeroMinor = 0
    rate_bp: BasisPoints = 0
    wanted_minor: AmountOrZeroMinor = 0
    budget_left_minor: AmountOrZeroMinor = 0
    due_at_us: Microseconds | None = None
    shard: Id | None = None
    currency: Currency = "JPY"


class CashbackFlag(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    campaign_id: Id
    payment_id: Id


class ClawbackWriteOff(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    campaign_id: Id
    amount_minor: AmountMinor
    approvals: Annotated[tuple[Id, ...], msgspec.Meta(min_length=1, max_length=10)]
    currency: Currency = "JPY"


class CampaignEnd(Body, frozen=True, kw_only=True, omit_defaults=True):
    campaign_id: Id
    returned_minor: AmountOrZeroMinor = 0
    currency: Currency = "JPY"


class PointsExpiry(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    lot: Id
    amount_minor: AmountMinor
    lot_kind: Literal["points_ltd", "voucher"] = "points_ltd"
    currency: Currency = "JPY"


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A line of a journal entry: a debit is positive, a credit negative, so that an entry's lines sum to zero."""

    account: Annotated[str, msgspec.Meta(min_length=3, max_length=160)]
    debit_minor: Annotated[int, msgspec.Meta(ge=-MAX_AMOUNT_MINOR, le=MAX_AMOUNT_MINOR)]


class Adjustment(Body, frozen=True, kw_only=True, omit_defaults=True):
    owner_id: Id
    lines: Annotated[tuple[Line, ...], msgspec.Meta(min_length=2, max_length=20)]
    approvals: Annotated[tuple[Id, ...], msgspec.Meta(min_length=2, max_length=10)]
    currency: Currency = "JPY"


class CampaignFact(Body, frozen=True, kw_only=True, omit_defaults=True):
    """A fact of a campaign that moves no money: a ticket, a step, a seed."""

    campaign_id: Id
    wallet_id: Id | None = None
    payment_id: Id | None = None
    facts: dict[Annotated[str, msgspec.Meta(max_length=64)], str | int] = {}


class Account(WalletBody, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to the wallet's owner: a log-in, a device, a card."""

    device_id: Id | None = None
    ip: Annotated[str, msgspec.Meta(max_length=45)] | None = None
    card_hash: Id | None = None
    ok: bool = True
    referral_of: Id | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event_type"):
    """The envelope. ``aggregate_seq`` is gap-free within ``aggregate_id``; ``correlation_id`` is the payment."""

    event_id: Id
    schema_version: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    occurred_at_us: Microseconds
    recorded_at_us: Microseconds | None = None
    aggregate: Literal["payment", "wallet", "merchant", "campaign", "ledger"]
    aggregate_id: Id
    aggregate_seq: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
    correlation_id: Id | None = None
    causation_id: Id | None = None
    producer: Id = "unknown"
    actor: Actor | None = None
    reason: Text | None = None
    body: Any


def _event(name: str, body: type[msgspec.Struct], doc: str) -> type[Event]:
    struct = msgspec.defstruct(
        name,
        [("body", body)],
        bases=(Event,),
        namespace={"__doc__": doc},
        module=__name__,
        frozen=True,
        kw_only=True,
        omit_defaults=True,
        tag_field="event_type",
        tag=name,
    )
    assert issubclass(struct, Event)
    return struct


_CATALOGUE: tuple[tuple[str, type[msgspec.Struct], str], ...] = (
    ("TopUpRequested", TopUp, "A top-up was asked for; no money has moved."),
    ("TopUpFailed", TopUpEnded, "A top-up came to nothing."),
    ("TopUpCompleted", TopUp, "Money came into the wallet."),
    ("BankClearingSettled", BankClearing, "The bank paid what it owed for top-ups."),
    ("TopUpReversed", TopUpEnded, "The bank took a top-up back."),
    ("PaymentAuthorized", Payment, "Money is held for a merchant."),
    ("PaymentCaptured", HoldEnded, "The merchant took all or part of a hold; the rest is free again."),
    ("PaymentVoided", HoldEnded, "The merchant gave a hold up."),
    ("AuthorizationExpired", HoldEnded, "A hold ran out."),
    ("PaymentCompleted", Payment, "A payment without a hold."),
    ("PaymentCanceled", Cancel, "A payment was taken back on its own day."),
    ("RefundRequested", Refund, "A merchant asked for a refund; its funds are reserved."),
    ("RefundCompleted", Refund, "A refund reached the wallet."),
    ("TransferSent", Transfer, "Money left a wallet for another."),
    ("TransferAccepted", Transfer, "The receiver took the transfer."),
    ("TransferDeclined", Transfer, "The receiver refused the transfer."),
    ("TransferExpired", Transfer, "Nobody took the transfer in time."),
    ("WithdrawalRequested", Withdrawal, "Money is on its way to the owner's bank."),
    ("WithdrawalPaid", Withdrawal, "The bank paid the withdrawal out."),
    ("WithdrawalFailed", Withdrawal, "The withdrawal came back."),
    ("SettlementClosed", Settlement, "A merchant's sales of a period were settled."),
    ("EarlyPayoutRequested", Settlement, "A merchant asked for its money before the period's end."),
    ("PayoutPaid", Payout, "A payout reached the merchant's bank."),
    ("PayoutFailed", Payout, "A payout came back."),
    ("CampaignFunded", CampaignFunding, "Money was put into a campaign's pot."),
    ("BudgetLeased", BudgetLease, "A shard of a campaign got a part of the pot to spend."),
    ("LeaseReturned", BudgetLease, "A shard gave back what it did not spend."),
    ("CashbackAccrued", Cashback, "Cashback was promised for a payment."),
    ("CashbackHeld", CashbackFlag, "A promised cashback waits for a review."),
    ("CashbackReleased", CashbackFlag, "A review let a promised cashback go."),
    ("CashbackGranted", Cashback, "Cashback reached the wallet."),
    ("CashbackCanceled", Cashback, "A promised cashback was taken back before it was granted."),
    ("CashbackClawedBack", Cashback, "A granted cashback was taken back."),
    ("ClawbackWrittenOff", ClawbackWriteOff, "A claim on a user was given up."),
    ("CampaignClosed", CampaignEnd, "A campaign ended; what is left goes back to its sponsor."),
    ("PointsExpired", PointsExpiry, "A lot of limited points, or a voucher, ran out."),
    ("FraudCompensated", Adjustment, "A victim of fraud was compensated."),
    ("AdjustmentPosted", Adjustment, "Two persons corrected the books."),
    ("TicketIssued", CampaignFact, "A lottery ticket was issued."),
    ("TicketRevealed", CampaignFact, "A lottery ticket was opened."),
    ("TicketExpired", CampaignFact, "A lottery ticket ran out."),
    ("MissionProgressed", CampaignFact, "A mission moved on."),
    ("StepEvaluated", CampaignFact, "A period's step rate was set."),
    ("SeedCommitted", CampaignFact, "The hash of a draw's seed was published."),
    ("SeedRevealed", CampaignFact, "A draw's seed was published."),
    ("SignedUp", Account, "A wallet was opened."),
    ("LoggedIn", Account, "The owner logged in, or failed to (ok = false)."),
    ("DeviceBound", Account, "A device was bound to the wallet."),
    ("CardAdded", Account, "A card was added, or failed to be (ok = false)."),
    ("PasswordReset", Account, "The password was reset."),
)

EVENT_TYPES: dict[str, type[Event]] = {name: _event(name, body, doc) for name, body, doc in _CATALOGUE}
"""Event type name → its Struct, in the order of the domain's table."""

PLATFORM_EVENTS = frozenset(("CashbackAccrued", "CashbackGranted", "CashbackCanceled", "CashbackClawedBack"))
"""What only the platform's own campaign engine may say, on a topic of its own: whoever could send these could pay out
a campaign's pot."""

AnyEvent: Any = Union[tuple(EVENT_TYPES.values())]  # noqa: UP007  # made of a tuple: `|` has no such form


def partition_key(event: Event) -> str:
    """The owner whose order must be kept: the payer's wallet, else the campaign, the merchant or the account owner."""
    body = event.body
    for field in ("wallet_id", "campaign_id", "merchant_id", "owner_id", "bank_id"):
        owner = getattr(body, field, None)
        if owner is not None:
            return str(owner)
    raise AssertionError(f"{type(event).__name__} has no owner to be keyed by")


def payment_id(event: Event) -> str | None:
    """The payment that the event belongs to, if any."""
    return event.correlation_id or (event.aggregate_id if event.aggregate == "payment" else None)


_ALWAYS_CONSISTENT = frozenset(
    body
    for _, body, _ in _CATALOGUE
    if not {"tenders", "lines", "approvals", "receiver_wallet_id", "gross_minor"} & set(body.__struct_fields__)
)
"""Bodies whose fields can't contradict each other: no sums, no two persons or ends."""

_SUMS_ALONE = frozenset({Payment, Cancel, Refund})
"""Bodies whose tenders are all that can contradict something."""


def inconsistency(event: Event) -> str | None:
    """What the types can't say: sums and bounds between fields. None when the event is consistent."""
    body = event.body
    if type(body) in _ALWAYS_CONSISTENT:
        return None
    tenders = getattr(body, "tenders", None)
    if tenders is not None:
        total = sum(tender.amount_minor for tender in tenders)
        expected = body.authorized_minor if isinstance(body, HoldEnded) else body.amount_minor
        if total != expected:
            return f"body.tenders sum to {total}, but the amount is {expected}"
        if type(body) in _SUMS_ALONE:
            return None
    if isinstance(body, HoldEnded) and body.captured_minor > body.authorized_minor:
        return f"body.captured_minor is {body.captured_minor}, above the authorised {body.authorized_minor}"
    if isinstance(body, Settlement) and body.fee_minor + body.tax_minor + body.early_fee_minor > body.gross_minor:
        return "body.fee_minor, tax_minor and early_fee_minor together are above body.gross_minor"
    if isinstance(body, Adjustment) and sum(line.debit_minor for line in body.lines) != 0:
        return f"body.lines sum to {sum(line.debit_minor for line in body.lines)}, not to 0"
    approvals = getattr(body, "approvals", ())
    if len(set(approvals)) != len(approvals):
        return "body.approvals must be different persons"
    if isinstance(body, Transfer) and body.receiver_wallet_id == body.wallet_id:
        return "body.receiver_wallet_id is the sender"
    return None


def body_type(name: str) -> type[msgspec.Struct]:
    """The Struct of an event type's body. Raises KeyError for an unknown type."""
    hint: type[msgspec.Struct] = get_type_hints(EVENT_TYPES[name])["body"]
    return hint


KINDS: tuple[str, ...] = get_args(TenderKind)
