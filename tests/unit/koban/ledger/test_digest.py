"""One hash of the whole state: what it sees, and what it does not depend on."""

from __future__ import annotations

import pytest

from koban.ledger.digest import StateHash
from koban.records import WaitingRefund


def balance(account: str, posted_minor: int, version: int) -> tuple[str, int, int]:
    return account, posted_minor, version


def waiting(event_id: str, amount_minor: int = 5) -> WaitingRefund:
    return WaitingRefund(
        event_id=event_id,
        payment_id="p",
        refund_id="r",
        account="M.m.payable",
        amount_minor=amount_minor,
        asked_at_us=1,
    )


class State:
    """A small state; each test changes one thing of it."""

    def __init__(self) -> None:
        self.balances = [balance("U.u.money", 7, 3), balance("A.bank@0", 4, 2), balance("A.bank@1", 3, 1)]
        self.lives = {"u/p": b"paid", "/transfer/u/t": b"sent"}
        self.waiting = [waiting("e1"), waiting("e2")]

    def digest(self, step: int = 1) -> str:
        found = StateHash()
        for each in self.balances[::step]:
            found.add_balance(*each)
        for key in list(self.lives)[::step]:
            found.add_life(key, self.lives[key])
        for refund in self.waiting[::step]:
            found.add_waiting(refund)
        return found.hexdigest()


def test_neither_order_nor_the_number_of_lanes_changes_the_hash():
    """Added from the other end, and with the house's account in one part instead of two: the same 32 digits."""
    state, one_lane = State(), State()
    one_lane.balances[1:] = [balance("A.bank@0", 7, 3)]
    assert state.digest() == state.digest(step=-1) == one_lane.digest()
    assert len(state.digest()) == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.balances.append(balance("U.v.money", 1, 1)),
        lambda state: state.balances.__setitem__(0, balance("U.u.money", 8, 3)),
        lambda state: state.balances.__setitem__(0, balance("U.u.money", 7, 4)),
        lambda state: state.balances.__setitem__(2, balance("A.bank@1", 2, 1)),
        lambda state: state.lives.update({"u/p": b"canceled"}),
        lambda state: state.lives.update({"u/q": b"paid"}),
        lambda state: state.lives.pop("/transfer/u/t"),
        lambda state: state.waiting.pop(),
        lambda state: state.waiting.append(waiting("e3")),
        lambda state: state.waiting.__setitem__(0, waiting("e1", 6)),
    ],
)
def test_every_part_of_the_state_counts(change):
    """A yen, a version, a payment's life or a refund that waits: the hash tells the two states apart."""
    state = State()
    change(state)
    assert state.digest() != State().digest()


def test_the_hash_can_be_asked_for_twice():
    """Asking changes nothing, and what is added afterwards counts."""
    found = StateHash()
    found.add_balance("A.bank@0", 4, 2)
    first = found.hexdigest()
    assert found.hexdigest() == first
    found.add_balance("A.bank@1", 3, 1)
    assert found.hexdigest() != first
