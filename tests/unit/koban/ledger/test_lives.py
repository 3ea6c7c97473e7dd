"""What is forgotten and when, what is still said of it, and that it does not matter when its bytes are taken away."""

from __future__ import annotations

import msgspec
import pytest

from koban.ledger.book import Book, state_hash
from koban.ledger.facts import Fact, StoredBalance, decode_entry
from koban.ledger.lives import GENERATIONS, PORTION, Store
from koban.ledger.refusals import Refusal
from koban.ledger.steps import apply, began_at_us
from koban.records import Posting
from ops.verify.lives import judge_all

DAY_US = 86_400_000_000
AT_US = 1_700_000_000_000_000
OVER_US = AT_US + 400 * DAY_US
"""A refund window of 365 days and 35 of lateness after it."""
MONEY = [{"kind": "money", "amount_minor": 100}]
LOT = [{"kind": "voucher", "amount_minor": 100, "lot": "v"}]
PAYMENT = {"wallet_id": "u", "merchant_id": "m", "amount_minor": 100, "tenders": MONEY}
TRANSFER = {"wallet_id": "u", "receiver_wallet_id": "v", "transfer_id": "t", "amount_minor": 7, "kind": "money"}
WITHDRAWAL = {"wallet_id": "u", "withdrawal_id": "w", "amount_minor": 1000, "fee_minor": 100}
VOUCHER = {"wallet_id": "u", "merchant_id": "m", "amount_minor": 100, "tenders": LOT}
EXPIRY = {"wallet_id": "u", "lot": "v", "lot_kind": "voucher", "amount_minor": 5}

PAID = ("PaymentCompleted", PAYMENT)
HELD = ("PaymentAuthorized", PAYMENT)
CAPTURED = ("PaymentCaptured", {**PAYMENT, "captured_minor": 100})
VOIDED = ("PaymentVoided", PAYMENT)
CANCELED = ("PaymentCanceled", PAYMENT)
ASKED = ("RefundRequested", {**PAYMENT, "refund_id": "r"})
REFUNDED = ("RefundCompleted", {**PAYMENT, "refund_id": "r"})
SENT, ACCEPTED, DECLINED = (("TransferSent", TRANSFER), ("TransferAccepted", TRANSFER), ("TransferDeclined", TRANSFER))
WITHDRAWN, WAS_PAID = (("WithdrawalRequested", WITHDRAWAL), ("WithdrawalPaid", WITHDRAWAL))

Told = tuple[str, dict[str, object]]


class World:
    """A book and its journal. `sweeps` takes away what is over after every event, as a worker does now and then."""

    def __init__(self, *, sweeps: bool = True) -> None:
        self.book = Book(0, lambda owner: 0)
        self.sweeps = sweeps
        self.journal: list[bytes] = []
        self.told: list[dict[str, object]] = []

    def tell(self, told: Told, at_us: int = AT_US, payment: str = "p") -> str:
        fields = {
            "event_type": told[0], "event_id": f"e{len(self.told)}", "occurred_at_us": at_us, "aggregate": "payment",
            "aggregate_id": payment, "body": told[1],
        }  # fmt: skip
        self.told.append(fields)
        result = self.book.post(msgspec.convert(fields, Fact))
        if isinstance(result, Posting):
            self.journal.append(msgspec.json.encode(result))
        if self.sweeps:
            self.book.store.take_changes(began_at_us)
        return str(result.code) if isinstance(result, Refusal) else "posted"

    def pass_time(self, at_us: int) -> None:
        """Somebody else's payment moves the store's clock."""
        assert self.tell(PAID, at_us, payment=f"other-{len(self.told)}") == "posted"

    def rebuilt(self) -> Store:
        """The store that the journal alone comes to."""
        store = Store()
        for entry in self.journal:
            apply(decode_entry(entry), "u", store)
        return store


CASES: list[tuple[list[Told], Told, str, str]] = [
    # what came before, the event a moment before the life is over, and its outcome then and a moment later
    ([PAID], PAID, "payment_exists", "payment_exists"),
    ([HELD, VOIDED], HELD, "payment_exists", "payment_exists"),
    ([PAID], ASKED, "posted", "refund_too_late"),
    ([PAID, CANCELED], ASKED, "payment_canceled", "refund_too_late"),
    ([PAID], CANCELED, "posted", "cancel_too_late"),
    ([PAID, ASKED, REFUNDED], REFUNDED, "refund_ended", "refund_ended"),
    ([PAID], CAPTURED, "hold_ended", "hold_ended"),
    ([HELD, CAPTURED], VOIDED, "hold_ended", "hold_ended"),
    # what is open is not over
    ([HELD], CAPTURED, "posted", "posted"),
    ([PAID, ASKED], REFUNDED, "posted", "posted"),
    ([SENT], ACCEPTED, "posted", "posted"),
    ([WITHDRAWN], WAS_PAID, "posted", "posted"),
    # transfers, withdrawals
    ([SENT, ACCEPTED], DECLINED, "transfer_ended", "transfer_ended"),
    ([SENT, ACCEPTED], SENT, "transfer_exists", "transfer_exists"),
    ([WITHDRAWN, WAS_PAID], WAS_PAID, "withdrawal_ended", "withdrawal_ended"),
    ([WITHDRAWN, WAS_PAID], WITHDRAWN, "withdrawal_exists", "withdrawal_exists"),
    # what never was is still unknown
    ([PAID], ("RefundRequested", {**PAYMENT, "wallet_id": "v", "refund_id": "r"}), "unknown_payment",
     "unknown_payment"),
    ([], ACCEPTED, "unknown_transfer", "unknown_transfer"),
    ([], WAS_PAID, "unknown_withdrawal", "unknown_withdrawal"),
]  # fmt: skip


@pytest.mark.parametrize("sweeps", [True, False])
@pytest.mark.parametrize(("before", "event", "then", "later"), CASES)
def test_a_late_event_is_told_by_its_right_name(before: list[Told], event: Told, then: str, later: str, sweeps: bool):
    """The event happened in time and comes late: up to 400 days after the payment, and a microsecond after that. It is
    the same answer whether the bytes were taken away or not, and verify, which shares no code with it, gives it too."""
    for clock_us, outcome in ((OVER_US - 1, then), (OVER_US, later)):
        world = World(sweeps=sweeps)
        for told in before:
            assert world.tell(told) == "posted"
        world.pass_time(clock_us)
        world.pass_time(clock_us)
        assert world.tell(event) == outcome
        assert told_by_verify(world) == ([] if outcome == "posted" else [outcome])


def told_by_verify(world: World) -> list[str]:
    """The rules that events broke, by verify's own telling."""
    return list(judge_all(world.told, lanes=1).refused.values())


def test_what_is_over_leaves_eight_bytes_and_what_is_open_stays():
    """Two days after its time nothing is left of a payment, a transfer, a withdrawal but a tombstone each."""
    world = World()
    for told in (PAID, SENT, ACCEPTED, WITHDRAWN, WAS_PAID):
        world.tell(told)
    world.tell(HELD, payment="held")
    world.tell(PAID, payment="refunding")
    world.tell(ASKED, payment="refunding")
    assert len(world.book.store) == 5
    world.pass_time(OVER_US + DAY_US)
    assert sorted(world.book.store) == ["u/held", "u/other-8", "u/refunding"]
    assert len(world.book.store.tombstones) == 3
    world.tell(REFUNDED, OVER_US + 2 * DAY_US, payment="refunding")
    world.pass_time(OVER_US + 404 * DAY_US)
    assert "u/refunding" not in world.book.store
    assert "u/held" in world.book.store


def test_a_lot_that_expired_long_ago_takes_no_refund_either():
    """Its expiry is forgotten, that it expired is not."""
    world = World()
    world.tell(("PaymentCompleted", VOUCHER))
    world.tell(("RefundRequested", {**VOUCHER, "refund_id": "r"}))
    world.tell(("PointsExpired", EXPIRY), AT_US + DAY_US)
    world.pass_time(OVER_US + 3 * DAY_US)
    assert not any(key.startswith("/lot/") for key in world.book.store)
    refunded = ("RefundCompleted", {**VOUCHER, "refund_id": "r"})
    assert world.tell(refunded, OVER_US + 3 * DAY_US) == "tender_expired"
    assert world.tell(refunded, AT_US) == "tender_expired"
    assert told_by_verify(world) == ["tender_expired"] * 2


def test_an_id_may_be_used_again_once_its_payment_is_forgotten():
    """A new payment, which happened now, has nothing to do with the one that is over; its own duplicate is refused."""
    for sweeps in (True, False):
        world = World(sweeps=sweeps)
        world.tell(PAID)
        world.pass_time(OVER_US + 2 * DAY_US)
        assert world.tell(PAID, OVER_US + 2 * DAY_US) == "posted"
        assert world.tell(PAID, OVER_US + 2 * DAY_US) == "payment_exists"
        assert world.tell(ASKED, OVER_US + 2 * DAY_US) == "posted"
        assert told_by_verify(world) == ["payment_exists"]


def story(world: World) -> None:
    """Payments over two thousand days: some refunded, some held for ever, one late, an id used again."""
    for number in range(0, 2_000, 20):
        at_us, payment = AT_US + number * DAY_US, f"p-{number % 900}"
        world.tell(HELD if number % 100 == 0 else PAID, at_us, payment)
        if number % 60 == 0:
            world.tell(ASKED, at_us + 1, payment)
        if number % 120 == 0:
            world.tell(REFUNDED, at_us + 300 * DAY_US, payment)
    world.tell(PAID, AT_US + 5 * DAY_US, "late")


def test_when_it_is_taken_away_changes_neither_journal_nor_hash():
    """A worker that sweeps after every event, one that never does, and one that reads the journal: one state."""
    now, never = World(), World(sweeps=False)
    for world in (now, never):
        story(world)
    assert now.journal == never.journal
    assert len(now.told) - len(now.journal) == len(told_by_verify(now)) > 0
    assert now.book.store.tombstones
    assert not never.book.store.tombstones
    rebuilt = Book(0, lambda owner: 0, now.rebuilt())
    for slot in now.book.accounts():
        rebuilt.restore(StoredBalance(slot.account, slot.posted_minor, slot.version))
    assert state_hash([now.book]) == state_hash([never.book]) == state_hash([rebuilt])


def test_entries_that_are_applied_again_after_their_payment_was_forgotten_change_nothing():
    """A restart may read the end of the journal twice."""
    world = World()
    for told in (PAID, ASKED, SENT):
        world.tell(told)
    world.pass_time(OVER_US + 2 * DAY_US)
    world.tell(REFUNDED, OVER_US + 2 * DAY_US)
    world.tell(ACCEPTED, OVER_US + 2 * DAY_US)
    world.pass_time(OVER_US + 404 * DAY_US)
    assert list(world.book.store) == ["u/other-6"]
    before = world.book.state_hash()
    for entry in world.journal[-3:]:
        apply(decode_entry(entry), "u", world.book.store)
    assert world.book.state_hash() == before


def test_tombstones_last_as_long_as_they_are_set_to_and_an_eighth_more_at_most():
    """Then the payment is unknown, as if it had never been."""
    days = 80
    book = Book(0, lambda owner: 0, Store(tombstone_days=days))
    world = World()
    world.book = book
    world.tell(PAID)
    step_us = days * DAY_US // GENERATIONS
    world.pass_time(OVER_US + DAY_US)
    world.pass_time(OVER_US + days * DAY_US - 1)
    assert world.tell(ASKED) == "refund_too_late"
    world.pass_time(OVER_US + days * DAY_US + 2 * step_us)
    assert world.tell(ASKED) == "unknown_payment"


def test_taking_away_goes_in_portions_that_keep_up():
    """However much is over at once, one step takes a bounded part; and no payment puts off another."""
    store = Store()
    count = 5 * PORTION
    for number in range(count):
        store.put(f"u/{number}", msgspec.msgpack.encode((1, AT_US, "M.m.payable", [])))
    store.clock_us = AT_US
    assert store.take_changes(began_at_us).forgotten == 0
    store.clock_us = OVER_US + DAY_US
    steps = [store.take_changes(began_at_us).forgotten for _ in range(5)]
    assert steps == [PORTION] * 5
    assert not store
    assert len(store.tombstones) == count
