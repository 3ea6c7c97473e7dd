"""The batched transport on a real broker: what is killed, stopped, moved or aborted, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from kafka.admin import KafkaAdminClient, NewTopic

from koban.settings import Settings
from ops.platform import Platform
from streams.transport import group_of
from streams.transport.lane_log import LaneLog, MissingTopicError
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(90)]

ROOT = Path(__file__).resolve().parents[2]
LANES = 2
NAMES = itertools.count()


@pytest.fixture
def rig(kafka: Settings, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(kafka.kafka_bootstrap, tmp_path)
    yield made
    made.end()


class Rig:
    """Topics and workers of one test, none shared with another."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        number = next(NAMES)
        self.bootstrap = bootstrap
        self.folder = folder
        self.source, self.target, self.stage = f"source-{number}", f"target-{number}", f"copy-{number}"
        self.notes = folder / "notes"
        self.workers: list[Worker] = []
        self.create(self.source)
        self.create(self.target)

    def create(self, topic: str, **config: str) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.create_topics([NewTopic(topic, LANES, 1, topic_configs=config)])
        admin.close()

    def worker(self, mode: str = "lanes", **environ: str) -> Worker:
        made = Worker(self, mode, environ)
        self.workers.append(made)
        return made

    def end(self) -> None:
        for worker in self.workers:
            worker.end()

    def produce(self, values: list[bytes], topic: str | None = None, **options: Any) -> None:
        """Values over the lanes in turn."""
        asyncio.run(produce(self.bootstrap, topic or self.source, values, **options))

    def outputs(self, isolation: str = "read_committed") -> dict[int, list[tuple[int, int, bytes]]]:
        """Lane → (number, source offset, value) of what is written, in order."""
        return asyncio.run(outputs(self.bootstrap, self.target, isolation))

    def committed(self) -> dict[int, int]:
        return asyncio.run(committed(self.bootstrap, group_of(self.stage), self.source))

    def await_outputs(self, count: int) -> dict[int, list[tuple[int, int, bytes]]]:
        found: dict[int, list[tuple[int, int, bytes]]] = {}

        def enough() -> bool:
            nonlocal found
            found = self.outputs()
            return sum(map(len, found.values())) >= count

        wait_for(enough, lambda: f"{sum(map(len, found.values()))} of {count}; {self.logs()}")
        return found

    def logs(self) -> str:
        return "\n".join(worker.log.read_text()[-2000:] for worker in self.workers)

    def assert_exactly_once(self, values: list[bytes]) -> None:
        """Each lane's outputs are numbered without a gap, and are the lane's inputs in order."""
        for lane, rows in self.outputs().items():
            assert [number for number, _, _ in rows] == list(range(1, len(rows) + 1))
            assert [value for _, _, value in rows] == values[lane::LANES]


class Worker:
    """A worker process and its pages."""

    def __init__(self, rig: Rig, mode: str, environ: dict[str, str]) -> None:
        self.log = rig.folder / f"worker-{len(rig.workers)}.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("transport_worker.py"))],
                stderr=log,
                env={
                    **kept,
                    "PYTHONPATH": str(ROOT),
                    "KOBAN_KAFKA_BOOTSTRAP": rig.bootstrap,
                    "KOBAN_DATA_DIR": str(rig.folder),
                    "KOBAN_METRICS_PORT": str(self.port),
                    "KOBAN_BATCH_RECORDS_MAX": "200",
                    "WORKER_SOURCE": rig.source,
                    "WORKER_TARGET": rig.target,
                    "WORKER_STAGE": rig.stage,
                    "WORKER_MODE": mode,
                    "WORKER_NOTES": str(rig.notes),
                    **environ,
                },
            )

    def page(self, path: str) -> str | None:
        """A page's text; None while it is not answered with 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def await_ready(self) -> Worker:
        wait_for(lambda: self.page("/-/ready") is not None, lambda: self.log.read_text()[-3000:])
        return self

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = (self.page("/metrics") or "").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


async def produce(bootstrap: str, topic: str, values: list[bytes], start: int = 0, pause_s: float = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=11_000_000)
    try:
        await producer.start()
        for number, value in enumerate(values, start):
            await producer.send(topic, value, partition=number % LANES)
            if pause_s and number % 50 == 0:
                await asyncio.sleep(pause_s)
    finally:
        await producer.stop()


async def read_all(bootstrap: str, topic: str, isolation: str) -> dict[int, list[Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation, auto_offset_reset="earliest")
    try:
        await consumer.start()
        tps = [TopicPartition(topic, lane) for lane in range(LANES)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        rows: dict[int, list[Any]] = {lane: [] for lane in range(LANES)}
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                rows[tp.partition] += records
        return rows
    finally:
        await consumer.stop()


async def outputs(bootstrap: str, topic: str, isolation: str) -> dict[int, list[tuple[int, int, bytes]]]:
    rows = {}
    for lane, records in (await read_all(bootstrap, topic, isolation)).items():
        parts = [record.value.split(b" ", 4) for record in records]
        assert all(int(part[2]) == lane for part in parts), "a lane writes its own partition"
        rows[lane] = [(int(part[0]), int(part[3]), part[4]) for part in parts]
    return rows


async def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        tps = [TopicPartition(topic, lane) for lane in range(LANES)]
        consumer.assign(tps)
        return {tp.partition: await consumer.committed(tp) or 0 for tp in tps}
    finally:
        await consumer.stop()


async def transact(bootstrap: str, topic: str, values: list[bytes], *, abort: bool, key: bytes | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"test-{topic}")
    try:
        await producer.start()
        await producer.begin_transaction()
        for number, value in enumerate(values):
            await producer.send(topic, value, key=key, partition=number % LANES)
        await producer.flush()
        await (producer.abort_transaction() if abort else producer.commit_transaction())
    finally:
        await producer.stop()


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"v%d" % number for number in range(start, start + count)]


def test_a_worker_killed_again_and_again_writes_every_record_exactly_once(rig: Rig) -> None:
    """kill -9 in the middle of work: what was open is aborted, the rest is committed, the state follows the log."""
    values = numbered(6000)
    rig.produce(values)
    for upto in (500, 2500):
        worker = rig.worker(WORKER_SLOW_MS="30", KOBAN_BATCH_RECORDS_MAX="100")
        rig.await_outputs(upto)
        worker.kill()
    rig.worker()
    rig.await_outputs(len(values))
    rig.assert_exactly_once(values)


def test_a_killed_worker_without_transactions_loses_nothing(rig: Rig) -> None:
    values = numbered(6000)
    rig.produce(values)
    worker = rig.worker("stateless", WORKER_SLOW_MS="30", KOBAN_BATCH_RECORDS_MAX="100")
    rig.await_outputs(1500)
    worker.kill()
    rig.worker("stateless")
    wait_for(lambda: sum(rig.committed().values()) == len(values), rig.logs)
    for lane, rows in rig.outputs().items():
        offsets = [offset for _, offset, _ in rows]
        assert sorted(set(offsets)) == list(range(len(values) // LANES)), f"lane {lane} lost records"


def test_workers_come_and_go_without_a_loss_or_a_double(rig: Rig) -> None:
    """A second worker takes half of the lanes and gives them back; the first keeps the other half as it is."""
    values = numbered(9000)
    first = rig.worker(WORKER_SLOW_MS="5").await_ready()
    rig.produce(values[:3000])
    second = rig.worker(WORKER_SLOW_MS="5").await_ready()
    rig.produce(values[3000:6000], start=3000)
    rig.await_outputs(5000)
    assert first.metric("koban_records_in_total") > 0
    assert second.metric("koban_records_in_total") > 0
    assert second.stop() == 0
    rig.produce(values[6000:], start=6000)
    rig.await_outputs(len(values))
    rig.assert_exactly_once(values)
    restored = [line.split()[2] for line in rig.notes.read_text().splitlines() if line.split()[1] == "restored"]
    assert len(restored) == LANES + 2, f"one lane moved and came back, the other stayed: {restored}"
    assert first.stop() == 0


def test_a_worker_with_a_name_comes_back_to_its_lanes_at_once(rig: Rig) -> None:
    """Killed or told to stop, while its session lasts far longer than anything here waits."""
    values = numbered(6000)
    named = {"KOBAN_GROUP_INSTANCE": "copy-1", "KOBAN_SESSION_TIMEOUT_MS": "900000"}
    rig.produce(values[:3000])
    worker = rig.worker(WORKER_SLOW_MS="20", KOBAN_BATCH_RECORDS_MAX="50", **named)
    rig.await_outputs(500)
    worker.kill()
    worker = rig.worker(**named)
    rig.await_outputs(3000)
    assert worker.stop() == 0
    rig.produce(values[3000:], start=3000)
    rig.worker(**named)
    rig.await_outputs(len(values))
    rig.assert_exactly_once(values)


@pytest.mark.parametrize("mode", ["lanes", "stateless"])
def test_of_two_workers_with_one_name_the_older_ends(rig: Rig, mode: str) -> None:
    """A mistake that shows: the worker whose name was taken ends, and nothing is lost."""
    values = numbered(6000)
    named = {"KOBAN_GROUP_INSTANCE": "copy-1"}
    rig.produce(values)
    older = rig.worker(mode, WORKER_SLOW_MS="40", KOBAN_BATCH_RECORDS_MAX="50", **named)
    rig.await_outputs(500)
    newer = rig.worker(mode, **named)
    assert older.process.wait(60) != 0
    assert newer.process.poll() is None, "the older one took the name back"
    wait_for(lambda: sum(rig.committed().values()) == len(values), rig.logs)
    if mode == "lanes":
        rig.assert_exactly_once(values)


def test_a_worker_that_was_frozen_writes_nothing_for_lanes_it_has_lost(rig: Rig) -> None:
    """SIGSTOP beyond the session: another worker takes over; the awakened one is fenced."""
    values = numbered(12_000)
    zombie = rig.worker(WORKER_SLOW_MS="40", KOBAN_BATCH_RECORDS_MAX="50").await_ready()
    rig.produce(values)
    rig.await_outputs(500)
    zombie.process.send_signal(signal.SIGSTOP)
    rig.worker().await_ready()
    rig.await_outputs(6000)
    zombie.process.send_signal(signal.SIGCONT)
    rig.await_outputs(len(values))
    assert zombie.process.wait(30) != 0, "it was in a transaction, so it must end"
    rig.assert_exactly_once(values)


def test_a_broker_killed_in_the_middle_of_transactions_costs_nothing(rig: Rig, kafka: Settings) -> None:
    """The worker goes on by itself, or ends and is started again, as its supervisor would."""
    values = numbered(6000)
    rig.produce(values)
    worker = rig.worker(WORKER_SLOW_MS="20", KOBAN_BATCH_RECORDS_MAX="50")
    rig.await_outputs(500)
    broker = next(row.pid for row in Platform(kafka.data_dir).status() if row.name == "kafka")
    os.kill(broker, signal.SIGKILL)

    def written() -> bool:
        nonlocal worker
        if worker.process.poll() is not None:
            worker = rig.worker()
        with suppress(KafkaError):
            return sum(map(len, rig.outputs().values())) >= len(values)
        return False

    wait_for(written, rig.logs)
    rig.assert_exactly_once(values)


@pytest.mark.parametrize("mode", ["lanes", "stateless"])
def test_a_handler_that_raises_ends_the_worker_and_commits_nothing_past_its_batch(rig: Rig, mode: str) -> None:
    values = numbered(1000)
    values[700] = b"bad"
    rig.produce(values)
    assert rig.worker(mode).process.wait(40) == 1
    assert rig.committed()[0] <= 350
    if mode == "lanes":
        assert len(rig.outputs()[0]) == rig.committed()[0]
        assert len(rig.outputs("read_uncommitted")[0]) <= 350
    assert '"a bad record"' not in rig.logs()
    assert "ValueError: a bad record" in rig.logs()


def test_lag_reaches_zero_behind_transaction_markers_and_aborted_records(rig: Rig) -> None:
    """The log ends with a marker, which no record follows; what was aborted is neither lag nor output."""
    asyncio.run(transact(rig.bootstrap, rig.source, numbered(100), abort=False))
    asyncio.run(transact(rig.bootstrap, rig.source, [b"aborted"] * 50, abort=True))
    worker = rig.worker().await_ready()
    rows = rig.await_outputs(100)
    assert sorted(value for lane in rows.values() for _, _, value in lane) == sorted(numbered(100))
    ends = 50 + 1 + 25 + 1
    wait_for(lambda: rig.committed() == {0: ends, 1: ends}, lambda: f"{rig.committed()}")
    wait_for(lambda: worker.metric("koban_consumer_lag_records") == 0, lambda: worker.page("/metrics") or "")
    assert worker.metric("koban_outcomes_total") == 100
    assert worker.stop() == 0
    assert rig.committed() == {0: ends, 1: ends}, "offsets never go back"


def test_compacted_topics_with_gaps_are_read_whole(rig: Rig) -> None:
    """The cleaner takes records away between others, at the start and the end of record batches alike."""
    topic = f"{rig.source}-compacted"
    fast = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
    rig.create(topic, **fast, **{"max.compaction.lag.ms": "100"})
    rig.source = topic
    expected: dict[bytes, bytes] = {}

    async def fill(rounds: range) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap)
        await producer.start()
        for number in rounds:
            for key in (b"a%d" % (number % 7), b"b%d" % (number % 3), b"once%d" % number):
                await producer.send(topic, b"%s=%d" % (key, number), key=key, partition=0)
                expected[key] = b"%s=%d" % (key, number)
            await producer.flush()
        await producer.stop()

    def compacted() -> bool:
        rows = asyncio.run(read_all(rig.bootstrap, topic, "read_committed"))[0]
        asyncio.run(fill(range(1000, 1001)))  # rolls the segment, so that the one before can be cleaned
        return rows[-1].offset - rows[0].offset >= len(rows) + 20

    asyncio.run(fill(range(60)))
    asyncio.run(transact(rig.bootstrap, topic, [b"aborted"] * 4, abort=True, key=b"a1"))
    asyncio.run(fill(range(60, 90)))
    wait_for(compacted, lambda: "the cleaner did not run")
    rig.worker()

    def latest() -> dict[bytes, bytes]:
        return {row[2].split(b"=")[0]: row[2] for row in rig.outputs()[0]}

    wait_for(lambda: latest() == expected, lambda: f"{latest()} is not {expected}; {rig.logs()}")


def test_a_record_of_ten_megabytes_passes(rig: Rig) -> None:
    rig.worker()
    rig.produce([b"x", b"y", b"z" * 10_000_000])
    rows = rig.await_outputs(3)
    assert [len(value) for _, _, value in rows[0]] == [1, 10_000_000]


def test_records_that_were_deleted_before_they_were_read_stop_the_worker_with_a_clear_word(rig: Rig) -> None:
    rig.produce(numbered(100))
    worker = rig.worker()
    rig.await_outputs(100)
    assert worker.stop() == 0
    rig.produce(numbered(100))
    admin = KafkaAdminClient(bootstrap_servers=rig.bootstrap)
    from kafka import TopicPartition as Partition

    admin.delete_records({Partition(rig.source, 0): 80})
    admin.close()
    assert rig.worker().process.wait(40) == 1
    assert "its records were deleted before they were read" in rig.logs()


def test_a_lane_log_ends_where_the_log_was_committed_when_it_was_asked_for(rig: Rig) -> None:
    """Empty, cut at its start, cut to its last records, with aborted transactions; a missing topic is an error."""

    async def read(topic: str, last: int | None = None, start: int | None = None) -> list[bytes]:
        log = LaneLog(0, {"bootstrap_servers": rig.bootstrap})
        return [record.value or b"" async for records in log.read(topic, last, start) for record in records]

    assert asyncio.run(read(rig.source)) == []
    rig.produce(numbered(2000))
    asyncio.run(transact(rig.bootstrap, rig.source, [b"aborted"] * 10, abort=True))
    lane = numbered(2000)[0::LANES]
    assert asyncio.run(read(rig.source)) == lane
    some = asyncio.run(read(rig.source, last=100))
    assert some == lane[-len(some) :]
    assert 100 <= len(some) <= 200
    with pytest.raises(MissingTopicError, match="no partition 0"):
        asyncio.run(read("no-such-topic"))
    log = LaneLog(0, {"bootstrap_servers": rig.bootstrap})
    span = asyncio.run(log.span(rig.source))
    assert (span.start, span.end) == (0, len(lane) + 6), "the aborted records and their marker have offsets too"
    assert asyncio.run(read(rig.source, start=450)) == lane[450:]
    assert asyncio.run(log.span(rig.target)).topic_id != span.topic_id
    with pytest.raises(MissingTopicError, match="no partition 0"):
        asyncio.run(log.span("no-such-topic"))
