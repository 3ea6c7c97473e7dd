"""What is done in one piece for speed comes to the same as what is done step by step: payments, legs, records."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from koban.ledger.book import Book
from koban.ledger.facts import ArrivedLeg, Body, Fact, Tender
from koban.records import Posting
from schemas.partitioning import lane_of
from streams.ledger.rows import MoveRows

LANES = 2
NOW_US = 1_700_000_000_000_000
NAMES = st.sampled_from(["w-1", "w-2", "w.3", "w-4", "w 5", "w-1.voucher"])
TENDERS = st.builds(
    Tender,
    kind=st.sampled_from(["money", "money", "points", "money_lite", "card", "paylater", "voucher", "shells"]),
    amount_minor=st.sampled_from([0, 1, 500, 600_000]),
    lot=st.sampled_from([None, "l-1"]),
)


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    """Top-ups and payments, a few of them odd: seen before, without an id, of another lane, in dollars, of nothing."""
    made = []
    for number in range(draw(st.integers(1, 12))):
        wallet = draw(NAMES)
        at_us = NOW_US + draw(st.integers(0, 10))
        event_id = draw(st.sampled_from([f"e-{number}", f"e\\{number}", f'e"{number}', f"é{number}", f"e\n{number}"]))
        if draw(st.booleans()):
            body = Body(wallet_id=wallet, amount_minor=draw(st.sampled_from([1, 900])), verified=True, bank_id="b-1")
            made.append(Fact("TopUpCompleted", event_id, at_us, "topup", f"t-{number}", body))
            continue
        tenders = tuple(draw(st.lists(TENDERS, max_size=2)))
        body = Body(
            wallet_id=wallet,
            merchant_id=draw(st.sampled_from(["m-1", "m-2", "m.3", "m 4"])),
            amount_minor=sum(tender.amount_minor for tender in tenders),
            tenders=tenders,
            currency=draw(st.sampled_from(["JPY", "JPY", "JPY", "USD"])),
        )
        payment = draw(st.sampled_from(["p-0", "p-1", "p-2", 'p"3', ""]))
        aggregate, correlation = draw(st.sampled_from([("payment", None), ("order", payment), ("order", None)]))
        made.append(Fact("PaymentCompleted", event_id, at_us, aggregate, payment, body, correlation))
    return made


def book(lane: int) -> Book:
    return Book(lane, lambda owner: lane_of(owner, LANES))


def traces(of: Book) -> Any:
    """All that can be seen of a book from outside, and all that its lane writes."""
    moves, outbox = of.take_moves(), of.take_outbox()
    rows = MoveRows(moves, 7)
    return (
        rows.journal().each() if moves.rows else [],
        balances.each() if (balances := rows.balances(of.take_touched())) else [],
        [(lane, rows.legs(of.lane, lane, legs), moves.sent(legs[0])) for lane, legs in outbox.items()],
        dict(of.families),
        of.drift_minor,
        dict(of.store),
        of.store.changed_keys,
        of.store.changed_lives,
        of.store.clock_us,
        of.state_hash(),
        list(of.waiting),
    )


@given(facts(), st.integers(0, LANES - 1), st.sampled_from([None, None, 0, 5]))
def test_a_payment_in_one_piece_is_the_payment_step_by_step(
    given_facts: list[Fact], lane: int, ahead_us: int | None
) -> None:
    """Whatever lane the event lies in, right or wrong, and also where payments were forgotten and some events are too
    late; and what is written of it is the same to the byte, among entries of other kinds and among its own."""
    at_once, by_steps = book(lane), book(lane)
    for store in (at_once.store, by_steps.store):
        if ahead_us is not None:
            store.has_tombstones, store.clock_us = True, NOW_US + store.keep_us + ahead_us
    posted: list[Posting] = []
    for at_ms, fact in enumerate(given_facts):
        expected = by_steps.post(fact, b"w", at_ms)
        if isinstance(expected, Posting):
            posted.append(expected)
        if not at_once.pay(fact, b"w", at_ms):
            assert at_once.post(fact, b"w", at_ms) == expected
    found = traces(at_once)
    assert found == traces(by_steps)
    assert [value for _, _, value, _ in found[0]] == [msgspec.json.encode(entry) for entry in posted]


LEGS = st.builds(
    ArrivedLeg,
    entry_id=st.sampled_from(["e-1", "e-2", "e-3:reserved"]),
    event_id=st.sampled_from(["e-1", "e-2", "e-3"]),
    account=st.sampled_from(["M.m-1.payable", "M.m-2.payable", "U.w-1.money", "A.bank", "M.m-1.refund_reserved"]),
    debit_minor=st.sampled_from([-600_000, -7, 0, 5]),
    occurred_at_us=st.integers(NOW_US, NOW_US + 9),
    event_type=st.sampled_from(["PaymentCompleted", "PaymentCanceled"]),
    payment_id=st.sampled_from([None, "p-1"]),
    reference_id=st.sampled_from([None, None, None, "r-1"]),
    claim_minor=st.sampled_from([0, 0, 50]),
)


@given(st.lists(LEGS, max_size=20))
def test_legs_that_arrive_together_are_legs_one_by_one(legs: list[ArrivedLeg]) -> None:
    """Also among claims on a merchant's money, and with refunds that wait."""
    together, single = (Book(0, lambda owner: 0) for _ in range(2))
    codes = together.arrive_all(legs)
    assert codes == [code for leg in legs if (code := single.arrive(leg)) is not None]
    assert traces(together) == traces(single)


def test_a_plain_payment_is_posted_in_one_piece() -> None:
    """Else the property above would hold of nothing."""
    wallet = Book(0, lambda owner: 0)
    body = Body(wallet_id="w-1", amount_minor=900, verified=True, bank_id="b-1")
    wallet.post(Fact("TopUpCompleted", "t-1", NOW_US, "topup", "t-1", body))
    body = Body(wallet_id="w-1", merchant_id="m-1", amount_minor=700, tenders=(Tender("money", 700),))
    assert wallet.pay(Fact("PaymentCompleted", "e-1", NOW_US, "payment", "p-1", body))
    assert wallet.posted("M.m-1.payable") == 700
