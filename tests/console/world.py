"""A console over sources that a test holds in its hand, served on a free port.

What Kafka, the workers and the indices would say is data here: their protocols have tests of their own. Everything from
the pollers up to the browser is the console as it runs.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from dashboards.app import create_app
from dashboards.sources.catalogue import Polled, Sources
from dashboards.sources.index import IndexState
from dashboards.sources.jobs import Errand, JobState
from dashboards.sources.offsets import GroupLag, Offsets, TopicState
from dashboards.sources.platform import Component
from dashboards.sources.reports import Checked, Report
from dashboards.sources.stores import BookState, LakeState
from dashboards.sources.topics import Newest, Seen
from dashboards.sources.workers import Stage
from koban.records import Alert, Balance, Campaign, Seal, SealedRange
from koban.search.query import Chip, Field, Query
from koban.search.request import FACETS, TOTALS, Scope, Sort, after, cursor_of, facet_chip
from koban.settings import Settings
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode, Transient
from sinks.alert_search import AlertPage
from sinks.memory_book import MemoryBook
from sinks.payment_search import Found
from tests.unit.dashboards.people.world import World as PeopleWorld

NOON_US = 1_763_780_400_000_000
"""2025-11-22 12:00 in Japan."""
STORES = ("カフェ小判 渋谷駅前店", "ラーメン一番 新宿2号店", "ドラッグ青空 博多駅南店", "ブックス梅田")
STATUSES = ("completed", "completed", "refunded", "canceled", "authorized")
PAYMENTS = 120
EVERY_S = 0.1
LANES = 4
START_S_MAX = 20.0


class World:
    """What the sources say. A source whose name is in ``down`` fails; one in ``hung`` never answers."""

    def __init__(self, down: Iterable[str] = ()) -> None:
        self.down = set(down)
        self.hung: set[str] = set()
        self.arrived = 8
        self.imbalance_minor = 0
        self.ledger_up = True
        self.session = ""
        """The cookie of somebody with every right of the platform's own people."""
        self.documents = [_document(at) for at in range(PAYMENTS)]
        self.alerts = [_alert(at) for at in range(70)]

    async def _reach(self, source: str) -> None:
        if source in self.hung:
            await asyncio.sleep(3_600)
        if source in self.down:
            raise Transient(f"{source} does not answer")

    async def workers(self) -> dict[str, Stage]:
        await self._reach("workers")
        figures: dict[str, dict[tuple[str, ...], int]] = {
            "koban_ledger_imbalance_minor": {(str(lane),): self.imbalance_minor for lane in range(LANES)},
            "koban_ledger_balance_minor": {
                (str(lane), family): amount
                for lane in range(LANES)
                for family, amount in (("U", -900), ("M", -300), ("A", 1_200 + self.imbalance_minor))
            },
        }
        journal = {
            "koban_journal_total_minor": {
                (str(lane), family, side): 5_000
                for lane in range(LANES)
                for family in "UMA"
                for side in ("debit", "credit")
            },
            "koban_journal_unbalanced_entries": {(str(lane),): 0 for lane in range(LANES)},
            "koban_seal_number": {(str(lane),): 17 for lane in range(LANES)},
            "koban_seal_to_seconds": {(str(lane),): int(time.time()) - 9 for lane in range(LANES)},
        }
        totals = {"valid": 40_000 + self.arrived, "duplicate": 31, "dead_lettered_not_json": 3}
        return {
            "gate": Stage("gate", up=True, rate_per_s=301.4, lag_records=0, p99_s=0.021, totals=totals),
            "ledger": Stage(
                "ledger", up=self.ledger_up, rate_per_s=300.2, lag_records=12, p99_s=0.18, totals={"posted": 39_988},
                down_since=None if self.ledger_up else time.time(), figures=figures,
                imbalance_minor=LANES * self.imbalance_minor,
            ),
            "seals": Stage("seals", up=True, rate_per_s=600.0, lag_records=0, p99_s=0.9, figures=journal),
            "search_index": Stage("search_index", up=True, rate_per_s=300.0, lag_records=0, p99_s=0.74),
            "alerts": Stage("alerts", up=True, rate_per_s=0.4, lag_records=0, p99_s=0.5),
            "jobs": Stage(
                "jobs", up=True, jobs={"fraud-patterns": True, "cashback": True, "volumes": True, "lake": True},
                checkpoint_age_s={"fraud-patterns": 4.0, "cashback": 5.0, "volumes": 3.0, "lake": 8.0},
            ),
        }  # fmt: skip

    async def topics(self) -> Newest:
        await self._reach("topics")
        now_ms = time.time_ns() // 1_000_000
        records = {
            "payments-valid": [
                _seen(at, now_ms - 40 * (self.arrived - at), _event(at)) for at in _newest(self.arrived)
            ],
            "balances": [_seen(at, now_ms, _balance(at)) for at in range(8)],
            "alerts": [_seen(at, now_ms, msgspec.json.encode(alert)) for at, alert in enumerate(self.alerts[:6])],
            "payments-dlq": [_letter(at, now_ms) for at in range(5)],
            "campaigns": [_seen(0, now_ms, msgspec.json.encode(CAMPAIGN))],
            "cashback": [],
            "ledger-seals": [_seen(lane, now_ms, msgspec.json.encode(_seal(lane))) for lane in range(LANES)],
        }
        return Newest(records, {"payments": 40_034 + self.arrived})

    async def index(self) -> IndexState:
        await self._reach("index")
        return IndexState(PAYMENTS, len(self.alerts), time.time_ns() // 1_000)

    async def platform(self) -> dict[str, Component]:
        await self._reach("platform")
        names = (
            "kafka",
            "flink",
            "opensearch",
            "mariadb",
            "gate",
            "ledger",
            "seals",
            "book",
            "search_index",
            "console",
        )
        since = time.time() - 60
        return {
            name: Component(
                "healthy", starts=2 if name == "ledger" else 1, pid=100, since=since, resident_bytes=200_000_000
            )
            for name in names
        }

    async def offsets(self) -> Offsets:
        await self._reach("offsets")
        topics = ("payments", "payments-valid", "journal", "balances", "payments-dlq", "simulator-truth")
        return Offsets(topics={name: _topic(name) for name in topics})

    async def flink(self) -> dict[str, JobState]:
        await self._reach("flink")
        now = time.time()
        jobs = {
            name: JobState(
                name=name, state="RUNNING", running=True, held=False, tasks=2, tasks_running=2, checkpoints=9,
                checkpoint_at=now - 3, checkpoint_s=0.2, checkpoint_bytes=140_000,
            )
            for name in ("volumes", "fraud_patterns", "lake")
        }  # fmt: skip
        done = Errand(
            action="stop", began_at=now - 9, ended_at=now - 5, result="file:/data/flink/checkpoints/savepoint-1"
        )
        return jobs | {"cashback": JobState(name="cashback", state="STOPPED", running=False, held=True, errand=done)}

    async def mysql(self) -> BookState:
        await self._reach("mysql")
        return BookState(lanes=LANES, complete_to=time.time() - 1)

    async def lake_files(self) -> LakeState:
        await self._reach("lake_files")
        return LakeState(hours=3, newest_hour="dt=2025-11-22/hour=12", newest_file_at=time.time() - 8)

    async def reports(self) -> dict[str, Report]:
        await self._reach("reports")
        checks = [
            Checked(name="memory", ok=False, detail="1.2 of 8.0 GB available", mend="end other programs"),
            Checked(name="python", ok=True, detail="3.11.7"),
        ]
        return {"doctor": Report(at=time.time() - 60, took_s=2.4, checks=checks)}

    def sources(self) -> Sources:
        """This world, as the console asks it."""
        names = (
            *("workers", "topics", "index", "platform", "offsets"),
            *("flink", "mysql", "lake_files", "reports"),
        )
        asks = {name: getattr(self, name) for name in names}
        polled = {name: Polled(ask, timeout_s=1.0, every_s=EVERY_S) for name, ask in asks.items()}

        async def close() -> None:
            return None

        return Sources(polled, _Payments(self), _Alerts(self), MemoryBook(), close)  # type: ignore[arg-type]  # same methods


def _topic(name: str) -> TopicState:
    readers = () if name == "simulator-truth" else ("koban-ledger", "koban-search-index")
    lags = tuple(GroupLag(group=each, topic=name, records=12, seconds=1.5, rate_per_s=301.0) for each in readers)
    lanes = range(LANES)
    return TopicState(
        name=name, begins=dict.fromkeys(lanes, 0), ends=dict.fromkeys(lanes, 10_008), rate_per_s=301.0, groups=lags
    )


class _Payments:
    """Finds among the documents by the parts of a query that the tests use."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def search(
        self, query: Query, scope: Scope, *, size: int, cursor: str | None = None, sort: Sort = Sort.NEWEST
    ) -> Found:
        await self._world._reach("search")
        mine = [each for each in self._world.documents if scope.merchant_id in (None, each["merchant_id"])]
        hits = [each for each in mine if all(_means(each, chip) for chip in query.chips)]
        hits.sort(key=lambda hit: (hit[sort.field], hit["payment_id"]), reverse=sort.direction == "desc")
        total = len(hits)
        totals = {"count": total, **{name: sum(hit[name] for hit in hits) for name in TOTALS}}
        facets = {
            field.value: {word: sum(_means(hit, facet_chip(field, word)) for hit in hits) for word in words}
            for field, words in FACETS.items()
        }
        if cursor is not None:
            place = after(cursor, sort)
            fits = (lambda hit: hit < place) if sort.direction == "desc" else (lambda hit: hit > place)
            hits = [hit for hit in hits if fits((hit[sort.field], hit["payment_id"]))]
        page = hits[:size]
        following = cursor_of(page[-1][sort.field], page[-1]["payment_id"], sort) if len(hits) > size else None
        return Found(total, None if cursor else totals, page, following, NOON_US, 7, {} if cursor else facets)

    async def payment(self, payment_id: str, _: Scope) -> dict[str, Any] | None:
        await self._world._reach("search")
        return next((each for each in self._world.documents if each["payment_id"] == payment_id), None)


class _Alerts:
    """Answers a page of alerts."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def page(
        self, *, text: str = "", chosen: Any, field: str, falls: bool, size: int, after: Any = None
    ) -> AlertPage:
        await self._world._reach("search")
        rows = [msgspec.to_builtins(alert) for alert in self._world.alerts if alert.wallet_id.startswith(text)]
        counts = {"typology": dict(Counter(row["typology"] for row in rows))}
        rows = [row for row in rows if row["typology"] in chosen.get("typology", (row["typology"],))]
        rows.sort(key=lambda row: (row[field], row["alert_id"]), reverse=falls)
        total = len(rows)
        if after is not None:
            rows = [row for row in rows if ((row[field], row["alert_id"]) < tuple(after)) == falls]
            rows = [row for row in rows if (row[field], row["alert_id"]) != tuple(after)]
        return AlertPage(rows[:size], total, more=len(rows) > size, counts=counts)


def _means(hit: dict[str, Any], chip: Chip) -> bool:
    match chip.field:
        case Field.AMOUNT | Field.NUMBER_OR_AMOUNT:
            found = (chip.low or 0) <= hit["amount_minor"] <= (chip.high or 10**12)
        case Field.STATUS:
            found = hit["status"] in chip.values
        case Field.PAID_WITH:
            found = bool({*hit["kinds"]} & {*chip.values})
        case Field.STORE:
            found = all(value in hit["store_name"] for value in chip.values)
        case Field.WALLET:
            found = hit["wallet_id"] in chip.values
        case _:
            found = True
    return found is not chip.negated


def number_of(at: int) -> str:
    """A payment's number: 19 digits, no two alike."""
    return f"{4_729_931_882_011_430_000 + at * 7_919:019}"


def _document(at: int) -> dict[str, Any]:
    status = STATUSES[at % len(STATUSES)]
    amount = 300 + at * 137 % 5_000
    refunded = amount if status == "refunded" else 0
    canceled = amount if status == "canceled" else 0
    paid_us = NOON_US - at * 61_000_000
    return {
        "payment_id": number_of(at), "version": 1, "status": status, "amount_minor": amount, "gross_minor": amount,
        "refunded_minor": refunded, "canceled_minor": canceled, "net_minor": amount - refunded - canceled,
        "refund_pending_minor": 0, "currency": "JPY", "kinds": ["points", "money"] if at % 3 else ["card"],
        "tenders": [{"kind": "money", "amount_minor": amount}], "merchant_id": f"m-{at % 4}", "store_id": f"s-{at % 4}",
        "store_name": STORES[at % 4], "terminal_id": "t-1", "code": "CPM", "wallet_id": f"w-{at % 9}",
        "occurred_at_us": paid_us, "topic": "payments-valid", "partition": at % LANES, "offset": at,
        "story": [[1, paid_us, f"e-{at}", "PaymentCompleted", amount, None, at % LANES, at, paid_us]],
    }  # fmt: skip


def _alert(at: int) -> Alert:
    return Alert(
        alert_id=f"{at:032x}", typology=f"T0{at % 3 + 1}", wallet_id=f"w-{at % 9}", first_at_us=NOON_US - at * 10**9,
        last_at_us=NOON_US - at * 10**9 + 60_000_000, payments=3 + at % 5, merchants=2, amount_minor=9_000 + 10 * at,
    )  # fmt: skip


def _newest(arrived: int) -> range:
    return range(arrived - 1, max(-1, arrived - 13), -1)


def _seen(at: int, timestamp_ms: int, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> Seen:
    return Seen(at % LANES, at, timestamp_ms, value, headers)


def _event(at: int) -> bytes:
    document = _document(at % PAYMENTS)
    body = {
        "wallet_id": document["wallet_id"], "merchant_id": document["merchant_id"], "store_id": document["store_id"],
        "store_name": document["store_name"], "amount_minor": document["amount_minor"],
        "tenders": [{"kind": "money", "amount_minor": document["amount_minor"]}],
    }  # fmt: skip
    return msgspec.json.encode(
        {
            "event_type": "PaymentCompleted", "event_id": f"e-{at}", "occurred_at_us": NOON_US + at,
            "aggregate": "payment", "aggregate_id": number_of(at), "aggregate_seq": 1, "correlation_id": number_of(at),
            "body": body,
        }
    )  # fmt: skip


def _balance(at: int) -> bytes:
    return msgspec.json.encode(
        Balance(
            account=f"U.w-{at}.money", owner=f"U.w-{at}", posted_minor=5_000 + at, held_minor=0,
            available_minor=5_000 + at, version=at + 1, as_of_us=NOON_US + at, event_id=f"e-{at}", entry_id=f"e-{at}",
        )
    )  # fmt: skip


def _letter(at: int, now_ms: int) -> Seen:
    letter = DeadLetter(
        reason_code=ReasonCode.NOT_JSON, reason="the value is not JSON: it ends in the middle of an object",
        stage="gate", origin_topic="payments", origin_partition=at % LANES, origin_offset=100 + at, producer="pos-7",
        at_us=now_ms * 1_000,
    )  # fmt: skip
    return _seen(at, now_ms, b'{"event_type": ', tuple((name, value or b"") for name, value in letter.headers()))


CAMPAIGN = Campaign(
    campaign_id="spring", version=1, name="春の20%祭り", starts_at_us=NOON_US, ends_at_us=NOON_US + 10**12,
    rate_bp=2_000, cap_per_payment_minor=300, budget_minor=1_000_000,
)  # fmt: skip


def _seal(lane: int) -> Seal:
    now_us = time.time_ns() // 1_000
    sealed = SealedRange(first_offset=0, next_offset=512, count=500, root="ab" * 32)
    return Seal(
        lane=lane, number=17, from_us=now_us - 20_000_000, to_us=now_us - 10_000_000, journal=sealed, balances=sealed,
        totals={}, in_flight_minor=0, previous="cd" * 32, hash="ef" * 32,
    )  # fmt: skip


@contextmanager
def served(world: World, folder: Path) -> Iterator[str]:
    """The console over a world, at an address of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        people = PeopleWorld(folder)
        world.session = people.signed_in("kei", "operator", "auditor")
        app = create_app(
            Settings.from_environ({"KOBAN_DATA_DIR": str(folder), "KOBAN_CONSOLE_URL": url}),
            world.sources(),
            people.people,
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        pollers = app.state.console.live.pollers.values()
        wait_until(lambda: all(one.at or one.down_since for one in pollers), "the console did not start")
        wait_until(lambda: app.state.console.live.ticks > 0, "the console does not tick")
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(START_S_MAX)


def wait_until(
    holds: Callable[[], bool], otherwise: str, pause: Callable[[float], object] = lambda ms: time.sleep(ms / 1_000)
) -> None:
    """Wait for something that comes about by itself; ``pause`` takes milliseconds. Raises AssertionError."""
    deadline = time.monotonic() + START_S_MAX
    while not holds():
        assert time.monotonic() < deadline, otherwise
        pause(20)
