"""Refunds that wait for their merchant's money, and money that waits because a wallet is full."""

from __future__ import annotations

import msgspec
import pytest

from koban.ledger.book import Book
from koban.ledger.breaches import BreachCode
from koban.ledger.facts import ArrivedLeg, Body, Fact
from koban.ledger.lives import Store
from koban.ledger.moves import Moves
from koban.ledger.steps import apply
from koban.records import Posting
from tests.unit.koban.ledger.legs import legs_of

OWNERS = {"u": 0, "v": 1, "m": 1}


class Books:
    """The payer's lane and the merchant's, which are one lane or two, and the legs between them."""

    def __init__(self, lanes: int) -> None:
        self.books = [Book(lane, lambda owner: OWNERS[owner] % lanes) for lane in range(lanes)]
        self.number = 0
        self.entries: list[Posting] = []

    def tell(self, event_type: str, at_us: int = 0, payment: str = "p", **body: object) -> None:
        """Posts an event in its owner's lane, and lets its legs arrive."""
        self.number += 1
        book = self.books[OWNERS[str(body.get("wallet_id", "m"))] % len(self.books)]
        fields = msgspec.convert(body, Body)
        entry = book.post(Fact(event_type, f"e{self.number}", at_us or self.number, "payment", payment, fields))
        assert isinstance(entry, Posting), entry
        self.entries.append(entry)
        self.arrive()

    def arrive(self) -> None:
        for book in self.books:
            moves = book.take_moves()
            self.follow(moves)
            for lane, legs in legs_of(book, moves).items():
                for leg in legs:
                    self.books[lane].arrive(msgspec.convert(msgspec.to_builtins(leg), ArrivedLeg))
        for book in self.books:
            self.follow(book.take_moves())
            assert book.imbalance_minor() == 0

    def follow(self, moves: Moves) -> None:
        """Takes note of the entries that followed from others."""
        self.entries += [entry for entry in moves.entries.values() if entry.entry_id != entry.event_id]

    def pay(self, amount_minor: int, payment: str) -> None:
        tenders = [{"kind": "money", "amount_minor": amount_minor}]
        body = {"wallet_id": "u", "merchant_id": "m", "amount_minor": amount_minor, "tenders": tenders}
        self.tell("PaymentCompleted", payment=payment, **body)

    def refund(self, event_type: str, amount_minor: int, payment: str, at_us: int = 0) -> None:
        tenders = [{"kind": "money", "amount_minor": amount_minor}]
        body = {"wallet_id": "u", "merchant_id": "m", "amount_minor": amount_minor, "tenders": tenders}
        self.tell(event_type, at_us, payment, refund_id=f"r-{payment}", **body)

    def settle(self, gross_minor: int) -> None:
        self.tell("SettlementClosed", merchant_id="m", gross_minor=gross_minor)

    def posted(self, account: str) -> int:
        return sum(book.posted(account) for book in self.books)

    def waiting(self) -> list[str]:
        return [refund.payment_id for book in self.books for refund in book.waiting]

    def reserved(self) -> list[str]:
        """Payments whose refund got its money, in that order."""
        return [entry.payment_id or "" for entry in self.entries if entry.entry_id.endswith(":reserved")]


@pytest.fixture(params=[1, 2])
def books(request: pytest.FixtureRequest) -> Books:
    """Three payments at one merchant, whose money was paid out since."""
    made = Books(request.param)
    for payment in ("a", "b", "c"):
        made.pay(1000, payment)
    made.settle(3000)
    return made


def test_a_refund_with_funds_is_reserved_at_once(books):
    """It leaves two entries: that it was asked for, and what it reserved, in the merchant's lane."""
    books.pay(500, "d")
    books.refund("RefundRequested", 500, "d")
    assert books.waiting() == []
    assert (books.posted("M.m.payable"), books.posted("M.m.refund_reserved")) == (0, 500)
    asked, kept = books.entries[-2:]
    assert (asked.lines, kept.entry_id, kept.event_id) == ((), f"{asked.entry_id}:reserved", asked.event_id)


def test_a_yen_too_little_and_it_waits(books):
    """No line moves; the yen that was missing lets it go."""
    books.pay(999, "d")
    books.refund("RefundRequested", 1000, "a")
    assert (books.waiting(), books.posted("M.m.payable"), books.posted("M.m.refund_reserved")) == (["a"], 999, 0)
    books.pay(1, "e")
    assert (books.waiting(), books.posted("M.m.payable"), books.posted("M.m.refund_reserved")) == ([], 0, 1000)


def test_those_who_wait_are_served_in_their_order(books):
    """A small refund does not overtake a large one, even when there is money for it."""
    books.refund("RefundRequested", 900, "a")
    books.refund("RefundRequested", 100, "b")
    books.pay(500, "d")
    books.refund("RefundRequested", 100, "c")
    assert books.waiting() == ["a", "b", "c"]
    books.pay(550, "e")
    assert (books.reserved(), books.waiting()) == (["a", "b"], ["c"])
    books.tell("PayoutFailed", merchant_id="m", amount_minor=50)
    assert (books.reserved(), books.waiting()) == (["a", "b", "c"], [])


def test_the_entry_is_as_of_the_money_and_not_of_the_wish(books):
    """At no instant of business time does the merchant's balance show a debit that it could not pay."""
    books.refund("RefundRequested", 900, "a", at_us=50)
    books.number = 100
    books.pay(900, "d")
    entry = books.entries[-1]
    assert (entry.entry_id, entry.occurred_at_us, entry.reference_id) == ("e5:reserved", 101, "r-a")


def test_a_refund_that_completes_while_it_waits_is_posted_and_named(books):
    """The money has reached the wallet, so the merchant owes it: a breach, and nothing is dropped or served twice."""
    books.refund("RefundRequested", 900, "a")
    books.refund("RefundCompleted", 900, "a")
    assert books.waiting() == []
    (kept,) = [entry for entry in books.entries if entry.entry_id.endswith(":reserved")]
    assert [breach.code for breach in kept.breaches] == [BreachCode.REFUND_NOT_FUNDED, BreachCode.BELOW_ZERO]
    assert (books.posted("M.m.payable"), books.posted("M.m.refund_reserved")) == (-900, 0)
    books.pay(2000, "d")
    assert books.reserved() == ["a"]


def test_one_and_two_lanes_come_to_the_same_versions():
    """Where the merchant lives decides how a refund travels, not what comes of it."""
    states = []
    for lanes in (1, 2):
        made = Books(lanes)
        made.pay(1000, "a")
        made.settle(900)
        made.refund("RefundRequested", 800, "a")
        made.pay(800, "b")
        made.refund("RefundCompleted", 700, "a")
        balances = (b for book in made.books for b in book.accounts() if b.account[0] in "UM")
        states.append(sorted((b.account, b.posted_minor, b.version) for b in balances))
    assert states[0] == states[1]


@pytest.mark.parametrize(("before", "over"), [(999_993, 0), (999_994, 1), (1_000_000, 7)])
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_transfer_above_the_receivers_cap_waits_in_over_limit(lanes, before, over):
    """The receiver's lane decides, as the cap is the receiver's: the wallet is full, not above its cap."""
    made = Books(lanes)
    made.tell("TopUpCompleted", wallet_id="v", amount_minor=before, source="bank", verified=True)
    transfer = {"wallet_id": "u", "receiver_wallet_id": "v", "transfer_id": "t", "amount_minor": 7, "kind": "money"}
    made.tell("TransferSent", **transfer)
    made.tell("TransferAccepted", **transfer)
    assert (made.posted("U.v.money"), made.posted("U.v.over_limit")) == (before + 7 - over, over)
    assert [entry.entry_id for entry in made.entries if "over_limit" in entry.entry_id] == (
        ["e3:over_limit:money"] if over else []
    )
    assert all(not entry.breaches for entry in made.entries if entry.event_type == "TransferAccepted")


def test_a_voided_hold_of_a_full_wallet_waits_in_over_limit():
    """What comes back has no room any more, through no fault of its owner."""
    made = Books(1)
    tenders = [{"kind": "money", "amount_minor": 10}]
    body = {"wallet_id": "u", "merchant_id": "m", "tenders": tenders}
    made.tell("TopUpCompleted", wallet_id="u", amount_minor=1_000_000, source="bank", verified=True)
    made.tell("PaymentAuthorized", amount_minor=10, **body)
    made.tell("TopUpCompleted", wallet_id="u", amount_minor=4, source="bank", verified=True)
    made.tell("PaymentVoided", **body)
    assert (made.posted("U.u.money"), made.posted("U.u.over_limit"), made.posted("U.u.held.money")) == (1_000_000, 4, 0)


def test_lives_are_rebuilt_from_the_journal_alone(books):
    """All entries in their order give the same store, and so does a part of them on top of an older one."""
    books.pay(1500, "d")
    for number, payment in enumerate("abc"):
        books.refund("RefundRequested", 100 + number, payment)
    books.refund("RefundCompleted", 50, "a")
    payer = books.books[0]
    store = Store()
    for entry in books.entries:
        apply(entry, "u", store)
    assert store == payer.store
    for entry in books.entries[-6:]:
        apply(entry, "u", store)
    assert store == payer.store
