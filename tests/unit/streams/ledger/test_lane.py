"""The ledger's lane: what it writes of a batch, and what it refuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from koban.ledger.facts import decode_balance
from koban.records import Balance, Entry, Legs, WaitingRefund
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode
from schemas.partitioning import lane_of
from streams.ledger.lane import CASHBACK, LEGS, REPLAYS, VALID, LedgerLane
from streams.transport import Batch
from streams.transport.batch import Output

LANES = 4
WALLET = "w-1"
LANE = lane_of(WALLET, LANES)
MERCHANT = next(m for m in (f"m-{i}" for i in range(99)) if lane_of(m, LANES) != LANE)
NOW_US = 1_700_000_009_000_000


class Stored(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def event(event_type: str, event_id: str, aggregate_id: str = "p-1", **body: Any) -> bytes:
    return msgspec.json.encode(
        {
            "event_type": event_type,
            "event_id": event_id,
            "occurred_at_us": 1_700_000_000_000_000,
            "aggregate": "payment",
            "aggregate_id": aggregate_id,
            "aggregate_seq": 1,
            "body": {"wallet_id": WALLET, **body},
        }
    )


def payment(event_id: str, amount_minor: int = 300) -> bytes:
    tenders = [{"kind": "money", "amount_minor": amount_minor}]
    return event(
        "PaymentCompleted",
        event_id,
        aggregate_id=f"p-{event_id}",
        merchant_id=MERCHANT,
        store_id="s",
        amount_minor=amount_minor,
        tenders=tenders,
    )


def top_up(event_id: str, amount_minor: int = 1000) -> bytes:
    return event("TopUpCompleted", event_id, amount_minor=amount_minor, source="bank", verified=True)


def cashback(event_id: str, event_type: str = "CashbackGranted") -> bytes:
    return event(event_type, event_id, campaign_id="c", definition_hash="h", payment_id="p-1", amount_minor=5)


class Bench:
    """A lane and what it has counted."""

    def __init__(self, partition: int = LANE) -> None:
        self.counts: Counter[str] = Counter()
        self.imbalances: list[int] = []
        self.lane = LedgerLane(
            partition,
            LANES,
            lambda outcome, n: self.counts.update({outcome: n}),
            self.imbalances.append,
            lambda: NOW_US,
        )

    def outputs(self, *values: bytes | None, topic: str = VALID, at_ms: int = 1000) -> list[Output]:
        records = [Stored(10 + i, at_ms + i, WALLET.encode(), value) for i, value in enumerate(values)]
        batch = Batch(topic, self.lane.partition, records, 10 + len(records))
        asyncio.run(self.lane.on_batch(batch))
        return batch.outputs


def of(outputs: list[Output], topic: str) -> list[Output]:
    return [output for output in outputs if output.topic == topic]


def test_a_batch_gives_entries_legs_and_the_last_balances():
    """Two events, two entries, one record of legs a lane, and each touched account once."""
    outputs = Bench().outputs(top_up("t1"), payment("p1"), payment("p2"))
    entries = [msgspec.json.decode(output.value or b"", type=Entry) for output in of(outputs, "journal")]
    assert [entry.event_id for entry in entries] == ["t1", "p1", "p2"]
    (legs,) = of(outputs, LEGS)
    sent = msgspec.json.decode(legs.value or b"", type=Legs)
    assert (sent.from_lane, sent.to_lane, legs.partition) == (LANE, lane_of(MERCHANT, LANES), lane_of(MERCHANT, LANES))
    assert [leg.debit_minor for leg in sent.legs] == [-300, -300]
    balances = {
        b.account: b for b in (msgspec.json.decode(o.value or b"", type=Balance) for o in of(outputs, "balances"))
    }
    assert (balances[f"U.{WALLET}.money"].posted_minor, balances[f"U.{WALLET}.money"].version) == (400, 3)
    assert len(balances) == len(of(outputs, "balances")) == 3


def test_every_record_stays_in_its_lane_with_the_time_of_its_cause():
    """Entries and balances lie where their owner lives; a record's timestamp is that of the record that caused it."""
    outputs = Bench().outputs(top_up("t1"), payment("p1"), at_ms=5000)
    entries, balances = of(outputs, "journal"), of(outputs, "balances")
    assert {o.partition for o in (*entries, *balances)} == {LANE}
    assert [o.timestamp_ms for o in entries] == [5000, 5001]
    by_account = {o.key: o.timestamp_ms for o in balances}
    assert by_account[f"A.bank_clearing.unnamed@{LANE}".encode()] == 5000
    assert by_account[f"U.{WALLET}.money".encode()] == 5001
    assert {o.timestamp_ms for o in of(outputs, LEGS)} == {5001}


def test_records_say_what_they_are_and_what_caused_them():
    """Consumers need no body to know type, payment, cause and time."""
    entry = of(Bench().outputs(payment("p1")), "journal")[0]
    headers = dict(entry.headers)
    assert headers["ce_type"] == b"koban.journal-entry"
    assert headers["ce_correlationid"] == b"p-p1"
    assert headers["ce_causationid"] == b"p1"
    assert headers["koban_at_us"] == str(NOW_US).encode()


def test_legs_are_applied_where_they_arrive():
    """The other lane writes the merchant's balance, and no second entry."""
    (legs,) = of(Bench().outputs(payment("p1")), LEGS)
    there = Bench(lane_of(MERCHANT, LANES))
    outputs = there.outputs(legs.value, topic=LEGS)
    assert of(outputs, "journal") == []
    balances = {b["account"]: b for b in (msgspec.json.decode(o.value or b"") for o in of(outputs, "balances"))}
    assert balances[f"M.{MERCHANT}.payable"]["posted_minor"] == 300
    assert there.counts["legs_applied"] == 1


def test_an_event_that_moves_no_money_writes_nothing():
    """A log-in is no entry."""
    assert Bench().outputs(event("LoggedIn", "x")) == []


@pytest.mark.parametrize(
    ("topic", "value", "code"),
    [
        (VALID, b"no json", ReasonCode.NOT_JSON),
        (VALID, None, ReasonCode.EMPTY),
        (VALID, event("MoonLanded", "x"), ReasonCode.UNKNOWN_TYPE),
        (VALID, payment("").replace(b'"body"', b'"producer":"core","body"'), ReasonCode.OUT_OF_BOUNDS),
        (CASHBACK, b"{}", ReasonCode.UNKNOWN_TYPE),
        (CASHBACK, event("TopUpCompleted", "x", amount_minor=5, source="bank"), ReasonCode.REFUSED),
    ],
)
def test_a_bad_record_is_dead_lettered_and_the_others_are_posted(topic, value, code):
    """One bad record never stops the books, and is not lost."""
    bench = Bench()
    good = payment("p1") if topic == VALID else cashback("g1")
    outputs = bench.outputs(value, good, topic=topic)
    (letter,) = of(outputs, "payments-dlq")
    assert letter.value == value
    read = DeadLetter.read(letter.headers)
    assert (read.reason_code, read.stage, read.origin_topic, read.origin_offset) == (code, "ledger", topic, 10)
    assert len(of(outputs, "journal")) == 1
    assert (bench.counts["rejected"], bench.counts["posted"]) == (1, 1)


def test_breaches_are_counted():
    """An overdraft is on the entry and in the metrics."""
    bench = Bench()
    (entry,) = of(bench.outputs(payment("p1")), "journal")
    assert msgspec.json.decode(entry.value or b"")["breaches"] == [
        {"code": "below_zero", "account": f"U.{WALLET}.money"}
    ]
    assert bench.counts["breach_below_zero"] == 1


def test_a_grant_is_posted_from_the_pot():
    """Cashback reaches the points; the campaign's side goes to the campaign's lane."""
    outputs = Bench().outputs(cashback("g1"), topic=CASHBACK)
    (entry,) = [msgspec.json.decode(o.value or b"", type=Entry) for o in of(outputs, "journal")]
    assert [(line.account, line.debit_minor) for line in entry.lines] == [
        ("C.c.available", 5),
        (f"U.{WALLET}.points", -5),
    ]


def test_books_out_of_balance_are_never_written():
    """A lost line stops the worker before anything of the batch is committed, and shows as a metric."""
    bench = Bench()
    bench.lane.book.families["U"] = 7
    with pytest.raises(AssertionError, match="out of balance by 7 yen"):
        bench.outputs(payment("p1"))
    assert bench.imbalances == [7]


def test_the_trial_balance_is_told_by_family():
    """Debits positive, legs in flight apart, all of it zero; and the same after a restore."""
    told: list[dict[str, int]] = []
    lane = LedgerLane(LANE, LANES, clock_us=lambda: NOW_US, trial_balance=lambda families: told.append(dict(families)))
    batch = Batch(VALID, LANE, [Stored(10, 1, WALLET.encode(), top_up("t1")), Stored(11, 1, b"w", payment("p1"))], 12)
    asyncio.run(lane.on_batch(batch))
    assert told == [{"A": 1000, "U": -700, "in_flight": -300}]
    again = LedgerLane(LANE, LANES, trial_balance=lambda families: told.append(dict(families)))
    for output in of(batch.outputs, "balances"):
        again.book.restore(decode_balance(output.value or b""))
    assert again.book.families == told[0]


def refund(event_id: str, event_type: str, amount_minor: int, payment_id: str) -> bytes:
    tenders = [{"kind": "money", "amount_minor": amount_minor}]
    return event(
        event_type,
        event_id,
        aggregate_id=payment_id,
        merchant_id=MERCHANT,
        refund_id="r-1",
        amount_minor=amount_minor,
        tenders=tenders,
    )


@pytest.mark.parametrize("topic", [VALID, REPLAYS])
def test_a_refused_event_is_dead_lettered_by_the_name_of_the_rule(topic):
    """Its bytes are kept, to be replayed to the ledger once they are true; the others of the batch are posted."""
    bench = Bench()
    outputs = bench.outputs(refund("r1", "RefundRequested", 301, "p-p1"), payment("p1"), topic=topic)
    (letter,) = of(outputs, "payments-dlq")
    read = DeadLetter.read(letter.headers)
    assert (read.reason_code, read.stage, read.origin_topic) == (ReasonCode.REFUSED, "ledger", topic)
    assert read.reason.startswith("unknown_payment: ")
    assert letter.value == refund("r1", "RefundRequested", 301, "p-p1")
    assert (bench.counts["refused"], bench.counts["refused_unknown_payment"], bench.counts["posted"]) == (1, 1, 1)


def test_a_refund_that_waits_is_a_record_until_it_is_served():
    """The claim travels as a leg; the merchant's lane writes who waits, then a tombstone and the entry."""
    here, there = Bench(), Bench(lane_of(MERCHANT, LANES))
    first = here.outputs(payment("p1"))
    there.outputs(of(first, LEGS)[0].value, topic=LEGS)
    there.outputs(event("SettlementClosed", "s1", merchant_id=MERCHANT, gross_minor=300))
    asked = here.outputs(refund("r1", "RefundRequested", 300, "p-p1"))
    assert [len(msgspec.json.decode(o.value or b"", type=Entry).lines) for o in of(asked, "journal")] == [0]
    waits = there.outputs(of(asked, LEGS)[0].value, topic=LEGS, at_ms=7000)
    (record,) = of(waits, "refunds-waiting")
    assert (record.key, record.timestamp_ms) == (b"r1", 7000)
    assert msgspec.json.decode(record.value or b"", type=WaitingRefund).amount_minor == 300
    assert of(waits, "journal") == []
    served = there.outputs(of(here.outputs(payment("p2")), LEGS)[0].value, topic=LEGS, at_ms=9000)
    (tombstone,) = of(served, "refunds-waiting")
    (entry,) = of(served, "journal")
    assert (tombstone.key, tombstone.value) == (b"r1", None)
    assert msgspec.json.decode(entry.value or b"", type=Entry).entry_id == "r1:reserved"
    assert (entry.key, entry.partition, entry.timestamp_ms) == (MERCHANT.encode(), there.lane.partition, 9000)
    assert dict(entry.headers)["ce_causationid"] == b"r1"
    assert {o.timestamp_ms for o in of(served, "balances")} == {9000}
