"""One lane's book: posting, legs, limits, restoring."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from koban.events import Line
from koban.ledger.book import Book, state_hash
from koban.ledger.breaches import BreachCode
from koban.ledger.facts import ArrivedLeg, Body, Fact, StoredBalance, decode_balance, decode_legs
from koban.ledger.moves import Moves
from koban.ledger.slots import Slot, Touched
from koban.ledger.steps import apply
from koban.records import Balance, Entry, Leg, Legs
from tests.unit.koban.ledger.legs import legs_of

AT_US = 1_775_000_000_000_000
LANES = {"u": 0, "m": 1, "v": 0}


def book(lane: int = 0) -> Book:
    """A book whose lanes are those of `LANES`; an owner that isn't there is at home everywhere."""
    return Book(lane, lambda owner: LANES.get(owner, lane))


def fact(event_type: str, event_id: str = "e1", at_us: int = AT_US, payment: str = "p1", **body: object) -> Fact:
    return Fact(event_type, event_id, at_us, "payment", payment, msgspec.convert(body, Body))


def top_up(amount_minor: int = 1000, event_id: str = "t1", wallet: str = "u") -> Fact:
    return fact("TopUpCompleted", event_id, wallet_id=wallet, amount_minor=amount_minor, source="bank", verified=True)


def payment(amount_minor: int, event_id: str = "e1", wallet: str = "u", kind: str = "money") -> Fact:
    tenders = [{"kind": kind, "amount_minor": amount_minor}]
    return fact(
        "PaymentCompleted",
        event_id,
        payment=f"p-{event_id}",
        wallet_id=wallet,
        merchant_id="m",
        amount_minor=amount_minor,
        tenders=tenders,
    )


def posted(target: Book, event: Fact) -> Entry:
    """The entry as a reader of the journal gets it, which checks that its lines sum to zero."""
    return msgspec.json.decode(msgspec.json.encode(target.post(event)), type=Entry)


def by_account(target: Book) -> dict[str, Balance]:
    """The accounts, as a reader of the balances gets them, which checks what is held and available."""
    return {balance.account: balance for balance in balances_of(list(target.accounts()))}


def balances_of(slots: Sequence[Slot]) -> list[Balance]:
    moves = Moves()
    row = moves.open("e", None, AT_US, b"", 0)
    touched = Touched.of(slots)._replace(causes=[row] * len(slots))
    return msgspec.json.decode(msgspec.json.encode(moves.balances(touched)), type=list[Balance])


def take_balances(target: Book) -> list[Balance]:
    """What a batch that ends here writes of the accounts that it touched."""
    moves = target.take_moves()
    return [balance for touched in target.take_touched() for balance in moves.balances(touched)]


def take_legs(target: Book) -> dict[int, list[Leg]]:
    """What a batch that ends here sends to other lanes."""
    return legs_of(target, target.take_moves())


def test_an_entry_names_its_event_and_the_lanes_part_of_the_houses_accounts():
    """The journal says which lane's part of a hot account was debited."""
    entry = posted(book(2), top_up())
    assert (entry.entry_id, entry.event_id, entry.payment_id) == ("t1", "t1", "p1")
    assert entry.lines == (Line("A.bank_clearing.unnamed@2", 1000), Line("U.u.money", -1000))
    assert entry.breaches == ()


def test_own_accounts_change_at_once_and_others_get_legs():
    """The payer's side is settled where the event lies, the merchant's side travels."""
    target = book()
    posted(target, top_up())
    posted(target, payment(300))
    assert target.posted("U.u.money") == 700
    assert target.posted("M.m.payable") == 0
    legs = take_legs(target)
    assert [(leg.owner, leg.account, leg.debit_minor) for leg in legs[1]] == [("m", "M.m.payable", -300)]
    assert target.take_outbox() == {}


def test_a_lane_sums_to_zero_after_every_step():
    """What has left counts as in flight until it arrives, on both sides."""
    here, there = book(0), book(1)
    posted(here, top_up())
    posted(here, payment(300))
    assert here.imbalance_minor() == 0
    assert by_account(here)["L.in_flight@0"].posted_minor == 300
    for leg in take_legs(here)[1]:
        there.arrive(ArrivedLeg(leg.entry_id, leg.event_id, leg.account, leg.debit_minor, leg.occurred_at_us))
    assert there.imbalance_minor() == 0
    assert there.posted("M.m.payable") == 300
    assert by_account(there)["L.in_flight@1"].posted_minor == -300


def test_versions_count_the_lines_of_an_account():
    """Each line moves its account's version on by one, and says which event did it."""
    target = book()
    posted(target, top_up(event_id="t1"))
    posted(target, top_up(event_id="t2"))
    (balance,) = (it for it in take_balances(target) if it.account == "U.u.money")
    assert (balance.version, balance.event_id, balance.entry_id, balance.posted_minor) == (2, "t2", "t2", 2000)


def test_a_batch_leaves_each_touched_account_once():
    """Only the last state of an account is worth a record."""
    target = book()
    posted(target, top_up(event_id="t1"))
    posted(target, top_up(event_id="t2"))
    touched = {balance.account: balance.version for balance in take_balances(target)}
    assert touched == {"A.bank_clearing.unnamed@0": 2, "U.u.money": 2}
    assert take_balances(target) == []


def test_a_store_is_told_of_each_account_once():
    """Whatever number of batches touched it since the last checkpoint, and never of one that no batch has left."""
    target = book()
    for event_id in ("t1", "t2"):
        posted(target, top_up(event_id=event_id))
        take_balances(target)
    told = [(slot.account, slot.version) for slot in target.take_unstored()]
    assert sorted(told) == [("A.bank_clearing.unnamed@0", 2), ("U.u.money", 2)]
    assert target.take_unstored() == []
    posted(target, top_up(event_id="t3"))
    assert target.take_unstored() == []
    take_balances(target)
    assert len(target.take_unstored()) == 2


def test_held_money_is_held_and_promised_cashback_is_pending_in():
    """A kind of money is the sum of its accounts: what is held shows as held, and is not available."""
    target = book()
    posted(target, top_up())
    tenders = [{"kind": "money", "amount_minor": 400}]
    posted(target, fact("PaymentAuthorized", wallet_id="u", merchant_id="m", amount_minor=400, tenders=tenders))
    posted(target, fact("CashbackAccrued", "e2", wallet_id="u", campaign_id="c", amount_minor=50))
    balances = by_account(target)
    free, held, promised = balances["U.u.money"], balances["U.u.held.money"], balances["U.u.grant_pending.c"]
    assert (free.posted_minor, free.held_minor, free.available_minor) == (600, 0, 600)
    assert (held.posted_minor, held.held_minor, held.available_minor) == (400, 400, 0)
    assert (promised.posted_minor, promised.available_minor, promised.pending_in_minor) == (50, 0, 50)


def test_an_overdraft_is_posted_and_named():
    """The money has moved, so the books say so, and say that it should not have."""
    target = book()
    entry = posted(target, payment(300))
    assert [(breach.code, breach.account) for breach in entry.breaches] == [(BreachCode.BELOW_ZERO, "U.u.money")]
    assert target.posted("U.u.money") == -300


def test_more_than_the_cap_is_posted_and_named():
    """A wallet above its cap is a breach; coming down to it is none."""
    target = book()
    assert posted(target, top_up(1_000_000)).breaches == ()
    entry = posted(target, top_up(1, "t2"))
    assert [(breach.code, breach.account) for breach in entry.breaches] == [(BreachCode.ABOVE_CAP, "U.u.money")]
    assert posted(target, payment(1)).breaches == ()


def test_paying_back_an_overdraft_is_no_breach():
    """Only the line that makes it worse is named."""
    target = book()
    posted(target, payment(300))
    assert posted(target, top_up(100)).breaches == ()


def test_a_limit_of_another_lane_is_told_on_arrival():
    """A merchant overdrawn by a refund shows where the merchant lives."""
    there = book(1)
    assert there.arrive(ArrivedLeg("e1", "e1", "M.m.payable", 5, 1)) == BreachCode.BELOW_ZERO
    assert there.arrive(ArrivedLeg("e1", "e1", "M.m.refund_reserved", -5, 1)) is None


def test_an_unknown_account_goes_to_suspense_by_name():
    """A line on no account of the chart is neither lost nor made up: it waits in suspense, and the entry says whose."""
    target = book()
    lines = [{"account": "U.u.gold", "debit_minor": 9}, {"account": "U.u.money", "debit_minor": -9}]
    entry = posted(target, fact("AdjustmentPosted", lines=lines, approvals=["a", "b"]))
    assert [line.account for line in entry.lines] == ["L.suspense@0", "U.u.money"]
    assert [(breach.code, breach.detail) for breach in entry.breaches] == [(BreachCode.UNKNOWN_ACCOUNT, "U.u.gold")]
    assert target.imbalance_minor() == 0


@pytest.mark.parametrize("name", ["L.in_flight", "A.bank@1", "L.in_flight@0"])
def test_no_event_reaches_into_the_ledgers_own_accounts(name):
    """Legs in flight and the parts of other lanes can't be adjusted from outside."""
    target = book()
    lines = [{"account": name, "debit_minor": 9}, {"account": "U.u.money", "debit_minor": -9}]
    entry = posted(target, fact("AdjustmentPosted", lines=lines, approvals=["a", "b"]))
    assert entry.lines[0].account == "L.suspense@0"
    assert by_account(target)["L.suspense@0"].posted_minor == -9


def test_a_wallet_of_another_lane_is_never_changed_here():
    """An event in the wrong lane still ends in the right accounts, by way of legs."""
    target = book(1)
    posted(target, payment(300))
    assert target.posted("U.u.money") == 0
    assert [leg.account for leg in take_legs(target)[0]] == ["U.u.money"]


def test_a_leg_for_another_lane_is_a_programmers_error():
    """Applying it here would split an account's state."""
    with pytest.raises(AssertionError, match="belongs to 1"):
        book(0).arrive(ArrivedLeg("e1", "e1", "M.m.payable", -5, 1))


def stored(target: Book) -> list[StoredBalance]:
    return [decode_balance(msgspec.json.encode(balance)) for balance in take_balances(target)]


def test_a_restored_book_is_the_same_book():
    """Balances and versions come back from the balances, lives from the journal, and posting goes on from there."""
    first, second = book(), book()
    posted(first, top_up())
    log = stored(first)
    paid = posted(first, payment(300))
    for balance in [*log, *stored(first)]:
        second.restore(balance)
    second.check()
    assert by_account(second) == by_account(first)
    assert second.state_hash() != first.state_hash()
    apply(paid, "u", second.store)
    assert second.state_hash() == first.state_hash()
    assert posted(second, payment(1, "e9")) == posted(first, payment(1, "e9"))
    assert by_account(second) == by_account(first)


def test_a_version_that_goes_back_stops_the_restore():
    """A stale record behind a newer one means that somebody else wrote the changelog."""
    target, source = book(), book()
    posted(source, top_up())
    old = stored(source)
    posted(source, top_up(event_id="t2"))
    for balance in stored(source):
        target.restore(balance)
    with pytest.raises(AssertionError, match="goes back from version 2 to 1"):
        target.restore(old[0])


def test_a_changelog_with_a_hole_stops_the_restore():
    """Without one account the lane no longer sums to zero."""
    target, source = book(), book()
    posted(source, top_up())
    target.restore(stored(source)[0])
    with pytest.raises(AssertionError, match="out of balance by"):
        target.check()


def test_a_balance_of_another_lane_stops_the_restore():
    """The part of an account of the house that is another lane's is not taken over."""
    source = book(1)
    posted(source, top_up(wallet="w"))
    with pytest.raises(AssertionError, match="not of lane 0"):
        book(0).restore(next(b for b in stored(source) if "@" in b.account))


def test_the_hash_sees_amounts_and_versions_and_not_the_order():
    """Two ways to the same books have one hash; a yen or a line more changes it."""
    one, two, three = book(), book(), book()
    for target, events in ((one, ("t1", "t2")), (two, ("t2", "t1")), (three, ("t1",))):
        for event_id in events:
            posted(target, top_up(500 if event_id == "t1" else 300, event_id))
    assert one.state_hash() == two.state_hash() != three.state_hash()
    posted(three, top_up(300, "t2"))
    assert three.state_hash() == one.state_hash()
    assert len(state_hash([])) == 32


def test_what_is_read_is_what_is_written():
    """The ledger's short structs read the records of the contracts."""
    leg = Leg(
        entry_id="e", event_id="e", event_type="T", owner="m", account="M.m.payable", debit_minor=-5, occurred_at_us=7
    )
    legs = msgspec.json.encode(Legs(from_lane=0, to_lane=1, legs=(leg,)))
    assert decode_legs(legs).legs == (ArrivedLeg("e", "e", "M.m.payable", -5, 7, "T"),)
