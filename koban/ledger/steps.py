"""The steps of a life: for each event type that is judged, the judge, what its entry notes, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from koban.events import Line
from koban.ledger import payments, transits
from koban.ledger.facts import Fact, StoredEntry
from koban.ledger.lives import Change, Judge, Store, head_of
from koban.ledger.postings import payable
from koban.ledger.refusals import APPROVALS_MIN, Refusal, RefusalCode
from koban.records import Posting


class Note(NamedTuple):
    """What an entry says besides its lines, so that the store can be rebuilt from the journal."""

    reference_id: str | None = None
    counterparty: str | None = None
    split: tuple[Line, ...] = ()


class Step(NamedTuple):
    """How an event type is judged, noted and applied."""

    judge: Judge
    apply: Change | None = None
    note: Callable[[Fact], Note] | None = None


def judge_adjustment(fact: Fact, store: Store) -> Refusal | None:
    """AdjustmentPosted, FraudCompensated: explicit lines that sum to zero, by two persons."""
    total = sum(line.debit_minor for line in fact.body.lines)
    if total:
        return Refusal(RefusalCode.UNBALANCED, f"the lines sum to {total}, not to 0")
    return judge_approvals(fact, store)


def judge_approvals(fact: Fact, store: Store) -> Refusal | None:
    """CampaignFunded, and whatever else needs two persons: different ones."""
    persons = len(set(fact.body.approvals))
    if persons < APPROVALS_MIN:
        return Refusal(RefusalCode.TWO_PERSONS, f"approved by {persons}, and {APPROVALS_MIN} different persons must")
    return None


def _hold(fact: Fact) -> Note:
    return Note(counterparty=payable(fact.body))


def _refund(fact: Fact) -> Note:
    split = tuple(Line(account, -amount_minor) for account, amount_minor in payments.split_of(fact).items())
    return Note(reference_id=fact.body.refund_id, split=split)


def _transfer(fact: Fact) -> Note:
    return Note(reference_id=fact.body.transfer_id, counterparty=transits.transfer_accounts(fact.body)[1])


def _withdrawal(fact: Fact) -> Note:
    return Note(reference_id=fact.body.withdrawal_id)


_TRANSFER_END = Step(transits.judge_transfer_end, transits.apply_transfer_end, _transfer)
_WITHDRAWAL_END = Step(transits.judge_withdrawal_end, transits.apply_withdrawal_end, _withdrawal)


def _never(fact: Fact, store: Store) -> Refusal | None:
    return None


STEPS: dict[str, Step] = {
    "PaymentAuthorized": Step(payments.judge_payment, payments.apply_authorization, _hold),
    "PaymentCaptured": Step(payments.judge_hold_end, payments.apply_capture),
    "PaymentVoided": Step(payments.judge_hold_end, payments.apply_void),
    "AuthorizationExpired": Step(payments.judge_hold_end, payments.apply_expiry),
    "PaymentCompleted": Step(payments.judge_payment, payments.apply_payment),
    "PaymentCanceled": Step(payments.judge_cancel, payments.apply_cancel),
    "RefundRequested": Step(payments.judge_refund_request, payments.apply_refund_request, _refund),
    "RefundCompleted": Step(payments.judge_refund_end, payments.apply_refund_end, _refund),
    "TransferSent": Step(transits.judge_transfer, transits.apply_transfer, _transfer),
    "TransferAccepted": _TRANSFER_END,
    "TransferDeclined": _TRANSFER_END,
    "TransferExpired": _TRANSFER_END,
    "WithdrawalRequested": Step(transits.judge_withdrawal, transits.apply_withdrawal, _withdrawal),
    "WithdrawalPaid": _WITHDRAWAL_END,
    "WithdrawalFailed": _WITHDRAWAL_END,
    "CampaignFunded": Step(judge_approvals),
    "PointsExpired": Step(_never, payments.apply_lot_expiry),
    "FraudCompensated": Step(judge_adjustment),
    "AdjustmentPosted": Step(judge_adjustment),
}
"""Event type → its step, in the order of the domain's table. All other types are facts that nothing contradicts."""


def apply(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """Brings a store up to date with an entry of the journal, the lane's entries in their order; `owner` is its key."""
    step = STEPS.get(entry.event_type)
    if step is not None and step.apply is not None and entry.entry_id == entry.event_id:
        step.apply(entry, owner, store)
        store.clock_us = max(store.clock_us, entry.occurred_at_us)


def began_at_us(key: str, life: bytes) -> int | None:
    """When a life of a store began, in UTC microseconds; None while something of it is open. See `Store`."""
    if not key.startswith("/"):
        return payments.payment_began_at_us(life)
    return head_of(life).at_us if key.startswith(payments.LOT) else transits.transit_began_at_us(life)
