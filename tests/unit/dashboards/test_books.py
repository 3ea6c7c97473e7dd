"""The ledger page's figures: of what the workers say, and never zero for what nobody says."""

from __future__ import annotations

import msgspec
import pytest

from dashboards.books import SEALS_SHOWN, books, document
from dashboards.sources.workers import History, Stage, samples
from koban.records import FamilyTotal, Seal, SealedRange

TOLD = """
# TYPE koban_ledger_imbalance_minor gauge
koban_ledger_imbalance_minor{lane="0"} 0
koban_ledger_imbalance_minor{lane="1"} 0
# TYPE koban_ledger_balance_minor gauge
koban_ledger_balance_minor{lane="0",family="U"} -1200
koban_ledger_balance_minor{lane="0",family="A"} 900
koban_ledger_balance_minor{lane="0",family="in_flight"} 300
koban_ledger_balance_minor{lane="1",family="M"} -100
koban_ledger_balance_minor{lane="1",family="in_flight"} 100
"""
READ = """
# TYPE koban_journal_total_minor gauge
koban_journal_total_minor{lane="0",family="U",side="debit"} 10
koban_journal_total_minor{lane="1",family="U",side="debit"} 20
koban_journal_total_minor{lane="0",family="M",side="credit"} 30
# TYPE koban_journal_unbalanced_entries gauge
koban_journal_unbalanced_entries{lane="0"} 0
# TYPE koban_seal_number gauge
koban_seal_number{lane="0"} 7
koban_seal_number{lane="1"} 0
# TYPE koban_seal_to_seconds gauge
koban_seal_to_seconds{lane="0"} 1.7e+09
koban_seal_to_seconds{lane="1"} 0
"""


def stage(name: str, text: str) -> Stage:
    history = History(name)
    history.add(1.0, samples(text))
    return history.stage()


def seal(lane: int, number: int, to_us: int = 1_700_000_000_000_000) -> bytes:
    part = SealedRange(first_offset=0, next_offset=1, count=1, root="0" * 64)
    return msgspec.json.encode(
        Seal(
            lane=lane,
            number=number,
            from_us=to_us - 1,
            to_us=to_us,
            journal=part,
            balances=part,
            totals={"U": FamilyTotal(debit_minor=1, credit_minor=1)},
            in_flight_minor=0,
            previous="0" * 64,
            hash="1" * 64,
        )
    )


def test_the_trial_balance_is_the_sum_of_what_the_lanes_say():
    """By family over lanes, by lane over families; the journal's sums beside them."""
    page = books({"ledger": stage("ledger", TOLD), "seals": stage("seals", READ)}, [])
    assert (page.verdict, page.total_minor, page.in_flight_minor, page.unbalanced_entries) == ("balanced", 0, 400, 0)
    rows = {row.family: (row.debit_minor, row.credit_minor, row.balance_minor) for row in page.families}
    assert rows["U"] == (30, 0, -1200)
    assert rows["M"] == (0, 30, -100)
    assert rows["X"] == (0, 0, 0)
    assert [(row.lane, row.total_minor, row.in_flight_minor, row.seal_number) for row in page.lanes] == [
        (0, 0, 300, 7),
        (1, 0, 100, None),
    ]
    assert page.sealed_to == 1.7e9


@pytest.mark.parametrize(
    ("text", "seals"),
    [
        (TOLD.replace("} 900", "} 901"), READ),
        (TOLD.replace('imbalance_minor{lane="1"} 0', 'imbalance_minor{lane="1"} -5'), READ),
        (TOLD.replace("} 900", "} 901").replace("} -100", "} -101"), READ),
        (TOLD, READ.replace('entries{lane="0"} 0', 'entries{lane="0"} 1')),
    ],
)
def test_whatever_does_not_balance_is_told(text, seals):
    """A family's sum, a lane's own figure, two lanes that cancel out, an entry."""
    assert books({"ledger": stage("ledger", text), "seals": stage("seals", seals)}, []).verdict == "out"


def test_a_silent_ledger_is_not_a_balanced_one():
    """Down, or without figures: unknown. Never heard of: nothing."""
    down = stage("ledger", TOLD)
    down.up = False
    for silent in (down, Stage("ledger", up=False), Stage("ledger", up=True)):
        page = books({"ledger": silent}, [])
        assert (page.verdict, page.total_minor, page.in_flight_minor) == ("unknown", None, None)
    assert books({}, []).verdict == "nothing"


def test_without_the_sealer_the_journals_sums_are_absent():
    """Not zero: nobody counted."""
    page = books({"ledger": stage("ledger", TOLD)}, [])
    assert {row.debit_minor for row in page.families} == {None}
    assert (page.unbalanced_entries, page.sealed_to) == (None, None)


def test_the_newest_seals_come_first():
    """Each once, a bounded number, and what can't be read left out."""
    values = [seal(0, n, 1_700_000_000_000_000 + n) for n in range(1, 40)]
    page = books({}, [*values, values[0], b"{", None, seal(1, 5)])
    assert len(page.seals) == SEALS_SHOWN
    assert [each.number for each in page.seals[:2]] == [39, 38]


def test_the_page_as_data():
    page = document(books({"ledger": stage("ledger", TOLD), "seals": stage("seals", READ)}, [seal(0, 1)]))
    assert (page["verdict"], page["total_minor"], page["sealed_to"]) == ("balanced", 0, 1.7e9)
    assert page["seals"][0]["hash"] == "1" * 64
