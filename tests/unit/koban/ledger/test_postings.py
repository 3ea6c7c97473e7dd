"""The posting rules, row by row: each case reads like the domain's table."""

from __future__ import annotations

import msgspec
import pytest

from koban.events import EVENT_TYPES
from koban.ledger.facts import Body, Fact
from koban.ledger.postings import RULES, UnknownEventTypeError, lines_for

PAYMENT = {"wallet_id": "u", "merchant_id": "m", "amount_minor": 1000}
MIXED = [
    {"kind": "voucher", "amount_minor": 100, "lot": "v1"},
    {"kind": "points_ltd", "amount_minor": 150, "lot": "l1"},
    {"kind": "points", "amount_minor": 50},
    {"kind": "money_lite", "amount_minor": 200},
    {"kind": "money", "amount_minor": 500},
]
CASHBACK = {"wallet_id": "u", "campaign_id": "c", "payment_id": "p", "amount_minor": 100}
SETTLEMENT = {"merchant_id": "m", "gross_minor": 10_000, "fee_minor": 160, "tax_minor": 16}


class Balances(dict[str, int]):
    """Balances as a table: what isn't there is zero."""

    def posted(self, account: str) -> int:
        return self.get(account, 0)


def money(amount_minor: int, kind: str = "money", **more: str) -> dict[str, object]:
    return {"kind": kind, "amount_minor": amount_minor, **more}


def posted(event_type: str, body: dict[str, object], balances: dict[str, int] | None = None) -> dict[str, int]:
    """Account → Σ debits of the lines that an event gives."""
    fact = Fact(event_type, "e", 1, "payment", "p", msgspec.convert(body, Body))
    result: dict[str, int] = {}
    for line in lines_for(fact, Balances(balances or {})):
        result[line.account] = result.get(line.account, 0) + line.debit_minor
    return result


CASES = [
    # event, body, account → debit (credits negative)
    (
        "TopUpCompleted",
        {"wallet_id": "u", "amount_minor": 500, "source": "bank", "verified": True, "funding_id": "b"},
        {"A.bank_clearing.b": 500, "U.u.money": -500},
    ),
    (
        "TopUpCompleted",
        {"wallet_id": "u", "amount_minor": 500, "source": "bank"},
        {"A.bank_clearing.unnamed": 500, "U.u.money_lite": -500},
    ),
    (
        "TopUpCompleted",
        {"wallet_id": "u", "amount_minor": 500, "source": "card", "verified": True, "funding_id": "visa"},
        {"A.card_recv.visa": 500, "U.u.money_lite": -500},
    ),
    (
        "TopUpCompleted",
        {"wallet_id": "u", "amount_minor": 500, "source": "carrier"},
        {"A.card_recv.carrier": 500, "U.u.money_lite": -500},
    ),
    (
        "TopUpCompleted",
        {"wallet_id": "u", "amount_minor": 500, "source": "paylater"},
        {"A.paylater_recv": 500, "U.u.money_lite": -500},
    ),
    ("BankClearingSettled", {"bank_id": "b", "amount_minor": 9}, {"A.bank": 9, "A.bank_clearing.b": -9}),
    (
        "PaymentAuthorized",
        {**PAYMENT, "tenders": [money(300, "points"), money(700)]},
        {"U.u.points": 300, "U.u.held.points": -300, "U.u.money": 700, "U.u.held.money": -700},
    ),
    (
        "PaymentAuthorized",
        {**PAYMENT, "tenders": [money(1000, "card")]},
        {"A.card_recv.unnamed": 1000, "U.u.held.card": -1000},
    ),
    (
        "PaymentCaptured",
        {**PAYMENT, "captured_minor": 1000, "tenders": [money(300, "points"), money(700)]},
        {"U.u.held.points": 300, "U.u.held.money": 700, "M.m.payable": -1000},
    ),
    (
        "PaymentCaptured",
        {**PAYMENT, "captured_minor": 400, "tenders": [money(300, "points"), money(700)]},
        {"U.u.held.points": 300, "U.u.held.money": 700, "U.u.money": -600, "M.m.payable": -400},
    ),
    (
        "PaymentCaptured",
        {**PAYMENT, "captured_minor": 0, "tenders": [money(1000, "card", lot="visa")]},
        {"U.u.held.card": 1000, "A.card_recv.visa": -1000},
    ),
    (
        "PaymentVoided",
        {**PAYMENT, "tenders": [money(300, "points_ltd", lot="l1"), money(700)]},
        {"U.u.held.points_ltd.l1": 300, "U.u.points_ltd.l1": -300, "U.u.held.money": 700, "U.u.money": -700},
    ),
    ("AuthorizationExpired", {**PAYMENT, "tenders": [money(5)]}, {"U.u.held.money": 5, "U.u.money": -5}),
    (
        "PaymentCompleted",
        {**PAYMENT, "tenders": MIXED},
        {
            "U.u.voucher.v1": 100,
            "U.u.points_ltd.l1": 150,
            "U.u.points": 50,
            "U.u.money_lite": 200,
            "U.u.money": 500,
            "M.m.payable": -1000,
        },
    ),
    (
        "PaymentCompleted",
        {**PAYMENT, "tenders": [money(400, "card", lot="visa"), money(600, "paylater")]},
        {"A.card_recv.visa": 400, "A.paylater_recv": 600, "M.m.payable": -1000},
    ),
    (
        "PaymentCanceled",
        {**PAYMENT, "tenders": [money(300, "points"), money(700)]},
        {"M.m.payable": 1000, "U.u.points": -300, "U.u.money": -700},
    ),
    ("RefundRequested", {**PAYMENT, "tenders": [money(1000)]}, {"M.m.payable": 1000, "M.m.refund_reserved": -1000}),
    (
        "RefundCompleted",
        {**PAYMENT, "tenders": [money(300, "card", lot="visa"), money(700)]},
        {"M.m.refund_reserved": 1000, "A.card_recv.visa": -300, "U.u.money": -700},
    ),
    (
        "TransferSent",
        {"wallet_id": "u", "receiver_wallet_id": "v", "amount_minor": 7, "kind": "money_lite"},
        {"U.u.money_lite": 7, "L.p2p_transit": -7},
    ),
    (
        "TransferAccepted",
        {"wallet_id": "u", "receiver_wallet_id": "v", "amount_minor": 7, "kind": "money"},
        {"L.p2p_transit": 7, "U.v.money": -7},
    ),
    (
        "TransferDeclined",
        {"wallet_id": "u", "receiver_wallet_id": "v", "amount_minor": 7, "kind": "money"},
        {"L.p2p_transit": 7, "U.u.money": -7},
    ),
    (
        "TransferExpired",
        {"wallet_id": "u", "receiver_wallet_id": "v", "amount_minor": 7, "kind": "money_lite"},
        {"L.p2p_transit": 7, "U.u.money_lite": -7},
    ),
    (
        "WithdrawalRequested",
        {"wallet_id": "u", "amount_minor": 1000, "fee_minor": 100},
        {"U.u.money": 1100, "L.withdraw_transit": -1000, "R.withdraw_fee": -100},
    ),
    ("WithdrawalPaid", {"wallet_id": "u", "amount_minor": 1000}, {"L.withdraw_transit": 1000, "A.bank": -1000}),
    (
        "WithdrawalFailed",
        {"wallet_id": "u", "amount_minor": 1000, "fee_minor": 100},
        {"L.withdraw_transit": 1000, "R.withdraw_fee": 100, "U.u.money": -1100},
    ),
    (
        "SettlementClosed",
        SETTLEMENT,
        {"M.m.payable": 10_000, "M.m.payout_transit": -9824, "R.fee": -160, "L.tax": -16},
    ),
    (
        "EarlyPayoutRequested",
        {**SETTLEMENT, "early_fee_minor": 58},
        {"M.m.payable": 10_000, "M.m.payout_transit": -9766, "R.fee": -160, "L.tax": -16, "R.early_payout_fee": -58},
    ),
    ("PayoutPaid", {"merchant_id": "m", "amount_minor": 9824}, {"M.m.payout_transit": 9824, "A.bank": -9824}),
    ("PayoutFailed", {"merchant_id": "m", "amount_minor": 9824}, {"M.m.payout_transit": 9824, "M.m.payable": -9824}),
    ("CampaignFunded", {"campaign_id": "c", "amount_minor": 9}, {"X.promo.c": 9, "C.c.available": -9}),
    (
        "CampaignFunded",
        {"campaign_id": "c", "amount_minor": 9, "sponsor": "sponsor", "sponsor_id": "s"},
        {"A.sponsor_recv.s": 9, "C.c.available": -9},
    ),
    (
        "CampaignFunded",
        {"campaign_id": "c", "amount_minor": 9, "sponsor": "merchant", "merchant_id": "m"},
        {"M.m.campaign_wallet": 9, "C.c.available": -9},
    ),
    (
        "BudgetLeased",
        {"campaign_id": "c", "shard": "s1", "amount_minor": 9},
        {"C.c.available": 9, "C.c.lease.s1": -9},
    ),
    (
        "LeaseReturned",
        {"campaign_id": "c", "shard": "s1", "amount_minor": 9},
        {"C.c.lease.s1": 9, "C.c.available": -9},
    ),
    ("CashbackAccrued", {**CASHBACK, "shard": "s1"}, {"C.c.lease.s1": 100, "U.u.grant_pending.c": -100}),
    ("CashbackAccrued", CASHBACK, {"C.c.available": 100, "U.u.grant_pending.c": -100}),
    ("CashbackGranted", CASHBACK, {"C.c.available": 100, "U.u.points": -100}),
    ("CashbackCanceled", CASHBACK, {"U.u.grant_pending.c": 100, "C.c.available": -100}),
    (
        "ClawbackWrittenOff",
        {"wallet_id": "u", "campaign_id": "c", "amount_minor": 9},
        {"X.promo.c": 9, "U.u.clawback_due": -9},
    ),
    ("CampaignClosed", {"campaign_id": "c", "returned_minor": 9}, {"C.c.available": 9, "C.c.closed": -9}),
    ("CampaignClosed", {"campaign_id": "c"}, {}),
    (
        "PointsExpired",
        {"wallet_id": "u", "lot": "l1", "amount_minor": 9},
        {"U.u.points_ltd.l1": 9, "R.breakage": -9},
    ),
    (
        "AdjustmentPosted",
        {"lines": [{"account": "X.fraud", "debit_minor": 9}, {"account": "U.u.money", "debit_minor": -9}]},
        {"X.fraud": 9, "U.u.money": -9},
    ),
    (
        "FraudCompensated",
        {"lines": [{"account": "X.fraud", "debit_minor": 9}, {"account": "U.u.points", "debit_minor": -9}]},
        {"X.fraud": 9, "U.u.points": -9},
    ),
]
STATE_CASES = [
    # event, body, balances before, account → debit
    (
        "TopUpReversed",
        {"wallet_id": "u", "amount_minor": 500, "funding_id": "b"},
        {"U.u.money": 800},
        {"U.u.money": 500, "A.bank_clearing.b": -500},
    ),
    (
        "TopUpReversed",
        {"wallet_id": "u", "amount_minor": 500, "funding_id": "b"},
        {"U.u.money": 200},
        {"U.u.money": 200, "U.u.clawback_due": 300, "A.bank_clearing.b": -500},
    ),
    (
        "TopUpReversed",
        {"wallet_id": "u", "amount_minor": 500, "funding_id": "b"},
        {"U.u.money": -10},
        {"U.u.clawback_due": 500, "A.bank_clearing.b": -500},
    ),
    (
        "RefundCompleted",
        {**PAYMENT, "tenders": [money(1000)]},
        {"U.u.money": 999_400},
        {"M.m.refund_reserved": 1000, "U.u.money": -600, "U.u.over_limit": -400},
    ),
    (
        "RefundCompleted",
        {**PAYMENT, "tenders": [money(500), money(500)]},
        {"U.u.money": 999_400},
        {"M.m.refund_reserved": 1000, "U.u.money": -600, "U.u.over_limit": -400},
    ),
    (
        "RefundCompleted",
        {**PAYMENT, "tenders": [money(1000, "money_lite")]},
        {"U.u.money_lite": 1_000_000},
        {"M.m.refund_reserved": 1000, "U.u.over_limit": -1000},
    ),
    ("CashbackGranted", CASHBACK, {"U.u.grant_pending.c": 100}, {"U.u.grant_pending.c": 100, "U.u.points": -100}),
    (
        "CashbackGranted",
        CASHBACK,
        {"U.u.clawback_due": 30},
        {"C.c.available": 100, "U.u.clawback_due": -30, "U.u.points": -70},
    ),
    ("CashbackGranted", CASHBACK, {"U.u.clawback_due": 300}, {"C.c.available": 100, "U.u.clawback_due": -100}),
    ("CashbackClawedBack", CASHBACK, {"U.u.points": 100}, {"U.u.points": 100, "C.c.closed": -100}),
    (
        "CashbackClawedBack",
        CASHBACK,
        {"U.u.points": 40},
        {"U.u.points": 40, "U.u.clawback_due": 60, "C.c.closed": -100},
    ),
    ("CashbackClawedBack", CASHBACK, {}, {"U.u.clawback_due": 100, "C.c.closed": -100}),
]
SILENT = [
    "TopUpRequested", "TopUpFailed", "CashbackHeld", "CashbackReleased", "TicketIssued", "TicketRevealed",
    "TicketExpired", "MissionProgressed", "StepEvaluated", "SeedCommitted", "SeedRevealed", "SignedUp", "LoggedIn",
    "DeviceBound", "CardAdded", "PasswordReset",
]  # fmt: skip


@pytest.mark.parametrize(("event_type", "body", "expected"), CASES)
def test_a_row_posts_its_lines(event_type, body, expected):
    """Each event debits and credits what the domain's table says."""
    assert posted(event_type, body) == expected


@pytest.mark.parametrize(("event_type", "body", "balances", "expected"), STATE_CASES)
def test_a_row_posts_by_the_owners_balances(event_type, body, balances, expected):
    """Shortfalls become claims, claims are settled first, and what is above the cap waits."""
    assert posted(event_type, body, balances) == expected


@pytest.mark.parametrize("event_type", SILENT)
def test_an_event_that_moves_no_money_posts_nothing(event_type):
    """Requests, failures, flags and campaign facts leave the books alone."""
    assert posted(event_type, {"wallet_id": "u", "amount_minor": 5, "campaign_id": "c"}) == {}


def test_every_event_type_has_a_rule_and_a_case():
    """No event of the contracts is unknown to the books, and none is untested."""
    assert set(RULES) == set(EVENT_TYPES)
    assert {case[0] for case in CASES} | {case[0] for case in STATE_CASES} | set(SILENT) == set(RULES)


def test_an_event_type_without_a_rule_is_an_error():
    """An event that is newer than the books is not passed over in silence."""
    with pytest.raises(UnknownEventTypeError, match="MoonLanded"):
        posted("MoonLanded", {})


def test_lines_out_of_balance_are_never_posted():
    """An entry that does not sum to zero is a programmer's error."""
    with pytest.raises(AssertionError, match="out of balance by 5"):
        posted("AdjustmentPosted", {"lines": [{"account": "X.fraud", "debit_minor": 5}]})


def test_an_id_with_dots_names_no_other_account():
    """A wallet called `u.held` is not the held money of wallet `u`."""
    lines = posted("PaymentCompleted", {**PAYMENT, "wallet_id": "u.held", "tenders": [money(1000)]})
    assert lines == {"U.u%2Eheld.money": 1000, "M.m.payable": -1000}
