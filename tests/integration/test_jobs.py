"""The Flink jobs on a real cluster: exact books, planted bursts, pots to the yen, and all of it through kills."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from random import Random
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer

from jobs.catalogue import JOBS
from jobs.cluster import Cluster, ClusterUnreachableError
from koban.events import EVENT_TYPES, Cancel, Event, Payment, Refund, Tender
from koban.records import Campaign
from koban.settings import Settings
from ops.campaigns import publish, published
from ops.kafka_log import read_topics
from ops.lake import check as check_hour
from ops.lake import choose, partitions
from ops.platform import Platform
from ops.verify import books
from schemas import codec
from schemas.cloudevents import HeaderMaker
from schemas.partitioning import lane_of
from tests.integration.conftest import fresh_platform
from tests.waiting import eventually

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(900),
    # kafka-python leaves a connection it was still making when it was closed to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

S, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
MERCHANTS = 40
WALLETS = 200


class World:
    """Plays the gate, remembers what it wrote, and knows what every job should have made of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events: list[dict[str, Any]] = []
        self._random = Random(7)
        self._numbers = iter(range(1, 1_000_000))
        self._headers = HeaderMaker("gate")
        self._producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all", linger_ms=5)
        self._last_us = time.time_ns() // 1000

    def close(self) -> None:
        self._producer.close()

    def later_us(self) -> int:
        """A time after that of every event so far, and not before now."""
        return max(self._last_us + S, time.time_ns() // 1000)

    def write(self, *events: Event) -> None:
        sent = []
        for event in events:
            raw = codec.encode(event)
            self.events.append(msgspec.json.decode(raw))
            self._last_us = max(self._last_us, event.occurred_at_us)
            sent.append(
                self._producer.send(
                    "payments-valid",
                    raw,
                    key=event.body.wallet_id.encode(),
                    headers=self._headers.event(event, event.occurred_at_us),
                    timestamp_ms=event.occurred_at_us // 1000,
                )
            )
        for future in sent:
            future.get(60)

    def payment(self, at_us: int, wallet: str = "", merchant: str = "", amount: int = 0) -> Event:
        amount = amount or self._random.randrange(1, 4_000)
        body = Payment(
            wallet_id=wallet or f"u-{self._random.randrange(WALLETS)}",
            merchant_id=merchant or f"m-{self._random.randrange(MERCHANTS)}",
            store_id="s-1",
            amount_minor=amount,
            tenders=(Tender(kind="money", amount_minor=amount),),
        )
        return self._event("PaymentCompleted", f"p-{next(self._numbers)}", 1, at_us, body)

    def refund(self, payment: Event, at_us: int, amount: int) -> Event:
        tenders = (Tender(kind="money", amount_minor=amount),)
        shared = {"wallet_id": payment.body.wallet_id, "merchant_id": payment.body.merchant_id}
        body = Refund(**shared, refund_id=f"r-{payment.aggregate_id}", amount_minor=amount, tenders=tenders)
        return self._event("RefundCompleted", payment.aggregate_id, 2, at_us, body)

    def cancel(self, payment: Event, at_us: int) -> Event:
        paid = payment.body
        body = Cancel(
            wallet_id=paid.wallet_id, merchant_id=paid.merchant_id, amount_minor=paid.amount_minor, tenders=paid.tenders
        )
        return self._event("PaymentCanceled", payment.aggregate_id, 2, at_us, body)

    @staticmethod
    def _event(name: str, payment: str, number: int, at_us: int, body: Any) -> Event:
        return EVENT_TYPES[name](
            event_id=f"{payment}-{number}",
            occurred_at_us=at_us,
            aggregate="payment",
            aggregate_id=payment,
            aggregate_seq=number,
            correlation_id=payment,
            body=body,
        )

    def mixed(self, count: int) -> list[Event]:
        """Payments of now, one in ten of them refunded in part or canceled."""
        out: list[Event] = []
        for number in range(count):
            at_us = time.time_ns() // 1000
            paid = self.payment(at_us)
            out.append(paid)
            if number % 20 == 5:
                out.append(self.refund(paid, at_us, max(1, paid.body.amount_minor // 3)))
            elif number % 20 == 15:
                out.append(self.cancel(paid, at_us))
        return out

    def feed(self, seconds: float, rate: int = 150) -> None:
        """A steady stream for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.write(*self.mixed(rate // 5))
            time.sleep(0.2)

    def values(self, topic: str) -> Iterator[dict[str, Any]]:
        for record in read_topics(self.settings.kafka_bootstrap, [topic]):
            if record.value:
                yield msgspec.json.decode(record.value)

    def settle(self) -> None:
        """Waits until volumes, cashback and lake are exactly what all events so far say."""
        try:
            eventually(self._volumes_are_exact)
            eventually(self._cashback_is_exact)
            eventually(self._lake_is_exact)
        except AssertionError as error:
            for line in self._what_the_cluster_says():
                error.add_note(line)
            raise

    def _what_the_cluster_says(self) -> Iterator[str]:
        """Each run with its checkpoints and its last fault: what tells a job that is stuck from one that is wrong."""
        with closing(Cluster(self.settings)) as cluster:
            try:
                for run in cluster.runs():
                    yield f"{run.name} {run.state}: {cluster.progress(run.job_id)}, {cluster.root_cause(run.job_id)}"
            except ClusterUnreachableError as error:
                yield str(error)

    def _volumes_are_exact(self) -> None:
        found = {}
        for row in self.values("volumes"):
            figures = (row["payments"], row["amount_minor"], row["refunds"], row["refunded_minor"])
            found[(row["merchant_id"], row["minute_us"])] = figures
        assert found == books.volumes(self.events)

    def _cashback_is_exact(self) -> None:
        granted: dict[str, Counter[str]] = defaultdict(Counter)
        taken: dict[str, Counter[str]] = defaultdict(Counter)
        numbers: dict[str, list[int]] = defaultdict(list)
        ids: list[str] = []
        for event in self.values("cashback"):
            body = event["body"]
            side = granted if event["event_type"] == "CashbackGranted" else taken
            assert not (side is granted and body["payment_id"] in granted[body["campaign_id"]]), "granted twice"
            side[body["campaign_id"]][body["payment_id"]] += body["amount_minor"]
            numbers[event["aggregate_id"]].append(event["aggregate_seq"])
            ids.append(event["event_id"])
        assert len(ids) == len(set(ids))
        for campaign in published(self.settings):
            name = campaign.campaign_id
            assert sorted(numbers[name]) == list(range(1, len(numbers[name]) + 1))
            definition = msgspec.to_builtins(campaign)
            assert books.cashback(self.events, definition, granted[name], taken[name]) == []

    def _lake_is_exact(self) -> None:
        import pyarrow.dataset as parquet

        files = [str(file) for hour in partitions(self.settings) for file in hour.files]
        assert files
        rows = parquet.dataset(files, format="parquet").to_table(columns=["event_id"]).column(0).to_pylist()
        found, expected = Counter(rows), Counter(event["event_id"] for event in self.events)
        assert (found - expected, expected - found) == (Counter(), Counter()), (
            f"{len(rows):,} rows in {len(files)} files"
        )


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with fresh_platform("kafka", "flink", "jobs") as settings:
        yield Platform(settings.data_dir)


@pytest.fixture(scope="module")
def world(platform: Platform) -> Iterator[World]:
    """Bursts before all else, and two campaigns: a pot that every test drains a little, and one that is soon empty."""
    world = World(platform.site().settings)
    now_us = time.time_ns() // 1000
    world.write(*bursts(world, now_us // 1000 * 1000 - 30 * MINUTE))
    for name, budget in (("c-long", 50_000_000), ("c-short", 20_000)):
        campaign = Campaign(
            campaign_id=name,
            version=1,
            name=name,
            starts_at_us=now_us,
            ends_at_us=now_us + HOUR,
            rate_bp=2_000,
            cap_per_payment_minor=500,
            budget_minor=budget,
        )
        start_us = publish(world.settings, campaign, ("a", "b")).starts_at_us
    while time.time_ns() // 1000 < start_us:
        time.sleep(0.1)
    try:
        yield world
    finally:
        world.close()


def active_runs(settings: Settings) -> Counter[str]:
    cluster = Cluster(settings)
    try:
        return Counter(run.name for run in cluster.runs() if run.running)
    except ClusterUnreachableError as error:
        raise AssertionError(str(error)) from error
    finally:
        cluster.close()


def each_runs_once(settings: Settings) -> None:
    assert active_runs(settings) == Counter(job.name for job in JOBS)


def plans(settings: Settings) -> dict[str, int]:
    """The compiled jobs on disk, and when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in (settings.data_dir / "flink" / "plans").iterdir()}


def kill(platform: Platform, name: str) -> None:
    component = next(status for status in platform.status() if status.name == name)
    os.kill(component.pid, signal.SIGKILL)


def test_a_late_event_corrects_its_minute(world: World) -> None:
    """An event far behind the watermark changes the row of its own minute, and no other."""
    world.write(*world.mixed(200))
    world.settle()
    world.write(world.payment(world.later_us() - 3 * HOUR, merchant="m-late", amount=777))
    world.settle()
    rows = [row for row in world.values("volumes") if row["merchant_id"] == "m-late"]
    assert [(row["payments"], row["amount_minor"]) for row in rows] == [(1, 777)]


def bursts(world: World, start_us: int) -> list[Event]:
    """Two bursts of T01, each at its very limit, and what stays just below."""

    def burst(wallet: str, count: int, merchants: int, span_us: int, amount: int = 500) -> Iterable[Event]:
        for n in range(count):
            yield world.payment(start_us + n * span_us // (count - 1), wallet, f"m-{n % merchants}", amount)

    planted = [
        *burst("u-fast", 6, 4, 60 * S),
        *burst("u-same-millisecond", 6, 6, 60 * S + 999),
        *burst("u-rich", 4, 1, 10 * MINUTE, 25_000),
        *burst("u-three-shops", 8, 3, 30 * S),
        *burst("u-five", 5, 5, 10 * S),
        *burst("u-slow", 6, 6, 60 * S + 1_000),
        *burst("u-thrifty", 4, 1, 10 * MINUTE, 24_999),
        *burst("u-long", 2, 2, 10 * MINUTE + 1_000, 50_000),
    ]
    return sorted(planted, key=lambda event: event.occurred_at_us)


def test_only_planted_bursts_give_signals(world: World) -> None:
    planted = {"u-fast", "u-same-millisecond", "u-rich", "u-three-shops", "u-five", "u-slow", "u-thrifty", "u-long"}
    world.write(*ticks(world, world.later_us()))

    def signalled() -> None:
        found = {row["wallet_id"]: row for row in world.values("fraud-signals") if row["wallet_id"] in planted}
        assert set(found) == {"u-fast", "u-same-millisecond", "u-rich"}
        fast, last, rich = found["u-fast"], found["u-same-millisecond"], found["u-rich"]
        assert (fast["payments"], fast["merchants"], fast["amount_minor"]) == (6, 4, 3_000)
        assert fast["at_us"] - fast["window_start_us"] == 60 * S
        assert last["at_us"] - last["window_start_us"] == 60 * S + 999
        assert (rich["payments"], rich["merchants"], rich["amount_minor"]) == (4, 1, 100_000)
        assert rich["at_us"] - rich["window_start_us"] == 10 * MINUTE
        assert rich["signal_id"] == f"T01:{rich['event_id']}"

    eventually(signalled)


def test_a_burst_that_nothing_follows_is_told_all_the_same(world: World) -> None:
    start_us = world.later_us()
    world.write(*(world.payment(start_us + n, "u-last", f"m-{n}") for n in range(6)))

    def signalled() -> None:
        assert any(row["wallet_id"] == "u-last" for row in world.values("fraud-signals"))

    eventually(signalled)


def ticks(world: World, at_us: int) -> list[Event]:
    """A payment in every lane, so that event time moves on in each."""
    lanes = world.settings.payment_partitions
    wallets = {lane_of(f"u-tick-{n}", lanes): f"u-tick-{n}" for n in range(50)}
    assert len(wallets) == lanes
    return [world.payment(at_us, wallet) for wallet in wallets.values()]


def test_a_pot_is_spent_to_the_yen_and_decisions_follow_their_payment(world: World) -> None:
    """More is wanted than there is, from all lanes at once."""
    world.write(*world.mixed(1_500))
    world.settle()
    short = [e for e in world.values("cashback") if e["body"]["campaign_id"] == "c-short"]
    assert sum(e["body"]["amount_minor"] for e in short if e["event_type"] == "CashbackGranted") == 20_000
    raw = {e["event_id"]: e for e in world.events}
    for record in read_topics(world.settings.kafka_bootstrap, ["cashback"]):
        assert record.value is not None
        event = msgspec.json.decode(record.value)
        cause = raw[event["causation_id"]]
        assert record.partition == lane_of(cause["body"]["wallet_id"], world.settings.payment_partitions)
        assert record.timestamp_ms == cause["occurred_at_us"] // 1000
        assert record.header("ce_type") == f"koban.{event['event_type']}"
        assert record.header("ce_correlationid") == cause["aggregate_id"]


def test_an_hour_that_is_over_is_closed_and_passes_its_check(world: World) -> None:
    past_us = (world.later_us() // HOUR - 26) * HOUR
    world.write(*(world.payment(past_us + n * S) for n in range(50)))
    world.write(*ticks(world, world.later_us()))
    world.settle()

    def closed() -> None:
        hours = [hour for hour in partitions(world.settings) if hour.starts_at_us == past_us]
        assert [hour.closed for hour in hours] == [True]

    eventually(closed)
    hour = next(hour for hour in partitions(world.settings) if hour.starts_at_us == past_us)
    report = check_hour(world.settings, choose(world.settings, hour.name))
    assert report.ok, [finding for finding in report.findings if not finding.ok]
    assert report.rows == 50


@pytest.mark.parametrize("component", ["flink-taskmanager", "flink-jobmanager", "jobs"])
def test_a_kill_in_the_middle_leaves_the_books_exact(platform: Platform, world: World, component: str) -> None:
    """Nothing is lost and nothing is written twice; afterwards each job runs once, and none was compiled again."""
    eventually(lambda: each_runs_once(world.settings))
    compiled = plans(world.settings)
    assert len(compiled) == len(JOBS)
    world.feed(4)
    kill(platform, component)
    world.feed(6)
    world.settle()
    eventually(lambda: each_runs_once(world.settings))
    assert plans(world.settings) == compiled


def test_a_cancelled_job_comes_back_where_it_was(world: World) -> None:
    eventually(lambda: each_runs_once(world.settings))
    compiled = plans(world.settings)
    cluster = Cluster(world.settings)
    try:
        world.feed(2)
        for run in cluster.runs():
            if run.active and run.name in ("cashback", "volumes"):
                cluster.cancel(run.job_id)
        world.feed(2)
    finally:
        cluster.close()
    world.settle()
    eventually(lambda: each_runs_once(world.settings))
    assert plans(world.settings) == compiled
