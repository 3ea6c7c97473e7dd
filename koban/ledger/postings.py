"""The posting rules: what each event debits and credits. One small function a row of the domain's table.

Events are facts: the core service has decided, the books record. So a rule never refuses; what violates a limit is
posted all the same and named on the entry. A rule reads the balances of the event's own owner alone, never another's,
so that it decides the same whichever lanes and workers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from koban.events import Line
from koban.ledger.accounts import WALLET_CAP_MINOR, part
from koban.ledger.facts import Body, Fact, Tender

UNNAMED = "unnamed"
"""The bank, acquirer, sponsor or lot of an event that names none."""


class Balances(Protocol):
    """What a rule may ask."""

    def posted(self, account: str) -> int:
        """An account's balance in minor units on its normal side; 0 for an account that was never posted to."""
        ...


Rule = Callable[[Body, Balances], list[Line]]


class UnknownEventTypeError(LookupError):
    """No rule for an event type: the event is newer than these books."""


def lines_for(fact: Fact, balances: Balances) -> tuple[Line, ...]:
    """The lines that record a fact, debits positive; they sum to zero. Empty for an event that moves no money.

    Accounts of the house are named without a lane. Raises UnknownEventTypeError.
    """
    rule = RULES.get(fact.event_type)
    if rule is None:
        raise UnknownEventTypeError(fact.event_type)
    lines = rule(fact.body, balances)
    total = 0
    for line in lines:
        total += line.debit_minor
    assert total == 0, f"{fact.event_type} {fact.event_id} is out of balance by {total}"
    return tuple(lines)


# --- accounts


def money(wallet_id: str, kind: str, lot: str | None = None) -> str:
    """The account of a kind of money in a wallet."""
    if kind in _KINDS_WITH_LOT:
        return f"U.{part(wallet_id)}.{kind}.{lot or UNNAMED}"
    return f"U.{part(wallet_id)}.{kind}"


def held(wallet_id: str, kind: str, lot: str | None = None) -> str:
    """The account that holds a kind of money for a merchant."""
    if kind in _KINDS_WITH_LOT:
        return f"U.{part(wallet_id)}.held.{kind}.{lot or UNNAMED}"
    return f"U.{part(wallet_id)}.held.{kind}"


def tender_account(wallet_id: str, tender: Tender) -> str:
    """Where a tender's money comes from: the wallet, or what a card issuer or the pay-later book owes."""
    kind = tender.kind
    if kind in PLAIN_KINDS:
        return f"U.{part(wallet_id)}.{kind}"
    if kind == "card":
        return f"A.card_recv.{tender.lot or UNNAMED}"
    if kind == "paylater":
        return "A.paylater_recv"
    return money(wallet_id, kind, tender.lot)


def payable(body: Body) -> str:
    """What a merchant is owed."""
    return f"M.{part(body.merchant_id)}.payable"


def reserved(body: Body) -> str:
    """What a merchant has set aside for refunds."""
    return f"M.{part(body.merchant_id)}.refund_reserved"


def _merchant(body: Body, kind: str) -> str:
    return f"M.{part(body.merchant_id)}.{kind}"


def _campaign(body: Body, kind: str) -> str:
    return f"C.{part(body.campaign_id)}.{kind}"


def _lease(body: Body) -> str:
    """A shard's lease; the pot itself for a campaign without shards."""
    return _campaign(body, f"lease.{body.shard}" if body.shard else "available")


def _pending(body: Body) -> str:
    return f"U.{part(body.wallet_id)}.grant_pending.{body.campaign_id}"


_KINDS_WITH_LOT = ("points_ltd", "voucher")
PLAIN_KINDS = frozenset(("money", "money_lite", "points"))
"""Kinds of a wallet's own money that have one account each."""
_CAPPED_KINDS = ("money", "money_lite")


# --- how lines are put together


def _move(debit: str, credit: str, amount_minor: int) -> list[Line]:
    """One debit, one credit; nothing for an amount of zero."""
    return [Line(debit, amount_minor), Line(credit, -amount_minor)] if amount_minor else []


def _entry(*pairs: tuple[str, int]) -> list[Line]:
    """Lines of (account, debit), without those of zero."""
    return [Line(account, debit_minor) for account, debit_minor in pairs if debit_minor]


def _no_lines(body: Body, balances: Balances) -> list[Line]:
    return []


# --- top-ups


def _top_up_source(body: Body) -> str:
    if body.source == "bank":
        return _clearing(body.bank_id or body.funding_id)
    if body.source == "paylater":
        return "A.paylater_recv"
    return f"A.card_recv.{body.funding_id or body.source}"


def _clearing(bank: str | None) -> str:
    return f"A.bank_clearing.{bank or UNNAMED}"


def _top_up_completed(body: Body, balances: Balances) -> list[Line]:
    kind = "money" if body.verified and body.source == "bank" else "money_lite"
    return _move(_top_up_source(body), money(body.wallet_id, kind), body.amount_minor)


def _bank_clearing_settled(body: Body, balances: Balances) -> list[Line]:
    return _move("A.bank", _clearing(body.bank_id), body.amount_minor)


def _top_up_reversed(body: Body, balances: Balances) -> list[Line]:
    taken = _taken(money(body.wallet_id, "money"), body, balances)
    return [*taken, Line(_top_up_source(body), -body.amount_minor)]


def _taken(account: str, body: Body, balances: Balances) -> list[Line]:
    """Debits of the amount: what the account has, and a claim on the user for the rest."""
    there = min(body.amount_minor, max(balances.posted(account), 0))
    return _entry((account, there), (f"U.{part(body.wallet_id)}.clawback_due", body.amount_minor - there))


# --- payments


def _payment_authorized(body: Body, balances: Balances) -> list[Line]:
    wallet, lines = body.wallet_id, []
    for tender in body.tenders:
        lines += _move(tender_account(wallet, tender), held(wallet, tender.kind, tender.lot), tender.amount_minor)
    return lines


def _hold_ended(body: Body, balances: Balances) -> list[Line]:
    """The merchant takes its part in spend order; what it leaves goes back to where it came from."""
    wallet, lines, left = body.wallet_id, [], body.captured_minor
    for tender in body.tenders:
        taken = min(tender.amount_minor, left)
        left -= taken
        lines.append(Line(held(wallet, tender.kind, tender.lot), tender.amount_minor))
        lines += _entry((tender_account(wallet, tender), taken - tender.amount_minor))
    return [*lines, *_entry((payable(body), -body.captured_minor))]


def _hold_released(body: Body, balances: Balances) -> list[Line]:
    wallet, lines = body.wallet_id, []
    for tender in body.tenders:
        lines += _move(held(wallet, tender.kind, tender.lot), tender_account(wallet, tender), tender.amount_minor)
    return lines


def _payment_completed(body: Body, balances: Balances) -> list[Line]:
    wallet, lines = body.wallet_id, []
    for tender in body.tenders:
        lines.append(Line(tender_account(wallet, tender), tender.amount_minor))  # noqa: PERF401  # hot: no extra frame
    lines.append(Line(f"M.{part(body.merchant_id)}.payable", -body.amount_minor))
    return lines


def _payment_canceled(body: Body, balances: Balances) -> list[Line]:
    return [Line(line.account, -line.debit_minor) for line in _payment_completed(body, balances)]


# --- refunds


def _refund_requested(body: Body, balances: Balances) -> list[Line]:
    """Reserved without asking: the funds are another owner's. A merchant that lacks them shows as a breach there."""
    return _move(payable(body), reserved(body), body.amount_minor)


def _refund_completed(body: Body, balances: Balances) -> list[Line]:
    return [Line(reserved(body), body.amount_minor), *_given_back(body, balances)]


def _given_back(body: Body, balances: Balances) -> Iterable[Line]:
    """Credits to the tenders; what a kind of money has no room for waits in `over_limit`."""
    room: dict[str, int] = {}
    over = 0
    for tender in body.tenders:
        account, amount = tender_account(body.wallet_id, tender), tender.amount_minor
        if tender.kind in _CAPPED_KINDS:
            left = room.get(account)
            if left is None:
                left = max(WALLET_CAP_MINOR - balances.posted(account), 0)
            amount = min(amount, left)
            room[account] = left - amount
            over += tender.amount_minor - amount
        if amount:
            yield Line(account, -amount)
    if over:
        yield Line(f"U.{part(body.wallet_id)}.over_limit", -over)


# --- transfers and withdrawals


def _transfer_sent(body: Body, balances: Balances) -> list[Line]:
    return _move(money(body.wallet_id, body.kind), "L.p2p_transit", body.amount_minor)


def _transfer_accepted(body: Body, balances: Balances) -> list[Line]:
    return _move("L.p2p_transit", money(body.receiver_wallet_id, body.kind), body.amount_minor)


def _transfer_returned(body: Body, balances: Balances) -> list[Line]:
    return _move("L.p2p_transit", money(body.wallet_id, body.kind), body.amount_minor)


def _withdrawal_requested(body: Body, balances: Balances) -> list[Line]:
    """The fee comes on top of the amount."""
    return _entry(
        (money(body.wallet_id, "money"), body.amount_minor + body.fee_minor),
        ("L.withdraw_transit", -body.amount_minor),
        ("R.withdraw_fee", -body.fee_minor),
    )


def _withdrawal_paid(body: Body, balances: Balances) -> list[Line]:
    return _move("L.withdraw_transit", "A.bank", body.amount_minor)


def _withdrawal_failed(body: Body, balances: Balances) -> list[Line]:
    return [Line(line.account, -line.debit_minor) for line in _withdrawal_requested(body, balances)]


# --- settlements and payouts


def _settled(body: Body, balances: Balances) -> list[Line]:
    net = body.gross_minor - body.fee_minor - body.tax_minor - body.early_fee_minor
    return _entry(
        (payable(body), body.gross_minor),
        (_merchant(body, "payout_transit"), -net),
        ("R.fee", -body.fee_minor),
        ("L.tax", -body.tax_minor),
        ("R.early_payout_fee", -body.early_fee_minor),
    )


def _payout_paid(body: Body, balances: Balances) -> list[Line]:
    return _move(_merchant(body, "payout_transit"), "A.bank", body.amount_minor)


def _payout_failed(body: Body, balances: Balances) -> list[Line]:
    return _move(_merchant(body, "payout_transit"), payable(body), body.amount_minor)


# --- campaigns and cashback


def _campaign_funded(body: Body, balances: Balances) -> list[Line]:
    if body.sponsor == "merchant":
        source = _merchant(body, "campaign_wallet")
    elif body.sponsor == "sponsor":
        source = f"A.sponsor_recv.{body.sponsor_id or UNNAMED}"
    else:
        source = f"X.promo.{body.campaign_id}"
    return _move(source, _campaign(body, "available"), body.amount_minor)


def _budget_leased(body: Body, balances: Balances) -> list[Line]:
    return _move(_campaign(body, "available"), _lease(body), body.amount_minor)


def _lease_returned(body: Body, balances: Balances) -> list[Line]:
    return _move(_lease(body), _campaign(body, "available"), body.amount_minor)


def _cashback_accrued(body: Body, balances: Balances) -> list[Line]:
    return _move(_lease(body), _pending(body), body.amount_minor)


def _cashback_granted(body: Body, balances: Balances) -> list[Line]:
    """Paid from the pending grant; a grant without one comes out of the pot. A claim on the user is settled first."""
    due_account = f"U.{part(body.wallet_id)}.clawback_due"
    pending = min(body.amount_minor, max(balances.posted(_pending(body)), 0))
    due = min(body.amount_minor, max(balances.posted(due_account), 0))
    return _entry(
        (_pending(body), pending),
        (_campaign(body, "available"), body.amount_minor - pending),
        (due_account, -due),
        (money(body.wallet_id, "points"), due - body.amount_minor),
    )


def _cashback_canceled(body: Body, balances: Balances) -> list[Line]:
    return _move(_pending(body), _campaign(body, "available"), body.amount_minor)


def _cashback_clawed_back(body: Body, balances: Balances) -> list[Line]:
    taken = _taken(money(body.wallet_id, "points"), body, balances)
    return [*taken, Line(_campaign(body, "closed"), -body.amount_minor)]


def _clawback_written_off(body: Body, balances: Balances) -> list[Line]:
    return _move(f"X.promo.{body.campaign_id}", f"U.{part(body.wallet_id)}.clawback_due", body.amount_minor)


def _campaign_closed(body: Body, balances: Balances) -> list[Line]:
    return _move(_campaign(body, "available"), _campaign(body, "closed"), body.returned_minor)


def _points_expired(body: Body, balances: Balances) -> list[Line]:
    return _move(money(body.wallet_id, body.lot_kind, body.lot), "R.breakage", body.amount_minor)


def _adjusted(body: Body, balances: Balances) -> list[Line]:
    return [line for line in body.lines if line.debit_minor]


RULES: dict[str, Rule] = {
    "TopUpRequested": _no_lines,
    "TopUpFailed": _no_lines,
    "TopUpCompleted": _top_up_completed,
    "BankClearingSettled": _bank_clearing_settled,
    "TopUpReversed": _top_up_reversed,
    "PaymentAuthorized": _payment_authorized,
    "PaymentCaptured": _hold_ended,
    "PaymentVoided": _hold_released,
    "AuthorizationExpired": _hold_released,
    "PaymentCompleted": _payment_completed,
    "PaymentCanceled": _payment_canceled,
    "RefundRequested": _refund_requested,
    "RefundCompleted": _refund_completed,
    "TransferSent": _transfer_sent,
    "TransferAccepted": _transfer_accepted,
    "TransferDeclined": _transfer_returned,
    "TransferExpired": _transfer_returned,
    "WithdrawalRequested": _withdrawal_requested,
    "WithdrawalPaid": _withdrawal_paid,
    "WithdrawalFailed": _withdrawal_failed,
    "SettlementClosed": _settled,
    "EarlyPayoutRequested": _settled,
    "PayoutPaid": _payout_paid,
    "PayoutFailed": _payout_failed,
    "CampaignFunded": _campaign_funded,
    "BudgetLeased": _budget_leased,
    "LeaseReturned": _lease_returned,
    "CashbackAccrued": _cashback_accrued,
    "CashbackHeld": _no_lines,
    "CashbackReleased": _no_lines,
    "CashbackGranted": _cashback_granted,
    "CashbackCanceled": _cashback_canceled,
    "CashbackClawedBack": _cashback_clawed_back,
    "ClawbackWrittenOff": _clawback_written_off,
    "CampaignClosed": _campaign_closed,
    "PointsExpired": _points_expired,
    "FraudCompensated": _adjusted,
    "AdjustmentPosted": _adjusted,
    **dict.fromkeys(
        (
            "TicketIssued",
            "TicketRevealed",
            "TicketExpired",
            "MissionProgressed",
            "StepEvaluated",
            "SeedCommitted",
            "SeedRevealed",
            "SignedUp",
            "LoggedIn",
            "DeviceBound",
            "CardAdded",
            "PasswordReset",
        ),
        _no_lines,
    ),
}
"""Event type → its rule, in the order of the domain's table; every event type has one."""
