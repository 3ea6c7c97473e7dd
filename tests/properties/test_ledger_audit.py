"""The audit over books that the real lanes wrote: it holds, and whatever is changed afterwards is named.

Ledger and sealer are the real lanes; topics, offsets and transactions are a few lines of memory.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koban.ledger.seals import LaneSealer, seal_hash
from koban.records import Seal
from ops.audit.evidence import BALANCES, JOURNAL, LEAVES, LEGS, SEALS, TOPICS, Evidence
from ops.audit.findings import Difference, LaneAudit
from ops.audit.lane import Audit
from ops.kafka_log import LogRecord
from schemas.partitioning import lane_of
from streams.ledger.lane import CASHBACK, VALID, LedgerLane
from streams.seals.lane import SealsLane
from streams.transport import Batch

LANES = 2
SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND
patient = settings(deadline=None, max_examples=60)
WALLETS, MERCHANTS = (
    [next(f"{kind}-{n}" for n in range(99) if lane_of(f"{kind}-{n}", LANES) == lane) for lane in range(LANES)]
    + [f"{kind}-{n}" for n in (100, 101)]
    for kind in "wm"
)
"""At least one in each lane."""
Topics = dict[tuple[str, int], list[LogRecord]]


class Row:
    """A record as a lane reads it."""

    def __init__(self, record: LogRecord) -> None:
        self.offset, self.timestamp, self.key, self.value = (
            record.offset, record.timestamp_ms, record.key, record.value
        )  # fmt: skip
        self.headers = tuple(record.headers.items())


class Platform:
    """Ledger and sealer lanes over topics in memory; each transaction takes an offset more, for its marker."""

    def __init__(self, seed: int) -> None:
        self.topics: Topics = defaultdict(list)
        self.now_us = T0
        self._next: dict[tuple[str, int], int] = defaultdict(int)
        self._done: dict[tuple[str, str, int], int] = defaultdict(int)
        self._random = random.Random(seed)
        self._number = 0
        self.ledgers = [LedgerLane(lane, LANES, clock_us=lambda: self.now_us) for lane in range(LANES)]
        self.sealers = [
            SealsLane(lane, LaneSealer(lane, 10 * SECOND, 3 * SECOND), clock_us=lambda: self.now_us)
            for lane in range(LANES)
        ]

    def append(self, topic: str, lane: int, key: bytes | None, value: bytes, headers: Any = ()) -> None:
        offset = self._next[topic, lane]
        self._next[topic, lane] += 1
        self.topics[topic, lane].append(LogRecord(topic, lane, offset, 1, key, value, dict(headers)))

    def send(self, event_type: str, wallet: str, payment: str | None = None, **body: Any) -> str:
        """Of a payment, or of one of its own, whose id is given back."""
        self._number += 1
        payment = payment or f"p-{self._number}"
        value = {
            "event_type": event_type, "event_id": f"e-{self._number}", "occurred_at_us": self.now_us,
            "aggregate": "payment", "aggregate_id": payment, "aggregate_seq": 1,
            "body": {"wallet_id": wallet, **body},
        }  # fmt: skip
        self.append(VALID, lane_of(wallet, LANES), wallet.encode(), msgspec.json.encode(value))
        return payment

    def live(self, seconds: int) -> None:
        """Events, legs and seals, a second at a time."""
        for _ in range(seconds):
            for _ in range(self._random.randrange(3)):
                self._event()
            for lane in range(LANES):
                for topic in (VALID, CASHBACK, LEGS):
                    if self._random.random() < 0.8:
                        self._work("ledger", self.ledgers[lane], topic)
                for topic in (JOURNAL, BALANCES):
                    self._work("seals", self.sealers[lane], topic)
            self.now_us += SECOND

    def finish(self) -> None:
        """All events posted, all legs arrived; and what is old enough is sealed."""
        for _ in range(3):
            for lane in range(LANES):
                for topic in (VALID, CASHBACK, LEGS):
                    self._work("ledger", self.ledgers[lane], topic)
        for lane, sealer in enumerate(self.sealers):
            for topic in (JOURNAL, BALANCES):
                self._work("seals", sealer, topic)
            batch = Batch("", lane, [], 0)
            asyncio.run(sealer.on_timer(batch, self.now_us, (JOURNAL, BALANCES)))
            self._commit(batch)

    def _event(self) -> None:
        wallet, other = self._random.sample(WALLETS, 2)
        amount = self._random.randrange(1, 500)
        match self._random.randrange(4):
            case 0:
                self.send("TopUpCompleted", wallet, amount_minor=amount, source="bank", verified=True)
            case 1:
                sent = {"transfer_id": f"t-{self._number}", "kind": "money", "receiver_wallet_id": other}
                self.send("TransferSent", wallet, amount_minor=amount, **sent)
                self.send("TransferAccepted", wallet, amount_minor=amount, **sent)
            case _:
                merchant = self._random.choice(MERCHANTS)
                tenders = [{"kind": "money", "amount_minor": amount}]
                paid = {"merchant_id": merchant, "amount_minor": amount, "tenders": tenders}
                payment = self.send("PaymentCompleted", wallet, **paid)
                if self._random.random() < 0.5:  # most merchants have to wait for the money
                    self.send("RefundRequested", wallet, payment, refund_id="r-1", **paid)
                if self._random.random() < 0.3:
                    self.send("RefundCompleted", wallet, payment, refund_id="r-1", **paid)

    def _work(self, stage: str, lane: Any, topic: str) -> None:
        place = (topic, lane.partition)
        records = self.topics[place][self._done[stage, *place] :]
        if not records:
            return
        self._done[stage, *place] += len(records)
        batch = Batch(topic, lane.partition, [Row(record) for record in records], records[-1].offset + 1)  # type: ignore[misc]  # as a lane reads them
        asyncio.run(lane.on_batch(batch))
        self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        for output in batch.outputs:
            assert output.value is not None
            self.append(output.topic, output.partition or 0, output.key, output.value, output.headers)
        for place in {(output.topic, output.partition or 0) for output in batch.outputs}:
            self._next[place] += 1


@cache
def written() -> Topics:
    """The topics after two minutes; a window or two are not sealed yet."""
    platform = Platform(7)
    platform.live(110)
    platform.finish()
    return dict(platform.topics)


def audited(topics: Topics, lane: int, *, legs_whole: bool = True, kept: str | None = None) -> LaneAudit:
    evidence = Evidence(lane, LANES, legs_whole=legs_whole)
    for topic in TOPICS:
        for record in topics[topic, lane]:
            evidence.take(topic, record)
    return Audit(evidence, kept).run()


def tampered(topic: str, lane: int, records: Sequence[LogRecord]) -> Topics:
    return {**written(), (topic, lane): list(records)}


def sealed(topic: str, lane: int) -> list[tuple[int, LogRecord]]:
    """(number of the seal, record) of what is sealed."""
    seals = [msgspec.json.decode(record.value or b"", type=Seal) for record in written()[SEALS, lane]]
    found = []
    for record in written()[topic, lane]:
        for seal in seals:
            part = getattr(seal, topic)
            if part.first_offset <= record.offset < part.next_offset:
                found.append((seal.number, record))
    return found


def with_value(record: LogRecord, value: bytes) -> LogRecord:
    return replace(record, value=value)


def the_only(result: LaneAudit) -> Difference:
    (difference,) = result.differences
    return difference


@pytest.mark.parametrize("lane", range(LANES))
def test_untouched_books_hold(lane):
    """Every seal recomputed, every balance folded at every window's end, and the tail left as not sealed yet."""
    result = audited(written(), lane)
    assert result.differences == []
    assert result.seals >= 8
    assert result.compacted == result.not_folded == 0
    assert 0 < result.unsealed < result.journal + result.balances


places = st.tuples(st.sampled_from((JOURNAL, BALANCES)), st.integers(0, LANES - 1), st.integers(0, 10**6))


@patient
@given(places, st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_named(place, at, flip):
    """Window, topic, partition and offset of the record, whichever byte of whichever record."""
    topic, lane, which = place
    records = written()[topic, lane]
    window, record = sealed(topic, lane)[which % len(sealed(topic, lane))]
    value = bytearray(record.value or b"")
    value[at % len(value)] ^= flip
    changed = [with_value(record, bytes(value)) if each is record else each for each in records]
    found = [d for d in audited(tampered(topic, lane, changed), lane).differences if d.kind == "altered"]
    assert [(d.window, d.topic, d.lane, d.offset) for d in found] == [(window, topic, lane, record.offset)]


@patient
@given(places)
def test_a_lost_record_is_named(place):
    """With where it lay. A balance record is missed unless a newer one of its account is there: compaction's right."""
    topic, lane, which = place
    records = written()[topic, lane]
    window, record = sealed(topic, lane)[which % len(sealed(topic, lane))]
    left = [each for each in records if each is not record]
    result = audited(tampered(topic, lane, left), lane)
    if topic == BALANCES and any(each.key == record.key and each.offset > record.offset for each in left):
        assert (result.compacted, result.differences) == (1, [])
        return
    difference = the_only(result)
    assert (difference.kind, difference.window, difference.topic, difference.offset) == (
        "missing", window, topic, record.offset
    )  # fmt: skip


@patient
@given(places, st.integers(1, 10**6))
def test_two_swapped_records_are_named(place, distance):
    """Both, and nothing else."""
    topic, lane, which = place
    numbers = sealed(topic, lane)
    first = which % len(numbers)
    second = (first + 1 + distance % (len(numbers) - 1)) % len(numbers)
    records = list(written()[topic, lane])
    one, other = (records.index(numbers[at][1]) for at in (first, second))
    for at, source in ((one, numbers[second][1]), (other, numbers[first][1])):
        records[at] = replace(source, offset=records[at].offset)
    found = audited(tampered(topic, lane, records), lane).differences
    assert {(d.kind, d.offset) for d in found} == {("moved", records[one].offset), ("moved", records[other].offset)}


@patient
@given(places, st.sampled_from(("again", "made up")))
def test_an_added_record_is_named(place, how):
    """A copy of a record further on, or one that nobody ever wrote."""
    topic, lane, which = place
    records = list(written()[topic, lane])
    numbers = sealed(topic, lane)
    _, before = numbers[which % (len(numbers) - 1)]
    at = records.index(before) + 1
    value = before.value if how == "again" else b'{"lines":[],"account":"U.w-9.money","posted_minor":0,"version":1}'
    key = before.key if how == "again" else b"w-9"
    records.insert(at, LogRecord(topic, lane, before.offset, 1, key, value, {}))
    difference = the_only(audited(tampered(topic, lane, records), lane))
    assert (difference.kind, difference.offset) == ("extra", before.offset)


@patient
@given(st.integers(0, LANES - 1), st.integers(0, 10**6), st.data())
def test_a_changed_seal_is_named(lane, which, data):
    """Whichever field: by its own hash, or, with a hash made to fit, by the next seal or by what it should hold."""
    records = list(written()[SEALS, lane])
    at = which % len(records)
    seal = msgspec.json.decode(records[at].value or b"", type=Seal)
    side = data.draw(st.sampled_from((JOURNAL, BALANCES)))
    part = getattr(seal, side)
    changes: list[tuple[dict[str, Any], bool]] = [
        ({"from_us": seal.from_us + 1}, False),
        ({"to_us": seal.to_us - 1}, False),
        ({side: msgspec.structs.replace(part, next_offset=part.next_offset + 1)}, False),
        ({side: msgspec.structs.replace(part, root="2" * 64)}, True),
        ({"number": seal.number + 1}, True),
        ({"in_flight_minor": seal.in_flight_minor + 1}, True),
        ({"totals": {}}, True),
        ({"previous": "1" * 64}, True),
    ]
    changed, shows_in_the_records = data.draw(st.sampled_from(changes))
    forged = msgspec.structs.replace(seal, **changed)
    hashed_anew = data.draw(st.booleans())
    if hashed_anew:
        forged = msgspec.structs.replace(forged, hash=seal_hash(forged))
    records[at] = with_value(records[at], msgspec.json.encode(forged))
    kept = None
    if hashed_anew and at == len(records) - 1 and not shows_in_the_records:
        assert audited(tampered(SEALS, lane, records), lane).ok, "only who kept the last hash can tell"
        kept = seal.hash
    found = audited(tampered(SEALS, lane, records), lane, kept=kept).differences
    assert {d.window for d in found} & {seal.number, seal.number + 1, None}
    assert {d.topic for d in found} == {SEALS}


@patient
@given(st.sampled_from(TOPICS), st.integers(0, LANES - 1), st.integers(0, 10**6), st.data())
def test_garbage_is_named_and_stops_nothing(topic, lane, which, data):
    """Any bytes in place of any record of any topic: told as a difference, never an error of the audit's own."""
    records = list(written()[topic, lane])
    at = which % len(records)
    value = records[at].value or b""
    cut = data.draw(st.integers(0, len(value) - 1))
    garbage = data.draw(st.sampled_from((value[:cut], b"", b"null", b"[]", b"{}", b"\xff" + value, b'{"lane":"x"}')))
    records[at] = with_value(records[at], garbage)
    result = audited(tampered(topic, lane, records), lane)
    sealed_to = max(record.offset for _, record in sealed(topic, lane)) if topic in (JOURNAL, BALANCES) else 10**9
    assert result.differences or records[at].offset > sealed_to


@patient
@given(st.integers(0, LANES - 1), st.integers(0, 10**6))
def test_a_lost_seal_is_named(lane, which):
    """The seal behind the gap says so; a chain that was cut at its end is told by whoever kept the last hash."""
    records = list(written()[SEALS, lane])
    gone = records.pop(which % len(records))
    result = audited(tampered(SEALS, lane, records), lane)
    number = msgspec.json.decode(gone.value or b"", type=Seal).number
    if number == len(records) + 1:
        assert (result.seals, result.differences) == (number - 1, [])
        kept = msgspec.json.decode(gone.value or b"", type=Seal).hash
        difference = the_only(audited(tampered(SEALS, lane, records), lane, kept=kept))
        assert (difference.kind, kept in difference.detail) == ("seal", True)
        assert audited(written(), lane, kept=kept).ok
    else:
        assert ("seal", number + 1) in {(d.kind, d.window) for d in result.differences}


@patient
@given(st.integers(0, LANES - 1), st.integers(0, 10**6), st.integers(0, 10**6))
def test_changed_leaves_are_not_blamed_on_the_records(lane, which, bit):
    """The seal's root says that the records are right and the leaves are not."""
    records = list(written()[LEAVES, lane])
    at = which % len(records)
    value = msgspec.json.decode(records[at].value or b"")
    leaves = bytearray(msgspec.json.decode(records[at].value or b"", type=_Leaves).leaves)
    if not leaves:
        return
    leaves[bit % len(leaves)] ^= 1
    records[at] = with_value(records[at], msgspec.json.encode(value | {"leaves": bytes(leaves)}))
    found = audited(tampered(LEAVES, lane, records), lane).differences
    assert {d.kind for d in found} <= {"leaves", "altered", "missing", "extra"}
    assert all(d.kind == "leaves" for d in found if d.window is not None)
    assert found


class _Leaves(msgspec.Struct):
    leaves: bytes


def test_a_compacted_topic_holds():
    """Of the balances only the newest of each account is left, as compaction may do to all but the active segment."""
    for lane in range(LANES):
        newest = {record.key: record for record in written()[BALANCES, lane]}
        result = audited(tampered(BALANCES, lane, sorted(newest.values(), key=lambda each: each.offset)), lane)
        assert result.differences == []
        assert result.compacted > 0


def test_a_copy_with_other_offsets_holds():
    """A mirror keeps records and their order, and has offsets of its own."""
    moved = {
        place: [replace(record, offset=at) for at, record in enumerate(records)] for place, records in written().items()
    }
    for lane in range(LANES):
        assert audited(moved, lane).differences == []


def test_legs_that_are_no_longer_kept_are_said_to_be_missing():
    """Then balances that come of legs can't be folded, which is no difference, and is not kept quiet."""
    result = audited({**written(), (LEGS, 0): []}, 0, legs_whole=False)
    assert result.differences == []
    assert result.not_folded > 0


class Blunder(LedgerLane):
    """A ledger that writes one balance a yen too high: its own state is right, what it wrote is not."""

    async def on_batch(self, batch: Batch) -> None:
        await super().on_batch(batch)
        for at, output in enumerate(batch.outputs):
            if output.topic == BALANCES and (output.key or b"").startswith(b"U."):
                value = msgspec.json.decode(output.value or b"")
                batch.outputs[at] = output._replace(
                    value=msgspec.json.encode(value | {"posted_minor": value["posted_minor"] + 1})
                )


def test_a_balance_that_was_wrong_from_the_beginning_is_named():
    """Sealing keeps what was written; that it is not the fold of the journal is found all the same, by account."""
    platform = Platform(3)
    platform.live(20)
    platform.ledgers = [Blunder(lane, LANES, clock_us=lambda: platform.now_us) for lane in range(LANES)]
    for lane, ledger in enumerate(platform.ledgers):
        asyncio.run(ledger.restore(Log(platform.topics, lane)))  # type: ignore[arg-type]  # it reads like one
    platform.live(40)
    platform.finish()
    found = [d for lane in range(LANES) for d in audited(platform.topics, lane).differences]
    assert {d.kind for d in found} == {"fold"}
    assert any(d.subject.startswith("U.w-") and "is not the fold" in d.detail for d in found)
    assert any("sum to" in d.detail for d in found)


class Log:
    """The committed past of a lane."""

    def __init__(self, topics: Topics, lane: int) -> None:
        self._topics = topics
        self._lane = lane

    async def read(self, topic: str, last: int | None = None, start: int | None = None) -> AsyncIterator[Sequence[Row]]:
        yield [Row(record) for record in self._topics[topic, self._lane]]
