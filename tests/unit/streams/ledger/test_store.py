"""The lane's store on real RocksDB files: what a restart takes from it, and when it is thrown away."""

from __future__ import annotations

import asyncio
import shutil
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from rocksdict import Rdict

from schemas.partitioning import lane_of
from streams.ledger import lane as ledger_lane
from streams.ledger.lane import BALANCES, JOURNAL, VALID, LedgerLane
from streams.ledger.store import LaneStore, Loss, rocks_options
from streams.transport import Batch, Span

LANES, LANE = 4, 1
AT_US, DAY_US = 1_700_000_000_000_000, 86_400_000_000
WALLETS = [wallet for wallet in (f"w-{number}" for number in range(2_000)) if lane_of(wallet, LANES) == LANE]


class Stored(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Topics:
    """The lane's partitions; like a LaneLog, it notes how many records it gave out."""

    def __init__(self) -> None:
        self.records: defaultdict[str, list[Stored]] = defaultdict(list)
        self.topic_id = "first"
        self.read_records = 0

    async def span(self, topic: str) -> Span:
        return Span(f"{topic}-{self.topic_id}", 0, len(self.records[topic]))

    async def read(
        self, topic: str, last: int | None = None, start: int | None = None
    ) -> AsyncIterator[Sequence[Stored]]:
        for record in self.records[topic][start or 0 :]:
            self.read_records += 1
            yield [record]


class Worker:
    """A lane with a store; `post` is a committed batch."""

    def __init__(self, topics: Topics, folder: Path, lane: int = LANE, lanes: int = LANES) -> None:
        self.topics = topics
        self.counts: Counter[str] = Counter()
        self.store = LaneStore(folder, lane, lanes)
        self.lane = LedgerLane(
            lane, lanes, lambda outcome, n: self.counts.update({outcome: n}), store=self.store, checkpoint_s=0.0
        )
        topics.read_records = 0
        asyncio.run(self.lane.restore(topics))  # type: ignore[arg-type]  # it reads like a LaneLog

    def post(self, *events: bytes, committed: bool = True) -> None:
        records = [Stored(number, 1_700_000_000_000, owner_of(event), event) for number, event in enumerate(events)]
        batch = Batch(VALID, self.lane.partition, records, len(records))
        asyncio.run(self.lane.on_batch(batch))
        if not committed:
            return
        for output in batch.outputs:
            if output.partition == self.lane.partition:
                log = self.topics.records[output.topic]
                log.append(Stored(len(log), output.timestamp_ms or 0, output.key, output.value))
        ends = {(topic, self.lane.partition): len(self.topics.records[topic]) for topic in (JOURNAL, BALANCES)}
        asyncio.run(self.lane.on_written(ends))

    def stop(self) -> None:
        asyncio.run(self.lane.close())

    def crash(self) -> None:
        """What a killed process leaves: its folder unlocked, nothing more written."""
        self.store.close()


def top_up(number: int) -> bytes:
    wallet = WALLETS[number % len(WALLETS)]
    return event("TopUpCompleted", f"t-{number}", wallet, amount_minor=1_000 + number, source="bank", verified=True)


def authorized(payment: str) -> bytes:
    tenders = [{"kind": "money", "amount_minor": 100}]
    return event("PaymentAuthorized", f"a-{payment}", WALLETS[0], payment, amount_minor=100, tenders=tenders)


def owner_of(event: bytes) -> bytes:
    return str(msgspec.json.decode(event)["body"]["wallet_id"]).encode()


def paid(payment: str, day: int) -> bytes:
    tenders = [{"kind": "money", "amount_minor": 100}]
    at_us = AT_US + day * DAY_US
    body = {"amount_minor": 100, "tenders": tenders, "merchant_id": WALLETS[1]}
    return event("PaymentCompleted", f"c-{payment}", WALLETS[0], payment, at_us, **body)


def refund(payment: str, day: int) -> bytes:
    tenders = [{"kind": "money", "amount_minor": 1}]
    body = {"amount_minor": 1, "tenders": tenders, "merchant_id": WALLETS[1], "refund_id": "r"}
    return event("RefundRequested", f"r-{payment}-{day}", WALLETS[0], payment, AT_US + day * DAY_US, **body)


def event(
    event_type: str, event_id: str, wallet: str, aggregate_id: str = "x", at_us: int = AT_US, **body: Any
) -> bytes:
    return msgspec.json.encode(
        {
            "event_type": event_type,
            "event_id": event_id,
            "occurred_at_us": at_us,
            "aggregate": "payment",
            "aggregate_id": aggregate_id,
            "body": {"wallet_id": wallet, **body},
        }
    )


@pytest.fixture
def topics() -> Topics:
    return Topics()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "lane-1"


def filled(topics: Topics, folder: Path) -> str:
    """A store with the state of 600 events, and what that state is."""
    worker = Worker(topics, folder)
    assert worker.counts[f"store_{Loss.ABSENT}"] == 1
    for start in range(0, 600, 100):
        worker.post(*(top_up(number) for number in range(start, start + 100)))
    worker.post(authorized("p-1"))
    worker.stop()
    return worker.lane.book.state_hash()


def test_a_restart_reads_nothing_that_the_store_has(topics: Topics, folder: Path) -> None:
    state = filled(topics, folder)
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert topics.read_records == 0
    assert again.lane.book.state_hash() == state
    again.stop()


def test_what_is_known_of_payments_comes_back_too(topics: Topics, folder: Path) -> None:
    filled(topics, folder)
    again = Worker(topics, folder)
    lives = dict(again.lane.book.store)
    assert len(lives) == 1
    again.stop()
    shutil.rmtree(folder)
    rebuilt = Worker(topics, folder)
    assert rebuilt.counts == {f"store_{Loss.ABSENT}": 1}
    assert dict(rebuilt.lane.book.store) == lives
    rebuilt.stop()


def told_days(worker: Worker) -> None:
    """A payment every ten days, over the time after which a tombstone goes."""
    for first in range(0, 2_400, 50):
        worker.post(*(paid(f"p-{day}", day) for day in range(first, first + 50, 10)))


def test_what_was_forgotten_stays_forgotten_after_a_restart(
    topics: Topics, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_lane, "ENTRIES_AT_ONCE", 7)
    worker = Worker(topics, folder)
    told_days(worker)
    lives, tombstones = dict(worker.lane.book.store), sorted(worker.lane.book.store.tombstones)
    assert 40 <= len(lives) < 50
    assert len(tombstones) == 240 - len(lives)
    assert worker.counts["lives_forgotten"] == 240 - len(lives)
    worker.stop()
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert topics.read_records == 0
    assert dict(again.lane.book.store) == lives
    assert sorted(again.lane.book.store.tombstones) == tombstones
    again.post(paid("p-1500", 1_500), refund("p-1600", 2_390), refund("p-2390", 2_391))
    assert again.counts["refused_payment_exists"] == again.counts["refused_refund_too_late"] == 1
    assert again.counts["posted"] == 1
    again.post(paid("p-2800", 2_800), paid("p-2810", 2_810))
    again.post(refund("p-2390", 2_812))
    assert again.counts["refused_refund_too_late"] == 1
    again.stop()
    rebuilt_from_log(topics, folder, again)


def rebuilt_from_log(topics: Topics, folder: Path, worker: Worker) -> None:
    """Without its store a lane comes to the state that it had, in portions; and so with the store made anew."""
    state = worker.lane.book.state_hash()
    shutil.rmtree(folder)
    rebuilt = Worker(topics, folder)
    assert rebuilt.counts[f"store_{Loss.ABSENT}"] == 1
    assert rebuilt.counts["lives_forgotten"] > 0
    assert rebuilt.lane.book.state_hash() == state
    rebuilt.stop()
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert again.lane.book.state_hash() == state
    again.stop()


def test_an_older_copy_is_read_on_over_what_was_forgotten_since(
    topics: Topics, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_lane, "ENTRIES_AT_ONCE", 7)
    worker = Worker(topics, folder)
    told_days(worker)
    worker.stop()
    shutil.copytree(folder, tmp_path / "copy")
    worker = Worker(topics, folder)
    for day in range(2_400, 3_000, 50):
        worker.post(paid(f"p-{day}", day))
    worker.stop()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    again = Worker(topics, folder)
    assert again.counts["store_restored"] == 1
    assert again.lane.book.state_hash() == worker.lane.book.state_hash()
    again.stop()
    rebuilt_from_log(topics, folder, again)


def test_a_store_of_the_format_before_is_made_anew(topics: Topics, folder: Path) -> None:
    state = filled(topics, folder)
    db = Rdict(str(folder), rocks_options())
    coverage = msgspec.json.decode(db[b"~"][4:])
    del coverage["clock_us"]
    raw = msgspec.json.encode({**coverage, "format": 1})
    db[b"~"] = zlib.crc32(raw).to_bytes(4, "big") + raw
    db.close()
    again = Worker(topics, folder)
    assert again.counts == {f"store_{Loss.OTHER_FORMAT}": 1}
    assert again.lane.book.state_hash() == state
    again.stop()


def test_an_older_copy_is_read_on_from_its_offsets(topics: Topics, folder: Path, tmp_path: Path) -> None:
    filled(topics, folder)
    shutil.copytree(folder, tmp_path / "copy")
    worker = Worker(topics, folder)
    worker.post(*(top_up(number) for number in range(600, 650)))
    worker.stop()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert 50 <= topics.read_records <= 110
    assert again.lane.book.state_hash() == worker.lane.book.state_hash()
    again.post(top_up(650))
    again.stop()
    assert Worker(topics, folder).lane.book.state_hash() == again.lane.book.state_hash()


def test_what_was_not_committed_is_in_no_checkpoint(topics: Topics, folder: Path) -> None:
    state = filled(topics, folder)
    worker = Worker(topics, folder)
    worker.post(top_up(700), committed=False)
    worker.stop()
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert again.lane.book.state_hash() == state
    again.stop()


def test_a_crash_between_two_checkpoints_loses_nothing(topics: Topics, folder: Path) -> None:
    filled(topics, folder)
    worker = Worker(topics, folder)
    worker.lane._checkpoint_due_at = float("inf")
    worker.post(*(top_up(number) for number in range(700, 720)))
    worker.crash()
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert topics.read_records > 0
    assert again.lane.book.state_hash() == worker.lane.book.state_hash()
    again.stop()


def corrupt(folder: Path, at: Callable[[int], int]) -> None:
    """Turns a byte of the largest file of data over."""
    path = largest(folder)
    raw = bytearray(path.read_bytes())
    raw[at(len(raw))] ^= 0xFF
    path.write_bytes(raw)


def largest(folder: Path) -> Path:
    return max(folder.glob("*.sst"), key=lambda path: path.stat().st_size)


def to_sst(folder: Path) -> None:
    """Opening writes the log of a store into a table."""
    db = Rdict(str(folder), rocks_options())
    db.flush()
    db.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: corrupt(folder, lambda size: size // 3),
        lambda folder: corrupt(folder, lambda size: 10),
        lambda folder: corrupt(folder, lambda size: size - 20),
        lambda folder: largest(folder).write_bytes(largest(folder).read_bytes()[: largest(folder).stat().st_size // 2]),
        lambda folder: largest(folder).unlink(),
        lambda folder: next(folder.glob("MANIFEST-*")).write_bytes(b"nothing"),
        lambda folder: (folder / "CURRENT").write_bytes(b""),
    ],
    ids=["byte in the middle", "byte at the start", "byte of the footer", "cut short", "gone", "manifest", "current"],
)
def test_a_damaged_store_is_made_anew(topics: Topics, folder: Path, damage: Callable[[Path], None]) -> None:
    state = filled(topics, folder)
    to_sst(folder)
    damage(folder)
    again = Worker(topics, folder)
    assert again.counts == {f"store_{Loss.DAMAGED}": 1}
    assert again.lane.book.state_hash() == state
    again.stop()
    assert Worker(topics, folder).counts == {"store_restored": 1}


def test_a_store_of_another_topic_is_made_anew(topics: Topics, folder: Path) -> None:
    state = filled(topics, folder)
    topics.topic_id = "second"
    again = Worker(topics, folder)
    assert again.counts == {f"store_{Loss.OTHER_TOPIC}": 1}
    assert again.lane.book.state_hash() == state
    again.stop()


def test_a_store_beyond_the_end_of_the_log_is_made_anew(topics: Topics, folder: Path) -> None:
    filled(topics, folder)
    topics.records.clear()
    again = Worker(topics, folder)
    assert again.counts == {f"store_{Loss.OUTSIDE_LOG}": 1}
    assert not list(again.lane.book.accounts())
    again.stop()


@pytest.mark.parametrize(("lane", "lanes"), [(2, LANES), (LANE, 8)])
def test_a_store_of_another_lane_is_made_anew(topics: Topics, folder: Path, lane: int, lanes: int) -> None:
    filled(topics, folder)
    other = Topics()
    other.records = topics.records if lane == LANE else other.records
    topics.records.clear()
    again = Worker(other, folder, lane, lanes)
    assert again.counts == {f"store_{Loss.OTHER_LANE}": 1}
    again.stop()


def test_a_store_that_another_worker_has_open_is_left_alone(
    topics: Topics, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_lane, "OPEN_PAUSES_S", (0.0,))
    state = filled(topics, folder)
    owner = Worker(topics, folder)
    other = Worker(topics, folder)
    assert other.counts == {f"store_{Loss.IN_USE}": 1}
    assert other.lane.book.state_hash() == state
    other.post(top_up(800))
    other.stop()
    owner.stop()
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    assert again.lane.book.state_hash() == other.lane.book.state_hash()
    again.stop()


def test_a_folder_that_is_taken_away_under_a_worker_costs_the_store_and_nothing_else(
    topics: Topics, folder: Path
) -> None:
    filled(topics, folder)
    worker = Worker(topics, folder)
    shutil.rmtree(folder)
    worker.post(top_up(900))
    worker.stop()
    assert Worker(topics, folder).lane.book.state_hash() == worker.lane.book.state_hash()


def test_a_store_that_another_worker_is_just_letting_go_of_is_waited_for(
    topics: Topics, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(topics, folder)
    owner = Worker(topics, folder)

    class LettingGo(tuple[float, ...]):
        """Between the first try and the second the owner lets go."""

        __slots__ = ()

        def __iter__(self) -> Iterator[float]:
            for pause_s in tuple.__iter__(self):
                yield pause_s
                owner.crash()

    monkeypatch.setattr(ledger_lane, "OPEN_PAUSES_S", LettingGo((0.0, 0.0)))
    again = Worker(topics, folder)
    assert again.counts == {"store_restored": 1}
    again.stop()
