"""The records of a batch, by column, are what their contracts say."""

from __future__ import annotations

import msgspec
import pytest

from koban.ledger.slots import Touched
from koban.records import Balance
from schemas.cloudevents import read
from streams.ledger.rows import balance_rows

AT_US = 1_775_000_000_000_000


@pytest.mark.parametrize("event_id", ["e-1", 'e"1', "e\\1", "é"])
def test_balances_are_written_as_their_contract_has_them(event_id: str) -> None:
    """To the byte, held money and promised cashback included, and whatever an event calls itself."""
    touched = Touched(
        accounts=("U.w-1.money", "U.w-1.held.money", "U.w-1.grant_pending.c-1", "A.bank@3"),
        owners=("w-1", "w-1", "w-1", "A.bank"),
        posted_minor=(700, 300, 50, -1_050),
        held_minor=(0, 300, 50, 0),
        pending_in_minor=(0, 0, 50, 0),
        versions=(7, 1, 1, 200_000),
        as_of_us=(AT_US, AT_US, AT_US + 1, AT_US),
        event_ids=(event_id, event_id, "e-2", event_id),
        entry_ids=(event_id, event_id, "e-2:over_limit", event_id),
    )
    found = balance_rows(touched, [5, 6, 7, 8], 17).each()
    values = [msgspec.json.encode(balance) for balance in touched.balances()]
    assert [value for _, _, value, _ in found] == values
    assert [(at_ms, key.decode()) for at_ms, key, _, _ in found] == list(
        zip((5, 6, 7, 8), touched.accounts, strict=True)
    )
    about = [read(headers) for *_, headers in found]
    assert [it.id for it in about] == [f"{a}:{v}" for a, v in zip(touched.accounts, touched.versions, strict=True)]
    assert [it.causation_id for it in about] == list(touched.event_ids)
    assert {(it.type, it.source, it.at_us, it.correlation_id) for it in about} == {
        ("koban.balance", "/koban/ledger", 17, None)
    }


def test_balances_of_one_kind() -> None:
    """A column that says the same in every row is no different."""
    touched = Touched(
        ("U.a.money", "U.b.money"), ("a", "b"), (5, 5), (0, 0), (0, 0), (1, 1), (AT_US,) * 2, ("e", "e"), ("e", "e")
    )
    values = [msgspec.json.decode(value, type=Balance) for _, _, value, _ in balance_rows(touched, [1, 1], 2).each()]
    assert values == touched.balances()
