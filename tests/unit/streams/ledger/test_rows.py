"""The records of a batch, by column, are what their contracts say."""

from __future__ import annotations

import msgspec
import pytest

from koban.events import Line
from koban.ledger.accounts import parse
from koban.ledger.facts import ArrivedLeg
from koban.ledger.moves import Moves
from koban.ledger.slots import Slot, Touched
from koban.records import Balance, Leg, Legs, Posting
from schemas.cloudevents import read
from streams.ledger.rows import MoveRows

AT_US = 1_775_000_000_000_000
IDS = ["e-1", 'e"1', "e\\1", "é"]


def paid(moves: Moves, event_id: str, amount_minor: int = 700, payment_id: str = "p-1", at_ms: int = 5) -> int:
    """A plain payment's row."""
    account = parse("M.m%2E3.payable")
    assert account is not None
    payee = Slot.of(account, 1)
    moves.rows.append((event_id, payment_id, AT_US, b"w-1", at_ms, "U.w-1.money", payee, amount_minor))
    return len(moves.rows) - 1


def written(moves: Moves, touched: Touched) -> list[tuple[int, bytes, bytes, list[tuple[str, bytes]]]]:
    """The records of balances that come in two portions."""
    portions = Touched(*(column[:1] for column in touched)), Touched(*(column[1:] for column in touched))
    rows = MoveRows(moves, 17).balances(portions)
    assert rows is not None
    return rows.each()


@pytest.mark.parametrize("event_id", IDS)
def test_balances_are_written_as_their_contract_has_them(event_id: str) -> None:
    """To the byte, held money and promised cashback included, whatever an event calls itself and whatever it was."""
    moves = Moves()
    payment = paid(moves, event_id)
    over = Posting(entry_id="e-2:over_limit", event_id="e-2", event_type="T", occurred_at_us=AT_US + 1, lines=())
    follower = moves.open(over.event_id, None, over.occurred_at_us, b"w-1", 6)
    moves.entries[follower] = over
    touched = Touched(
        accounts=("U.w-1.money", "U.w-1.held.money", "U.w-1.grant_pending.c-1", "A.bank@3"),
        owners=("w-1", "w-1", "w-1", "A.bank"),
        posted_minor=(700, 300, 50, -1_050),
        held_minor=(0, 300, 50, 0),
        pending_in_minor=(0, 0, 50, 0),
        versions=(7, 1, 1, 200_000),
        causes=(payment, payment, follower, payment),
    )
    for with_legs in (False, True):
        if with_legs:
            moves.legs.append(ArrivedLeg("e-3", event_id, "U.w-1.money", -5, AT_US + 9))
            moves.legs_ms.append(9)
            touched = touched._replace(causes=(~0, payment, follower, payment))
        found = written(moves, touched)
        balances = moves.balances(touched)
        assert [value for _, _, value, _ in found] == [msgspec.json.encode(balance) for balance in balances]
        times_ms = (9 if with_legs else 5, 5, 6, 5)
        assert [(at_ms, key.decode()) for at_ms, key, _, _ in found] == list(
            zip(times_ms, touched.accounts, strict=True)
        )
        about = [read(headers) for *_, headers in found]
        assert [it.id for it in about] == [f"{a}:{v}" for a, v in zip(touched.accounts, touched.versions, strict=True)]
        assert [it.causation_id for it in about] == [event_id, event_id, "e-2", event_id]
        assert {(it.type, it.source, it.at_us, it.correlation_id) for it in about} == {
            ("koban.balance", "/koban/ledger", 17, None)
        }
        assert [balance.entry_id for balance in balances] == [
            "e-3" if with_legs else event_id, event_id, "e-2:over_limit", event_id,
        ]  # fmt: skip


def test_balances_of_one_kind() -> None:
    """A column that says the same in every row is no different."""
    moves = Moves()
    row = paid(moves, "e")
    touched = Touched(("U.a.money", "U.b.money"), ("a", "b"), (5, 5), (0, 0), (0, 0), (1, 1), (row, row))
    found = written(moves, touched)
    assert [msgspec.json.decode(value, type=Balance) for _, _, value, _ in found] == moves.balances(touched)


@pytest.mark.parametrize("event_id", IDS)
def test_legs_are_written_as_their_contract_has_them(event_id: str) -> None:
    """Plain payments' legs and others', in their order, and each kind alone."""
    moves = Moves()
    rows = [paid(moves, event_id, amount_minor, f"p-{event_id}") for amount_minor in (700, 3)]
    claim = Leg("e-2", "e-2", "RefundRequested", "m-1", "M.m-1.payable", 0, AT_US, "p-2", event_id, 50)
    for legs in ([claim], rows, [rows[0], claim, rows[1]], [claim, rows[1], claim]):
        whole = Legs(
            from_lane=3, to_lane=1, legs=tuple(moves.leg(leg) if isinstance(leg, int) else leg for leg in legs)
        )
        assert MoveRows(moves, 17).legs(3, 1, legs) == msgspec.json.encode(whole)


def test_the_journal_tells_what_each_entry_is_about() -> None:
    """An entry that followed from another has its own id and its event's; a payment's id is told where there is one."""
    moves = Moves()
    paid(moves, "e-1", at_ms=4)
    lines = (Line("M.m-1.payable", 5), Line("M.m-1.refund_reserved", -5))
    follower = Posting(entry_id="e-2:reserved", event_id="e-2", event_type="T", occurred_at_us=AT_US, lines=lines)
    moves.entries[moves.open("e-2", None, AT_US, b"m-1", 6)] = follower
    found = MoveRows(moves, 17).journal().each()
    assert [(at_ms, key) for at_ms, key, _, _ in found] == [(4, b"w-1"), (6, b"m-1")]
    assert found[1][2] == msgspec.json.encode(follower)
    about = [read(headers) for *_, headers in found]
    assert [(it.id, it.causation_id, it.correlation_id) for it in about] == [
        ("e-1", "e-1", "p-1"),
        ("e-2:reserved", "e-2", None),
    ]
