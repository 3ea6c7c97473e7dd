"""A plain payment is posted in one piece, and that must come to the same as posting it step by step."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from koban.ledger.book import Book
from koban.ledger.facts import Body, Fact, Tender
from schemas.partitioning import lane_of

LANES = 2
NOW_US = 1_700_000_000_000_000
NAMES = st.sampled_from(["w-1", "w-2", "w.3", "w-4", "w 5"])
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
        if draw(st.booleans()):
            body = Body(wallet_id=wallet, amount_minor=draw(st.sampled_from([1, 900])), verified=True, bank_id="b-1")
            made.append(Fact("TopUpCompleted", f"e-{number}", at_us, "topup", f"t-{number}", body))
            continue
        tenders = tuple(draw(st.lists(TENDERS, max_size=3)))
        body = Body(
            wallet_id=wallet,
            merchant_id=draw(st.sampled_from(["m-1", "m-2", "m.3", "m 4"])),
            amount_minor=sum(tender.amount_minor for tender in tenders),
            tenders=tenders,
            currency=draw(st.sampled_from(["JPY", "JPY", "JPY", "USD"])),
        )
        payment = f"p-{draw(st.integers(0, 5))}"
        aggregate, correlation = draw(st.sampled_from([("payment", None), ("order", payment), ("order", None)]))
        made.append(Fact("PaymentCompleted", f"e-{number}", at_us, aggregate, payment, body, correlation))
    return made


def traces(book: Book, answers: list[Any]) -> Any:
    """All that can be seen of a book from outside."""
    return msgspec.json.encode(
        [
            answers,
            book.take_outbox(),
            [msgspec.structs.asdict(state) for state in book.take_touched()],
            dict(book.families),
            book.drift_minor,
            {key: value.hex() for key, value in book.store.items()},
            sorted(book.store.changed),
            book.store.clock_us,
            book.state_hash(),
        ]
    )


@given(facts(), st.integers(0, LANES - 1))
def test_in_one_piece_is_step_by_step(given_facts: list[Fact], lane: int) -> None:
    """Whatever lane the event lies in, right or wrong."""
    at_once, by_steps = (Book(lane, lambda owner: lane_of(owner, LANES)) for _ in range(2))
    found = [at_once.post(fact) for fact in given_facts]
    assert traces(at_once, found) == traces(by_steps, [by_steps._posted(fact) for fact in given_facts])


def test_a_plain_payment_is_posted_in_one_piece() -> None:
    """Else the property above would hold of nothing."""
    book = Book(0, lambda owner: 0)
    body = Body(wallet_id="w-1", merchant_id="m-1", amount_minor=700, tenders=(Tender("money", 700),))
    assert book._paid(Fact("PaymentCompleted", "e-1", NOW_US, "payment", "p-1", body)) is not None
    assert book.posted("M.m-1.payable") == 700
