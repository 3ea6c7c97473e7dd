"""What may become of a payment, a transfer, a withdrawal: each refusal at its exact boundary, row by row."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from koban.ledger.book import Book
from koban.ledger.facts import Body, Fact
from koban.ledger.refusals import Refusal, RefusalCode, cancellable_before_us, refundable_until_us
from koban.ledger.steps import STEPS
from koban.records import Posting

DAY_US = 86_400_000_000
PAID_AT_US = int(datetime(2026, 4, 1, 3, 0, tzinfo=UTC).timestamp()) * 1_000_000
"""Noon of 1 April in Japan."""
MIDNIGHT_US = PAID_AT_US + DAY_US // 2
"""The beginning of 2 April in Japan."""
MINUTE_US = 60_000_000


def money(amount_minor: int, kind: str = "money", **more: str) -> dict[str, object]:
    return {"kind": kind, "amount_minor": amount_minor, **more}


SPLIT = [money(300, "points"), money(700)]
PAYMENT = {"wallet_id": "u", "merchant_id": "m", "amount_minor": 1000, "tenders": SPLIT}
HOLD_END = {"wallet_id": "u", "merchant_id": "m", "tenders": SPLIT}
TRANSFER = {"wallet_id": "u", "receiver_wallet_id": "v", "transfer_id": "t", "amount_minor": 7, "kind": "money"}
WITHDRAWAL = {"wallet_id": "u", "withdrawal_id": "w", "amount_minor": 1000, "fee_minor": 100}
ADJUSTMENT = {"lines": [{"account": "X.fraud", "debit_minor": 9}, {"account": "U.u.money", "debit_minor": -9}]}

Told = tuple[str, dict[str, object]]
"""An event type and a body; `at_us`, `payment` are of the event."""


def refund(amount_minor: int, refund_id: str = "r", kind: str = "money", **more: object) -> dict[str, object]:
    tenders = [money(amount_minor, kind)]
    return {**PAYMENT, "amount_minor": amount_minor, "tenders": tenders, "refund_id": refund_id, **more}


def told(book: Book, event_type: str, number: int, body: dict[str, object]) -> Posting | Refusal | None:
    body = dict(body)
    at_us, payment = body.pop("at_us", PAID_AT_US), body.pop("payment", "p")
    assert isinstance(at_us, int)
    return book.post(Fact(event_type, f"e{number}", at_us, "payment", str(payment), msgspec.convert(body, Body)))


def outcome(story: list[Told]) -> str:
    """The rule that refuses the last event of a story, or `posted`; all before it must be posted."""
    book = Book(0, lambda owner: 0)
    result: Posting | Refusal | None = None
    for number, (event_type, body) in enumerate(story):
        assert not isinstance(result, Refusal), result
        result = told(book, event_type, number, body)
        assert book.imbalance_minor() == 0
    assert result is not None
    return str(result.code) if isinstance(result, Refusal) else "posted"


PAID: Told = ("PaymentCompleted", PAYMENT)
HELD: Told = ("PaymentAuthorized", PAYMENT)
CAPTURED: Told = ("PaymentCaptured", {**HOLD_END, "captured_minor": 1000})
VOIDED: Told = ("PaymentVoided", HOLD_END)
EXPIRED: Told = ("AuthorizationExpired", HOLD_END)
CANCELED: Told = ("PaymentCanceled", PAYMENT)
SENT: Told = ("TransferSent", TRANSFER)
WITHDRAWN: Told = ("WithdrawalRequested", WITHDRAWAL)


def asked(amount_minor: int, refund_id: str = "r", kind: str = "money", **more: object) -> Told:
    return "RefundRequested", refund(amount_minor, refund_id, kind, **more)


def completed(amount_minor: int, refund_id: str = "r", kind: str = "money", **more: object) -> Told:
    return "RefundCompleted", refund(amount_minor, refund_id, kind, **more)


PARTS = [asked(1, f"r{number}") for number in range(50)]

CASES = [
    # what came before, the event, its outcome
    #
    # a payment begins once
    ([], PAID, "posted"),
    ([], HELD, "posted"),
    ([PAID], PAID, "payment_exists"),
    ([PAID], HELD, "payment_exists"),
    ([HELD], PAID, "payment_exists"),
    ([PAID], ("PaymentCompleted", {**PAYMENT, "wallet_id": "v"}), "posted"),
    # a hold ends once, for its merchant, with its tenders, up to its amount
    ([HELD], CAPTURED, "posted"),
    ([HELD], ("PaymentCaptured", {**HOLD_END, "captured_minor": 1}), "posted"),
    ([HELD], ("PaymentCaptured", {**HOLD_END, "captured_minor": 1001}), "above_hold"),
    ([HELD], ("PaymentCaptured", {**HOLD_END, "captured_minor": 1001, "merchant_id": "n"}), "other_merchant"),
    ([HELD], ("PaymentCaptured", {**HOLD_END, "captured_minor": 9, "tenders": [money(1000)]}), "tenders_differ"),
    ([HELD], ("PaymentVoided", {**HOLD_END, "tenders": [money(300, "points"), money(701)]}), "tenders_differ"),
    ([HELD], VOIDED, "posted"),
    ([HELD], EXPIRED, "posted"),
    ([HELD, CAPTURED], CAPTURED, "hold_ended"),
    ([HELD, CAPTURED], VOIDED, "hold_ended"),
    ([HELD, VOIDED], CAPTURED, "hold_ended"),
    ([HELD, EXPIRED], VOIDED, "hold_ended"),
    ([PAID], CAPTURED, "hold_ended"),
    ([], CAPTURED, "unknown_payment"),
    ([], VOIDED, "unknown_payment"),
    ([], EXPIRED, "unknown_payment"),
    ([HELD], ("PaymentCaptured", {**HOLD_END, "captured_minor": 1, "wallet_id": "v"}), "unknown_payment"),
    # a cancel takes back the whole payment, until 00:14:59 of the next Japanese day
    ([PAID], CANCELED, "posted"),
    ([HELD, CAPTURED], CANCELED, "posted"),
    ([PAID], ("PaymentCanceled", {**PAYMENT, "at_us": MIDNIGHT_US + 15 * MINUTE_US - 1}), "posted"),
    ([PAID], ("PaymentCanceled", {**PAYMENT, "at_us": MIDNIGHT_US + 15 * MINUTE_US}), "cancel_too_late"),
    ([PAID, CANCELED], CANCELED, "payment_canceled"),
    ([PAID, asked(1)], CANCELED, "cancel_refunded"),
    ([PAID], ("PaymentCanceled", {**PAYMENT, "tenders": [money(1000)]}), "tenders_differ"),
    ([PAID], ("PaymentCanceled", {**PAYMENT, "merchant_id": "n"}), "other_merchant"),
    ([HELD], CANCELED, "not_paid"),
    ([HELD, VOIDED], CANCELED, "not_paid"),
    ([], CANCELED, "unknown_payment"),
    # a refund is asked for within 365 days, in 50 parts, up to the rest of the payment and of each tender
    ([PAID], asked(700), "posted"),
    ([PAID], asked(701), "refund_above_tender"),
    ([PAID], asked(1000), "refund_above_tender"),
    ([PAID], asked(1001), "refund_above_rest"),
    ([PAID, asked(500, "a")], asked(200, "b"), "posted"),
    ([PAID, asked(500, "a")], asked(201, "b"), "refund_above_tender"),
    ([PAID, asked(700, "a"), asked(300, "b", "points")], asked(1, "c"), "refund_above_rest"),
    ([HELD, ("PaymentCaptured", {**HOLD_END, "captured_minor": 400})], asked(100), "posted"),
    ([HELD, ("PaymentCaptured", {**HOLD_END, "captured_minor": 400})], asked(101), "refund_above_tender"),
    ([HELD, ("PaymentCaptured", {**HOLD_END, "captured_minor": 300})], asked(1), "tender_did_not_pay"),
    ([PAID], asked(1, kind="money_lite"), "tender_did_not_pay"),
    ([PAID], asked(1, at_us=PAID_AT_US + 365 * DAY_US), "posted"),
    ([PAID], asked(1, at_us=PAID_AT_US + 365 * DAY_US + 1), "refund_too_late"),
    ([PAID, *PARTS[:49]], PARTS[49], "posted"),
    ([PAID, *PARTS], asked(1, "r50"), "refund_parts"),
    ([PAID, asked(1)], asked(1), "refund_exists"),
    ([PAID, asked(1), completed(1)], asked(1), "refund_exists"),
    ([PAID], asked(1, merchant_id="n"), "other_merchant"),
    ([PAID, CANCELED], asked(1), "payment_canceled"),
    ([HELD], asked(1), "not_paid"),
    ([HELD, EXPIRED], asked(1), "not_paid"),
    ([], asked(1), "unknown_payment"),
    # it is completed once, to the tenders it was asked for; what it does not give back can be asked for again
    ([PAID, asked(5)], completed(5), "posted"),
    ([PAID, asked(5)], completed(4), "posted"),
    ([PAID, asked(5)], completed(6), "refund_differs"),
    ([PAID, asked(5)], completed(5, kind="points"), "refund_differs"),
    ([PAID, asked(5), completed(5)], completed(5), "refund_ended"),
    ([PAID, asked(5, at_us=PAID_AT_US + 365 * DAY_US)], completed(5, at_us=PAID_AT_US + 366 * DAY_US), "posted"),
    ([PAID], completed(5), "unknown_refund"),
    ([PAID, asked(5)], completed(5, merchant_id="n"), "other_merchant"),
    ([], completed(5), "unknown_payment"),
    ([PAID, asked(700, "a"), completed(600, "a")], asked(100, "b"), "posted"),
    ([PAID, asked(700, "a"), completed(600, "a")], asked(101, "b"), "refund_above_tender"),
    # a transfer ends once, as a whole, and only money can be sent
    ([], SENT, "posted"),
    ([], ("TransferSent", {**TRANSFER, "kind": "money_lite"}), "posted"),
    ([], ("TransferSent", {**TRANSFER, "kind": "points"}), "no_right"),
    ([], ("TransferSent", {**TRANSFER, "kind": "voucher"}), "no_right"),
    ([SENT], SENT, "transfer_exists"),
    ([SENT], ("TransferAccepted", TRANSFER), "posted"),
    ([SENT], ("TransferDeclined", TRANSFER), "posted"),
    ([SENT], ("TransferExpired", TRANSFER), "posted"),
    ([], ("TransferAccepted", TRANSFER), "unknown_transfer"),
    ([SENT, ("TransferAccepted", TRANSFER)], ("TransferDeclined", TRANSFER), "transfer_ended"),
    ([SENT, ("TransferExpired", TRANSFER)], ("TransferAccepted", TRANSFER), "transfer_ended"),
    ([SENT], ("TransferAccepted", {**TRANSFER, "amount_minor": 8}), "transfer_differs"),
    ([SENT], ("TransferAccepted", {**TRANSFER, "kind": "money_lite"}), "transfer_differs"),
    ([SENT], ("TransferAccepted", {**TRANSFER, "receiver_wallet_id": "x"}), "transfer_differs"),
    # a withdrawal ends once, as a whole
    ([], WITHDRAWN, "posted"),
    ([], ("WithdrawalRequested", {**WITHDRAWAL, "kind": "money_lite"}), "no_right"),
    ([WITHDRAWN], WITHDRAWN, "withdrawal_exists"),
    ([WITHDRAWN], ("WithdrawalPaid", WITHDRAWAL), "posted"),
    ([WITHDRAWN], ("WithdrawalFailed", WITHDRAWAL), "posted"),
    ([], ("WithdrawalPaid", WITHDRAWAL), "unknown_withdrawal"),
    ([WITHDRAWN, ("WithdrawalPaid", WITHDRAWAL)], ("WithdrawalFailed", WITHDRAWAL), "withdrawal_ended"),
    ([WITHDRAWN], ("WithdrawalFailed", {**WITHDRAWAL, "fee_minor": 101}), "withdrawal_differs"),
    # two persons, lines that sum to zero, the books' own currency
    ([], ("AdjustmentPosted", {**ADJUSTMENT, "approvals": ["a", "b"]}), "posted"),
    ([], ("AdjustmentPosted", {**ADJUSTMENT, "approvals": ["a"]}), "two_persons"),
    ([], ("FraudCompensated", {**ADJUSTMENT, "approvals": ["a", "a"]}), "two_persons"),
    ([], ("AdjustmentPosted", {"lines": ADJUSTMENT["lines"][:1], "approvals": ["a"]}), "unbalanced"),
    ([], ("CampaignFunded", {"campaign_id": "c", "amount_minor": 9, "approvals": ["a", "b"]}), "posted"),
    ([], ("CampaignFunded", {"campaign_id": "c", "amount_minor": 9}), "two_persons"),
    ([], ("TopUpCompleted", {"wallet_id": "u", "amount_minor": 9, "currency": "USD"}), "unknown_currency"),
    ([PAID], ("PaymentCompleted", {**PAYMENT, "currency": "USD"}), "unknown_currency"),
]


@pytest.mark.parametrize(("before", "event", "expected"), CASES)
def test_an_event_is_posted_or_refused_by_name(before, event, expected):
    """The outcome of an event after what came before it."""
    assert outcome([*before, event]) == expected


LOT = {"kind": "voucher", "lot": "v1"}


def test_an_expired_voucher_is_not_issued_again():
    """Its part of a refund is refused from the moment it has run out, asked for or completed; the rest is paid."""
    body = {**PAYMENT, "amount_minor": 10, "tenders": [{**LOT, "amount_minor": 4}, money(6)]}
    paid = ("PaymentCompleted", body)
    expiry = {"wallet_id": "u", "lot": "v1", "lot_kind": "voucher", "amount_minor": 1, "at_us": PAID_AT_US + 9}
    lapsed = ("PointsExpired", expiry)
    whole = {**body, "refund_id": "r"}
    assert outcome([paid, ("RefundRequested", {**whole, "at_us": PAID_AT_US + 8})]) == "posted"
    assert outcome([paid, lapsed, ("RefundRequested", {**whole, "at_us": PAID_AT_US + 8})]) == "posted"
    assert outcome([paid, lapsed, ("RefundRequested", {**whole, "at_us": PAID_AT_US + 9})]) == "tender_expired"
    late = {**whole, "at_us": PAID_AT_US + 9}
    story = [paid, ("RefundRequested", whole), lapsed]
    assert outcome([*story, ("RefundCompleted", late)]) == "tender_expired"
    rest = {**late, "amount_minor": 6, "tenders": [money(6)]}
    assert outcome([*story, ("RefundCompleted", rest)]) == "posted"


def test_what_a_refund_does_not_give_back_is_the_merchants_again():
    """The whole reservation is used up: the wallet gets its part, the merchant the rest."""
    book = Book(0, lambda owner: 0)
    for number, (event_type, body) in enumerate([PAID, asked(500), completed(200)]):
        entry = told(book, event_type, number, body)
    assert isinstance(entry, Posting)
    assert [(line.account, line.debit_minor) for line in entry.lines] == [
        ("M.m.refund_reserved", 500),
        ("U.u.money", -200),
        ("M.m.payable", -300),
    ]
    assert (book.posted("M.m.payable"), book.posted("M.m.refund_reserved")) == (800, 0)


def test_a_refused_event_changes_nothing():
    """No balance, no life, no leg: it may come again when it is true."""
    book = Book(0, lambda owner: 0)
    assert isinstance(told(book, *("RefundRequested", 0), asked(5)[1]), Refusal)
    assert (list(book.accounts()), book.store, book.take_outbox(), book.take_moves().rows) == ([], {}, {}, [])
    told(book, "PaymentCompleted", 1, PAYMENT)
    assert isinstance(told(book, "RefundRequested", 0, asked(5)[1]), Posting)


def test_every_rule_has_a_case():
    """No name in the list of refusals that nothing can cause."""
    assert {case[2] for case in CASES} | {"tender_expired"} == {"posted", *RefusalCode}


def test_every_step_has_a_case():
    """No judge that is never asked."""
    told_of = {event[0] for before, event, _ in CASES for event in (*before, event)}
    assert told_of >= STEPS.keys() - {"PointsExpired"}


@pytest.mark.parametrize(
    ("paid_at", "until"),
    [
        (datetime(2026, 3, 31, 15, 0, tzinfo=UTC), datetime(2026, 4, 1, 15, 15, tzinfo=UTC)),
        (datetime(2026, 4, 1, 14, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 4, 1, 15, 15, tzinfo=UTC)),
        (datetime(2026, 12, 31, 14, 0, tzinfo=UTC), datetime(2026, 12, 31, 15, 15, tzinfo=UTC)),
    ],
)
def test_the_day_of_a_payment_is_japanese(paid_at, until):
    """From its midnight to its last microsecond: the same quarter past midnight ends the window."""
    paid_at_us, until_us = (int(at.timestamp()) * 1_000_000 + at.microsecond for at in (paid_at, until))
    assert cancellable_before_us(paid_at_us) == until_us
    assert refundable_until_us(paid_at_us) - paid_at_us == 365 * DAY_US


def test_a_reason_names_rule_and_figures():
    """What stands in the dead letter."""
    assert (
        Refusal(RefusalCode.REFUND_PARTS, "payment p has 50 refunds").reason == "refund_parts: payment p has 50 refunds"
    )
