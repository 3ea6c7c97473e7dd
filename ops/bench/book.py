"""The book: how many entries a second MySQL takes, and how long a balance at an instant takes on a million of them.

Entries have three lines, as a payment by two tenders has; a hundredth of them comes an hour late, and all are a little
out of order. The engine is started for it, and nothing else runs. Each hundredth answer is checked against a plain sum.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from koban.events import Line
from koban.ledger.history import Axis
from koban.records import Entry
from ops.bench.report import Latency, Report, Row, Run, options_of
from ops.platform import platform
from sinks.book import Amounts, PostedEntry
from sinks.contract import WRITTEN
from sinks.mysql import connect
from sinks.mysql_book import MySqlBook
from sinks.mysql_book_queries import MySqlBookQueries

ENTRIES, ENTRIES_QUICK = 1_000_000, 100_000
LANES, BATCH = 4, 5_000
QUESTIONS = 1_000
RATE_MIN, P99_MS_MAX = 10_000, 50.0
START_US = 1_763_780_400_000_000
STEP_US, LATE_US = 100, 3_600_000_000
WALLETS, MERCHANTS = 200_000, 2_000
CHECK_EVERY = 100


def run(quick: bool, events: int | None) -> Report:
    """Fills a book, asks it, and says whether both were quick enough and every checked answer right."""
    entries = events or (ENTRIES_QUICK if quick else ENTRIES)
    with platform(Path(tempfile.mkdtemp(prefix="koban-")), only=("mariadb",), keep=False) as settings:
        run = asyncio.run(_fill(settings.mysql_url, entries))
        asked = MySqlBookQueries(settings.mysql_url)
        checker = _Checker(settings.mysql_url)
        latency = [
            _ask(asked, checker, axis, kind, account, entries) for axis in Axis for kind, account in _ACCOUNTS.items()
        ]
        asked.close()
    row = Row.of(
        [msgspec.structs.replace(run, correct=checker.right)],
        contender="koban book", layout="all cores", input=f"{LANES} lanes, 3 lines an entry",
        guarantee="exactly once", note="MariaDB 11.4 on the same machine, each commit flushed; CPU is the sink's alone",
    )  # fmt: skip
    quick_enough = row.rate_per_s >= RATE_MIN and max(one.p99_ms for one in latency) <= P99_MS_MAX
    return Report.of_now(
        "book", ("pymysql", "msgspec"), options_of(quick=quick, events=events), rows=[row], ratios={},
        target=f"{RATE_MIN:,} entries/s, a balance at an instant in {P99_MS_MAX:.0f} ms (p99) on {entries:,} entries",
        ok=checker.right and quick_enough, latency=latency, latency_of="one question after another, on a filled book",
    )  # fmt: skip


async def _fill(url: str, entries: int) -> Run:
    """Appends batches of all lanes side by side; making them does not count."""
    book, chance = MySqlBook(url), random.Random(1)
    wall_s = cpu_s = 0.0
    for start in range(0, entries // LANES, BATCH):
        batches = [list(_entries(lane, start, BATCH, chance)) for lane in range(LANES)]
        began, cpu = time.perf_counter(), time.process_time()
        results = await asyncio.gather(*(book.append(lane, batch) for lane, batch in enumerate(batches)))
        wall_s += time.perf_counter() - began
        cpu_s += time.process_time() - cpu
        assert all(result == WRITTEN for some in results for result in some)
    await book.close()
    return Run(events=entries, wall_s=wall_s, cpu_s=cpu_s, rss_mb=0.0, correct=False)


def _entries(lane: int, start: int, count: int, chance: random.Random) -> Iterator[PostedEntry]:
    for number in range(start, start + count):
        at_us = START_US + number * STEP_US
        amount, number_of_payment = chance.randrange(1, 5_000), str(9_900_000_000_000_000_000 + number * LANES + lane)
        entry = Entry(
            entry_id=f"019365a2-{number:08x}-7000-8000-{lane:012x}",
            event_id=f"019365a2-{number:08x}-7000-8000-{lane:012x}",
            event_type="PaymentCompleted",
            payment_id=number_of_payment,
            occurred_at_us=at_us - chance.randrange(3_000) - (LATE_US if chance.random() < 0.01 else 0),
            lines=(
                Line(f"U.w-{lane}-{chance.randrange(WALLETS // LANES)}.money", amount),
                Line(f"A.card_recv.visa@{lane}", 7),
                Line(f"M.m-{chance.randrange(MERCHANTS)}.payable", -amount - 7),
            ),
        )
        yield PostedEntry(number, at_us, msgspec.json.encode(entry))


_ACCOUNTS: dict[str, Callable[[random.Random], str]] = {
    "wallet": lambda chance: f"U.w-{chance.randrange(LANES)}-{chance.randrange(WALLETS // LANES)}.money",
    "merchant": lambda chance: f"M.m-{chance.randrange(MERCHANTS)}.payable",
    "house": lambda chance: f"A.card_recv.visa@{chance.randrange(LANES)}",
}


class _Checker:
    """Adds an account's lines up, all of them, by plain SQL."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url)
        self.right = True

    def check(self, account: str, at_us: int, axis: Axis, answer: Amounts) -> None:
        column = "occurred_at_us" if axis is Axis.BUSINESS else "recorded_at_us"
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT COALESCE(SUM(p.debit_minor), 0), COUNT(*)"  # noqa: S608
                " FROM postings p JOIN book_chains c ON c.chain = p.chain"
                f" WHERE c.account = %s AND p.{column} <= %s",
                (account, at_us),
            )
            row = cursor.fetchone()
            self._connection.rollback()
        assert row is not None
        self.right &= (int(row[0]), int(row[1])) == (answer.sum_minor, answer.lines)


def _ask(
    asked: MySqlBookQueries,
    checker: _Checker,
    axis: Axis,
    kind: str,
    account: Callable[[random.Random], str],
    entries: int,
) -> Latency:
    """Questions one after another, accounts and instants at random."""
    chance, times_ms = random.Random(2), []
    began = time.perf_counter()
    for number in range(QUESTIONS):
        name, at_us = account(chance), START_US + chance.randrange(entries // LANES * STEP_US)
        started = time.perf_counter()
        answer = asked.balance_at([name], at_us, axis)
        times_ms.append((time.perf_counter() - started) * 1_000)
        if number % CHECK_EVERY == 0:
            checker.check(name, at_us, axis, answer)
    rate = int(QUESTIONS / (time.perf_counter() - began))
    times_ms.sort()
    p50, p99, p999 = (round(times_ms[int(len(times_ms) * share)], 2) for share in (0.5, 0.99, 0.999))
    return Latency(
        contender=f"{axis.value} balance of a {kind}", rate_per_s=rate, events=QUESTIONS, p50_ms=p50, p99_ms=p99,
        p999_ms=p999,
    )  # fmt: skip
