"""Seals, told from the outside: which window a record belongs to, when a window ends, and what a seal holds."""

from __future__ import annotations

import msgspec
import pytest

from koban.ledger.seals import (
    BALANCES,
    EMPTY_ROOT,
    FIRST,
    JOURNAL,
    SIDES,
    LaneSealer,
    leaf_of,
    prove,
    root_of,
    seal_hash,
    verify_proof,
)
from koban.records import FamilyTotal, Seal, SealState

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND


def entry(amount_minor: int = 5, *, other_minor: int | None = None) -> bytes:
    credit = -amount_minor if other_minor is None else other_minor
    lines = [
        {"account": "U.w-1.money", "debit_minor": amount_minor},
        {"account": "M.m-1.payable", "debit_minor": credit},
    ]
    return msgspec.json.encode({"entry_id": "e", "lines": lines})


def sealer() -> LaneSealer:
    return LaneSealer(2, 10 * SECOND, 3 * SECOND)


def feed(made: LaneSealer, *records: tuple[str, int, int]) -> None:
    """(side, offset, seconds after the start)."""
    for side, offset, at_s in records:
        made.on_record(side, offset, T0 + at_s * SECOND, b"w-1", entry())


def test_a_window_ends_when_both_sides_show_a_later_record():
    """Until then something may still come."""
    made = sealer()
    feed(made, (JOURNAL, 0, 1), (BALANCES, 0, 1), (JOURNAL, 1, 12))
    assert made.take_seals() == []
    feed(made, (BALANCES, 4, 12))
    (seal,) = made.take_seals()
    assert (seal.number, seal.from_us, seal.to_us) == (1, T0, T0 + 10 * SECOND)
    assert (seal.journal.first_offset, seal.journal.next_offset, seal.journal.count) == (0, 1, 1)
    assert (seal.balances.first_offset, seal.balances.next_offset, seal.balances.count) == (0, 1, 1)
    assert seal.journal.root == root_of([leaf_of(b"w-1", entry())]).hex()
    assert made.take_seals() == []


def test_a_quiet_window_ends_by_time():
    """Once its grace is over, and only on the sides that were read to their end."""
    made = sealer()
    feed(made, (JOURNAL, 0, 1), (BALANCES, 0, 1))
    made.on_timer(T0 + 13 * SECOND - 1, SIDES)
    assert made.take_seals() == []
    made.on_timer(T0 + 13 * SECOND, [JOURNAL])
    assert made.take_seals() == []
    made.on_timer(T0 + 13 * SECOND, SIDES)
    assert [seal.number for seal in made.take_seals()] == [1]


def test_how_a_window_ended_does_not_show_in_its_seal():
    """By a later record or by time: the same seal, so a replay makes the same chain."""
    by_time, by_record = sealer(), sealer()
    for made in (by_time, by_record):
        feed(made, (JOURNAL, 0, 1), (BALANCES, 0, 1))
    by_time.on_timer(T0 + 60 * SECOND, SIDES)
    feed(by_record, (JOURNAL, 1, 70), (BALANCES, 1, 70))
    assert by_time.take_seals() == by_record.take_seals()


def test_windows_without_records_have_no_seal():
    """Numbers have no gap; the span between two seals held nothing."""
    made = sealer()
    feed(made, (JOURNAL, 0, 1), (JOURNAL, 1, 95))
    made.on_timer(T0 + 200 * SECOND, SIDES)
    first, second = made.take_seals()
    assert [first.number, second.number] == [1, 2]
    assert (second.from_us, second.to_us) == (T0 + 90 * SECOND, T0 + 100 * SECOND)
    assert (first.balances.count, first.balances.root) == (0, EMPTY_ROOT.hex())
    assert (first.previous, second.previous) == (FIRST, first.hash)


def test_a_late_record_belongs_to_the_window_in_which_it_was_seen():
    """A seal never changes: what was written before its end and comes after it is in the next."""
    made = sealer()
    feed(made, (JOURNAL, 0, 1))
    made.on_timer(T0 + 13 * SECOND, SIDES)
    (first,) = made.take_seals()
    feed(made, (JOURNAL, 1, 9))
    made.on_timer(T0 + 23 * SECOND, SIDES)
    (second,) = made.take_seals()
    assert (second.from_us, second.journal.count) == (first.to_us, 1)


def test_a_clock_that_goes_back_opens_no_older_window():
    """Order is the log's; a record without a time, or from an impossible one, lies right behind the one before."""
    made = sealer()
    feed(made, (JOURNAL, 0, 25), (JOURNAL, 1, 3))
    made.on_record(JOURNAL, 2, 0, b"w-1", entry())
    made.on_record(JOURNAL, 3, 9 * 10**17, b"w-1", entry())
    made.on_timer(T0 + 60 * SECOND, SIDES)
    assert [seal.journal.count for seal in made.take_seals()] == [4]


def test_windows_of_another_length_go_on_behind_the_last_seal():
    """The setting may change: no record is in two windows, and ends still follow each other."""
    made = sealer()
    feed(made, (JOURNAL, 0, 5), (JOURNAL, 1, 15), (BALANCES, 1, 15))
    first = made.take_seals()
    longer = LaneSealer(2, 100 * SECOND, 3 * SECOND)
    longer.restore(made.snapshot())
    feed(longer, (BALANCES, 2, 25), (JOURNAL, 2, 26))
    longer.on_timer(T0 + 500 * SECOND, SIDES)
    seals = first + longer.take_seals()
    assert [seal.to_us - T0 for seal in seals] == [10 * SECOND, 20 * SECOND, 100 * SECOND]
    assert [seal.journal.count for seal in seals] == [1, 1, 1]


def test_records_read_again_are_not_sealed_again():
    """The topic read from its start, as after lost offsets: nothing happens until there is something new."""
    made = sealer()
    feed(made, (JOURNAL, 0, 1), (JOURNAL, 1, 2))
    assert made.on_record(JOURNAL, 0, T0, b"w-1", entry()) is None
    assert made.on_record(JOURNAL, 1, T0 + 60 * SECOND, b"w-1", entry()) is None
    made.on_timer(T0 + 60 * SECOND, SIDES)
    assert [seal.journal.count for seal in made.take_seals()] == [2]


def test_a_seal_holds_the_trial_balance_at_its_end():
    """Debits and credits by family since the lane's first entry, and the legs in flight; not what came afterwards."""
    made = sealer()
    flying = msgspec.json.encode({"account": "L.in_flight@2", "posted_minor": -7})
    feed(made, (JOURNAL, 0, 1))
    made.on_record(BALANCES, 0, T0, b"L.in_flight@2", flying)
    feed(made, (JOURNAL, 1, 11), (JOURNAL, 2, 21))
    made.on_timer(T0 + 25 * SECOND, [BALANCES])
    first, second = made.take_seals()
    five, ten = FamilyTotal(debit_minor=5, credit_minor=0), FamilyTotal(debit_minor=10, credit_minor=0)
    assert (first.totals["U"], second.totals["U"]) == (five, ten)
    assert (first.totals["M"].credit_minor, first.in_flight_minor, second.in_flight_minor) == (5, -7, -7)
    assert made.totals()["U"].debit_minor == 15


STRANGE = b'{"lines":[{"account":"x.y","debit_minor":1},{"account":"U.w-1.money","debit_minor":-1}]}'


@pytest.mark.parametrize("value", [entry(5, other_minor=-4), b"no json", None, STRANGE])
def test_an_entry_that_does_not_balance_is_sealed_and_told(value):
    """Sealing is about what is there; whether it is right shows as a figure that must be 0, and never stops it."""
    made = sealer()
    assert made.on_record(JOURNAL, 0, T0, b"w-1", value) is not None
    assert made.on_record(BALANCES, 0, T0, b"L.in_flight@2", value) is not None
    assert made.unbalanced == 1
    made.on_timer(T0 + 60 * SECOND, SIDES)
    assert [msgspec.json.decode(msgspec.json.encode(seal), type=Seal).number for seal in made.take_seals()] == [1]
    later = sealer()
    later.restore(msgspec.json.decode(msgspec.json.encode(made.snapshot()), type=SealState))


def test_every_field_of_a_seal_is_under_its_hash():
    """Nothing can be changed without the hash, nor the hash without the chain."""
    made = sealer()
    feed(made, (JOURNAL, 0, 1), (BALANCES, 0, 1))
    made.on_timer(T0 + 60 * SECOND, SIDES)
    (seal,) = made.take_seals()
    assert seal.hash == seal_hash(seal)
    ranges = [msgspec.structs.replace(seal.journal, **{f: 9}) for f in ("first_offset", "next_offset", "count")]
    ranges.append(msgspec.structs.replace(seal.journal, root=FIRST))
    changed = [msgspec.structs.replace(seal, **{side: other}) for side in SIDES for other in ranges]
    changed += [
        msgspec.structs.replace(seal, **{field: getattr(seal, field) + 1})
        for field in ("lane", "number", "from_us", "to_us", "in_flight_minor")
    ]
    changed += [msgspec.structs.replace(seal, previous="1" * 64), msgspec.structs.replace(seal, totals={})]
    assert len({seal_hash(other) for other in [seal, *changed]}) == len(changed) + 1


def test_the_hashes_are_those_of_rfc_6962():
    """The roots that certificate transparency's own tests give for no, one and seven leaves."""
    assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([b""]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    assert root_of(leaves).hex() == "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"
    assert verify_proof(leaves[3], 3, 7, prove(leaves, 3), root_of(leaves))


def test_there_is_no_proof_of_a_leaf_that_is_not_there():
    with pytest.raises(IndexError):
        prove([b"a"], 1)
    assert not verify_proof(b"a", 1, 1, (), root_of([b"a"]))


def test_a_quiet_lane_is_sealed_up_to_the_present():
    """There was nothing to seal, and that is known: the figure goes on with time, so that its age is an alarm."""
    made = sealer()
    assert made.sealed_to_us == 0
    made.on_timer(T0 + 63 * SECOND, [JOURNAL])
    assert made.sealed_to_us == 0
    made.on_timer(T0 + 63 * SECOND, SIDES)
    assert (made.sealed_to_us, made.number) == (T0 + 60 * SECOND, 0)
    feed(made, (JOURNAL, 0, 61))
    made.on_timer(T0 + 80 * SECOND, [BALANCES])
    assert made.sealed_to_us == T0 + 60 * SECOND
