"""The book on real engines: MariaDB and the stage killed in mid-flow, replays, 1,000 questions beside a plain fold."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from koban.events import Line
from koban.ledger.history import Axis
from koban.records import Balance, Entry
from koban.settings import Settings
from ops import topics
from ops.kafka_log import end_offsets, read_topics
from ops.platform import Platform, platform
from ops.verify import mysql_tables
from sinks.book import PostedEntry
from sinks.memory_book import MemoryBook
from sinks.mysql import MySqlSink, connect, migrate
from sinks.mysql_book import AnotherJournalError, MySqlBook
from sinks.mysql_book_queries import MySqlBookQueries
from sinks.testing import check_book, check_contract, outcomes, posted_entry
from streams.transport import group_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
START_US = 1_763_780_400_000_000
HOUR_US = 3_600_000_000
GROUP = group_of("book")
LANES = 4
WAIT_S = 120
QUESTIONS = 1_000


@pytest.fixture(scope="module")
def site() -> Iterator[Settings]:
    """Kafka with the contracts' topics, and MariaDB."""
    # Not pytest's folder: that one is closed to other users, and MariaDB refuses to run as root.
    with platform(Path(tempfile.mkdtemp(prefix="koban-")), only=("kafka", "mariadb"), keep=False) as settings:
        topics.apply(settings)
        yield settings


@pytest.fixture
def empty(site: Settings) -> Settings:
    """The site with tables that hold nothing."""
    connection = connect(site.mysql_url)
    migrate(connection)
    with connection, connection.cursor() as cursor:
        for table in ("book_lanes", "journal_entries", "book_chains", "postings", "balances"):
            cursor.execute(f"TRUNCATE TABLE {table}")
    return site


# --- traffic


def journal(seed: int, entries: int) -> dict[int, list[PostedEntry]]:
    """Random entries by lane: shared accounts, business times late by anything up to hours, clocks that step back."""
    chance = random.Random(seed)
    made: dict[int, list[PostedEntry]] = {lane: [] for lane in range(LANES)}
    positions = {lane: itertools.count(chance.randrange(5), chance.randrange(1, 3)) for lane in made}
    now_us = START_US
    for number in range(entries):
        lane = chance.randrange(LANES)
        now_us += chance.choice((0, 0, 1, 1_000, 50_000, 2_000_000))
        late_us = chance.choice((0, 0, 0, 5, 300, 7_000, 900_000, HOUR_US, 20 * HOUR_US))
        occurred_at_us = now_us - chance.randrange(late_us + 1)
        amount = chance.randrange(1, 1_000)
        wallet, merchant = f"U.w{chance.randrange(40)}.money", f"M.m{chance.randrange(4)}.payable"
        lines = [Line(wallet, amount), Line(merchant, -amount)]
        if chance.random() < 0.3:
            lines = [Line(wallet, amount), Line(f"A.card_recv.visa@{lane}", 7), Line(merchant, -amount - 7)]
        entry = Entry(
            entry_id=f"s{seed}-{number}",
            event_id=f"s{seed}-{number}",
            event_type="PaymentCompleted",
            payment_id=f"p{number}",
            occurred_at_us=occurred_at_us,
            lines=tuple(lines),
        )
        recorded_at_us = now_us - (chance.randrange(3_000_000) if chance.random() < 0.02 else 0)
        made[lane].append(PostedEntry(next(positions[lane]), recorded_at_us, msgspec.json.encode(entry)))
    return made


def fill(book: MySqlBook, reference: MemoryBook, made: dict[int, list[PostedEntry]], chance: random.Random) -> None:
    """Writes the lanes' entries to both, in batches of any size, the lanes in any order and side by side."""

    async def write(lane: int, some: list[PostedEntry]) -> None:
        while some:
            batch, some = some[: (size := chance.randrange(1, 200))], some[size:]
            assert set(outcomes(await book.append(lane, batch))) == {"written"}
            await reference.append(lane, batch)

    async def all_lanes() -> None:
        await asyncio.gather(*(write(lane, some) for lane, some in made.items()))
        await book.close()

    asyncio.run(all_lanes())


# --- the stores


def test_the_book_keeps_its_contract(empty: Settings) -> None:
    """The same checks as in memory."""
    asked = MySqlBookQueries(empty.mysql_url)

    async def scenario() -> None:
        book = MySqlBook(empty.mysql_url)
        await check_book(book, asked)
        await book.close()

    asyncio.run(scenario())
    asked.close()


def test_the_latest_balances_keep_the_contract_of_sinks(empty: Settings) -> None:
    """The same checks as in memory; one bad document of 1,000 is alone."""
    with connect(empty.mysql_url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS `contract-suite` LIKE balances")

    async def scenario() -> None:
        sink = MySqlSink(empty.mysql_url)
        await check_contract(sink)
        await sink.close()

    asyncio.run(scenario())


def test_a_thousand_questions_on_both_axes_are_answered_as_the_fold_does(empty: Settings) -> None:
    """Accounts, times and axes at random, above all times at which something happened: the same sum, the same count."""
    chance = random.Random(4)
    book, reference, asked = MySqlBook(empty.mysql_url), MemoryBook(), MySqlBookQueries(empty.mysql_url)
    fill(book, reference, journal(4, 2_000), chance)
    stored = list(reference.entries.values())
    accounts = sorted({line.account for one in stored for line in one.entry.lines})
    for _ in range(QUESTIONS):
        one = chance.choice(stored)
        at_us = chance.choice((one.recorded_at_us, one.entry.occurred_at_us)) + chance.choice((-1, 0, 0, 1, HOUR_US))
        some = chance.sample(accounts, chance.choice((1, 1, 1, 5)))
        axis = chance.choice(list(Axis))
        assert asked.balance_at(some, at_us, axis) == reference.balance_at(some, at_us, axis), (some, at_us, axis)
    for account in accounts:
        assert asked.statement([account], 500) == reference.statement([account], 500)
    asked.close()


def test_a_journal_that_is_another_one_is_not_added_to_the_book(empty: Settings) -> None:
    """Positions that the book has passed hold other entries: it says so, and stays as it was."""

    async def scenario() -> None:
        book = MySqlBook(empty.mysql_url)
        await book.append(0, [posted_entry(7, 1, "first", 1, U_a_money=1, M_b_payable=-1)])
        with pytest.raises(AnotherJournalError, match="another journal"):
            await book.append(0, [posted_entry(7, 2, "other", 2, U_a_money=1, M_b_payable=-1)])
        await book.close()

    asyncio.run(scenario())
    assert list(mysql_tables.read(empty.mysql_url).entries) == ["first"]


# --- the stage


class Worker:
    """A process of the stage."""

    def __init__(self, settings: Settings) -> None:
        self.log = settings.data_dir / "book_test.log"
        environ = {**os.environ, **settings.environ(), "KOBAN_METRICS_PORT": "0", "KOBAN_BATCH_RECORDS_MAX": "150"}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.book"], cwd=ROOT, env=environ, stdout=out, stderr=out
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=WAIT_S) == 0, self.log.read_text("utf-8")[-3000:]

    def wait_until(self, done: Callable[[], bool], told: str) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, f"the worker ended: {self.log.read_text('utf-8')[-3000:]}"
            return done()

        wait_for(holds, lambda: f"{told}: {self.log.read_text('utf-8')[-3000:]}")


@pytest.fixture
def start(empty: Settings) -> Iterator[Callable[[], Worker]]:
    """Starts workers; none is left behind."""
    workers: list[Worker] = []

    def one() -> Worker:
        workers.append(Worker(empty))
        return workers[-1]

    yield one
    for worker in workers:
        worker.kill()


def send(settings: Settings, made: dict[int, list[PostedEntry]], balances: list[Balance]) -> None:
    """Puts entries and balances where the ledger puts them."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all", linger_ms=5)
    for lane, some in made.items():
        for posted in some:
            headers = [("koban_at_us", b"%d" % posted.recorded_at_us)]
            producer.send("journal", posted.value, key=b"k", headers=headers, partition=lane)
    for balance in balances:
        producer.send("balances", msgspec.json.encode(balance), key=balance.account.encode(), partition=0)
    producer.close()


def versions(account: str, count: int) -> list[Balance]:
    return [
        Balance(
            account=account, owner="w", posted_minor=version * 3, available_minor=version * 3, version=version,
            as_of_us=START_US, event_id="e", entry_id="e",
        )
        for version in range(1, count + 1)
    ]  # fmt: skip


def in_book(settings: Settings) -> int:
    """Entries in MySQL; 0 while it does not answer."""
    try:
        return len(mysql_tables.read(settings.mysql_url).entries)
    except OSError:
        return 0


def read_to_the_end(settings: Settings) -> bool:
    """Whether the group has committed all there is."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        found: Any = admin.list_group_offsets(GROUP)
    finally:
        admin.close()
    done = {
        (place.topic, place.partition): getattr(offset, "offset", offset)
        for place, offset in found.get(GROUP, found).items()
    }
    ends = end_offsets(settings.kafka_bootstrap, ["journal", "balances"])
    return all(done.get(place, 0) >= end for place, end in ends.items() if end)


def folded(settings: Settings) -> dict[str, tuple[int, int]]:
    """Account → Σ debits and lines of the journal as it lies in Kafka."""
    sums: dict[str, tuple[int, int]] = {}
    for record in read_topics(settings.kafka_bootstrap, ["journal"]):
        for line in msgspec.json.decode(record.value or b"")["lines"]:
            before = sums.get(line["account"], (0, 0))
            sums[line["account"]] = before[0] + line["debit_minor"], before[1] + 1
    return sums


def kill_mariadb(settings: Settings) -> None:
    """As a machine that loses its power; the platform's keeper starts it again."""
    (pid,) = (one.pid for one in Platform(settings.data_dir).status() if one.name == "mariadb")
    os.kill(pid, signal.SIGKILL)


def test_kills_of_mariadb_and_of_the_stage_lose_nothing_and_write_nothing_twice(
    empty: Settings, start: Callable[[], Worker]
) -> None:
    """MariaDB killed twice in the midst of writing, then the stage, then everything read again from the start."""
    chance = random.Random(8)
    made, expected = journal(8, 6_000), 0
    worker = start()
    for part in range(3):
        some = {lane: entries[part * 400 : (part + 1) * 400] for lane, entries in made.items()}
        rest = {lane: entries[1_200:] for lane, entries in made.items()} if part == 2 else {}
        before = expected
        expected += sum(map(len, some.values())) + sum(map(len, rest.values()))
        send(empty, some, versions(f"U.v{part}.money", 300))
        send(empty, rest, [])
        reached = before + chance.randrange(1, 400)
        worker.wait_until(lambda at=reached: in_book(empty) >= at, "nothing is written")  # type: ignore[misc]
        if part < 2:
            kill_mariadb(empty)
        else:
            worker.kill()
            worker = start()
    worker.wait_until(lambda: in_book(empty) == expected and read_to_the_end(empty), f"{in_book(empty)} of {expected}")
    worker.stop()
    tables = mysql_tables.read(empty.mysql_url)
    assert {account: (running, lines) for account, (running, _, lines, _) in tables.sums.items()} == folded(empty)
    assert all(running == added and lines == rows for running, added, lines, rows in tables.sums.values())
    assert tables.balances == {f"U.v{part}.money": (900, 300) for part in range(3)}

    admin = KafkaAdminClient(bootstrap_servers=empty.kafka_bootstrap)
    admin.delete_groups([GROUP])
    admin.close()
    assert not read_to_the_end(empty)
    worker = start()
    worker.wait_until(lambda: read_to_the_end(empty), "the replay did not end")
    worker.stop()
    assert mysql_tables.read(empty.mysql_url) == tables
    asked = MySqlBookQueries(empty.mysql_url)
    assert [mark.lane for mark in asked.marks()] == list(range(LANES))
    asked.close()
