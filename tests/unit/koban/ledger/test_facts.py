"""The ledger's short view of the records: it must read what the contracts say."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from koban.events import EVENT_TYPES, payment_id
from koban.ledger.facts import decode_balance, decode_fact, decode_legs
from koban.ledger.postings import lines_for
from koban.records import Balance, Legs
from schemas import codec

EXAMPLES = Path(__file__).resolve().parents[4] / "schemas" / "examples"
EVENTS = sorted(path for topic in ("payments", "cashback") for path in (EXAMPLES / topic).glob("*.json"))


class Empty:
    def posted(self, account: str) -> int:
        return 0


@pytest.mark.parametrize("path", EVENTS, ids=[f"{path.parent.name}-{path.stem}" for path in EVENTS])
def test_a_fact_holds_what_the_event_says(path):
    """Each field that the ledger reads has the typed event's value, defaults included; and the event can be posted."""
    event = codec.decode(path.read_bytes())
    fact = decode_fact(codec.encode(event))
    assert (fact.event_type, fact.event_id, fact.payment_id) == (
        type(event).__name__,
        event.event_id,
        payment_id(event),
    )
    for name in set(fact.body.__struct_fields__) & set(event.body.__struct_fields__):
        expected = msgspec.to_builtins(getattr(event.body, name))
        if name == "tenders":
            expected = [{"lot": None, **tender} for tender in expected]
        found = msgspec.to_builtins(getattr(fact.body, name))
        found = list(found) if isinstance(found, tuple) else found
        expected = list(expected) if isinstance(expected, tuple) else expected
        assert found == expected or (not found and expected is None), name
    assert sum(line.debit_minor for line in lines_for(fact, Empty())) == 0


def test_every_event_type_has_an_example():
    """Else the test above would say nothing about it."""
    assert {codec.decode(path.read_bytes()).__class__.__name__ for path in EVENTS} == set(EVENT_TYPES)


def test_legs_and_balances_are_read_as_the_contracts_write_them():
    """Examples of the contracts decode to the same values."""
    for path in (EXAMPLES / "ledger-legs").glob("*.json"):
        legs = msgspec.json.decode(path.read_bytes(), type=Legs).legs
        found = decode_legs(path.read_bytes()).legs
        assert [(leg.account, leg.debit_minor) for leg in found] == [(leg.account, leg.debit_minor) for leg in legs]
    for path in (EXAMPLES / "balances").glob("*.json"):
        balance = msgspec.json.decode(path.read_bytes(), type=Balance)
        found_balance = decode_balance(path.read_bytes())
        assert (found_balance.account, found_balance.version) == (balance.account, balance.version)
