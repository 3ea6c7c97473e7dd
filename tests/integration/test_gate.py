"""The gate on a real broker: whatever comes in, however often it is killed, each record has exactly one outcome."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from click.testing import CliRunner
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from koban.settings import Settings
from ops import topics
from ops.cli.dlq import dlq
from ops.kafka_log import LogRecord, end_offsets, read_topics
from ops.platform import platform
from schemas.partitioning import lane_of
from streams.transport import group_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
LANES = 4
CARD = "4111111111111111"
OUT = ("payments-valid", "payments-dlq")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with platform(tmp_path_factory.mktemp("gate"), only=("kafka",), keep=False) as settings:
        yield settings


@pytest.fixture
def site(kafka: Settings) -> Iterator[Settings]:
    """The topics of the contracts, empty."""
    topics.apply(kafka)
    yield kafka
    with closing(KafkaAdminClient(bootstrap_servers=kafka.kafka_bootstrap)) as admin:
        names = {name for name in admin.list_topics() if not name.startswith("__")}
        admin.delete_topics(list(names))
        wait_for(lambda: not names & set(admin.list_topics()), lambda: "topics are still there")
        admin.delete_groups([group_of("gate")])


class Worker:
    """A gate process."""

    def __init__(self, settings: Settings, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environ = {**os.environ, **settings.environ(), "KOBAN_METRICS_PORT": str(self.port)}
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.gate"], cwd=ROOT, env=environ, stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=40)
        self._log.close()
        return code

    def outcomes(self) -> Counter[str]:
        """The counts on its metrics page."""
        found: Counter[str] = Counter()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
                text = page.read().decode()
        except (urllib.error.URLError, OSError):
            return found
        for line in text.splitlines():
            if line.startswith("koban_outcomes_total{"):
                found[line.split('outcome="')[1].split('"')[0]] += int(float(line.rsplit(" ", 1)[1]))
        return found


class Raw(NamedTuple):
    """A record to send, and what must become of it."""

    value: bytes | None
    key: bytes | None
    partition: int
    outcome: str


def payment(source: random.Random, now_us: int, **body: Any) -> dict[str, Any]:
    number = str(source.randrange(10**18, 10**19))
    wallet = f"w-{source.randrange(500):05}"
    return {
        "event_type": "PaymentCompleted",
        "event_id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "occurred_at_us": now_us,
        "aggregate": "payment",
        "aggregate_id": number,
        "aggregate_seq": 1,
        "correlation_id": number,
        "producer": "core-payments",
        "body": {
            "wallet_id": wallet,
            "merchant_id": "m-1",
            "store_id": "s-1",
            "amount_minor": 1200,
            "tenders": [{"kind": "money", "amount_minor": 1200}],
            "store_name": "渋谷駅前店",
            **body,
        },
    }


def traffic(number: int, seed: int) -> list[Raw]:
    """Good events; every fifth one is followed by something else. Conflicts and duplicates come after the first."""
    source = random.Random(seed)
    now_us = time.time_ns() // 1_000
    raws: list[Raw] = []
    for n in range(number):
        event = payment(source, now_us)
        wallet = event["body"]["wallet_id"]
        lane = lane_of(wallet, LANES)
        good = msgspec.json.encode(event)
        astray = n % 7 == 0
        raws.append(Raw(good, None if astray else wallet.encode(), (lane + astray) % LANES, "valid"))
        if n % 5 == 0:
            value, outcome = _other(event, good, n // 5)
            raws.append(Raw(value, b"\xff" if n % 2 else wallet.encode(), raws[-1].partition, outcome))
    return raws


def _other(event: dict[str, Any], good: bytes, n: int) -> tuple[bytes | None, str]:
    kinds: list[tuple[bytes | None, str]] = [
        (good, "duplicate"),
        (json.dumps({**event, "recorded_at_us": event["occurred_at_us"]}).encode(), "duplicate"),
        (msgspec.json.encode({**event, "aggregate_seq": 2}), "conflict"),
        (None, "empty"),
        (good[:-3], "not_json"),
        (b"\xff" + good, "not_utf8"),
        (good.replace(b"m-1", b"m\x00"), "nul_byte"),
        (b"[" * 5_000, "too_deep"),
        (good.replace(b":1200,", b":-5,", 1), "out_of_bounds"),
        (good.replace(b"PaymentCompleted", b"PaymentDreamt"), "unknown_type"),
        (msgspec.json.encode({**event, "reason": f"card {CARD}"}), "card_number"),
        (good + b" " * 70_000, "too_large"),
    ]
    return kinds[n % len(kinds)]


def send(settings: Settings, raws: Sequence[Raw]) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap, max_request_size=16_777_216, linger_ms=5)
    futures = [producer.send("payments", value=r.value, key=r.key, partition=r.partition) for r in raws]
    producer.flush()
    assert all(future.succeeded() for future in futures)
    producer.close()


def results(settings: Settings) -> tuple[list[LogRecord], list[LogRecord]]:
    records = list(read_topics(settings.kafka_bootstrap, OUT))
    return tuple([r for r in records if r.topic == topic] for topic in OUT)  # type: ignore[return-value]  # two topics


def written(settings: Settings) -> int:
    """Offsets taken by outputs and transaction markers."""
    return sum(end_offsets(settings.kafka_bootstrap, OUT).values())


def await_outputs(settings: Settings, raws: Sequence[Raw], log: Path) -> tuple[list[LogRecord], list[LogRecord]]:
    """Waits for as many outputs as must come; a later one too many is seen by the caller's next reading."""
    expected = sum(raw.outcome != "duplicate" for raw in raws)
    found: tuple[list[LogRecord], list[LogRecord]] = ([], [])

    def enough() -> bool:
        nonlocal found
        if written(settings) >= expected:  # markers of transactions count too, so this is not yet the answer
            found = results(settings)
        return len(found[0]) + len(found[1]) >= expected

    wait_for(enough, lambda: f"{len(found[0])} + {len(found[1])} of {expected}\n{log.read_text()[-3000:]}")
    return found


def assert_exact(settings: Settings, raws: Sequence[Raw]) -> None:
    """Each record's one outcome, counted on the topics; ids and places agree; nothing is there twice."""
    expected = Counter(raw.outcome for raw in raws)
    valid, dead = results(settings)
    ids = [record.header("ce_id") for record in valid]
    assert len(ids) == len(set(ids)) == expected["valid"]
    found = Counter(record.header("koban_reason_code") for record in dead)
    assert found == {code: n for code, n in expected.items() if code not in ("valid", "duplicate")}
    origins = [
        tuple(r.header(f"koban_origin_{name}") for name in ("topic", "partition", "offset")) for r in (*valid, *dead)
    ]
    assert len(set(origins)) == len(origins)
    assert {topic for topic, _, _ in origins} == {"payments"}
    assert len(raws) == len(valid) + len(dead) + expected["duplicate"]
    assert all(r.partition == lane_of(msgspec.json.decode(r.value or b"")["body"]["wallet_id"], LANES) for r in valid)
    assert not any(CARD.encode() in (r.value or b"") for r in (*valid, *dead))


def test_every_record_has_one_outcome(site: Settings, tmp_path: Path) -> None:
    """Good, bad, repeated, conflicting, unkeyed, misplaced: exact counts, in the metrics as on the topics."""
    raws = traffic(3_000, seed=1)
    send(site, raws)
    worker = Worker(site, tmp_path / "log")
    await_outputs(site, raws, tmp_path / "log")
    astray = sum(r.outcome in ("valid", "duplicate", "conflict") for r in raws if r.partition != _lane(r))
    expected = Counter(r.outcome if r.outcome in ("valid", "duplicate") else f"dead_lettered_{r.outcome}" for r in raws)
    expected["rekeyed"] = astray
    wait_for(lambda: worker.outcomes() == expected, lambda: f"{worker.outcomes()} is not {expected}")
    assert worker.stop() == 0
    assert_exact(site, raws)


def _lane(raw: Raw) -> int:
    try:
        return lane_of(msgspec.json.decode(raw.value or b"")["body"]["wallet_id"], LANES)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError):
        return raw.partition


def test_kills_change_nothing(site: Settings, tmp_path: Path) -> None:
    """Killed over and over in the middle of its work, the gate ends with the same exact result."""
    raws = traffic(8_000, seed=2)
    log = tmp_path / "log"
    small_batches = msgspec.structs.replace(site, batch_records_max=200)
    third = len(raws) // 3
    send(site, raws[:third])
    for part in (raws[third : 2 * third], raws[2 * third :]):
        before = written(site)
        worker = Worker(small_batches, log)
        wait_for(lambda seen=before: written(site) > seen, lambda: log.read_text()[-3000:])  # type: ignore[misc]  # a default binds the loop's value
        worker.kill()
        send(site, part)
    worker = Worker(small_batches, log)
    await_outputs(site, raws, log)
    assert worker.stop() == 0
    assert_exact(site, raws)


def test_ten_megabytes_are_dead_lettered_whole(site: Settings, tmp_path: Path) -> None:
    """A value of ten megabytes between others neither stops the gate nor is lost."""
    source = random.Random(3)
    good = [msgspec.json.encode(payment(source, time.time_ns() // 1_000)) for _ in range(2)]
    huge = b'{"memo":"' + random.Random(4).randbytes(5_000_000).hex().encode() + b'"}'
    values = [good[0], huge, good[1]]
    raws = [Raw(v, None, 0, "too_large" if v is huge else "valid") for v in values]
    send(site, raws)
    worker = Worker(site, tmp_path / "log")
    _, dead = await_outputs(site, raws, tmp_path / "log")
    assert worker.stop() == 0
    assert [len(record.value or b"") for record in dead] == [len(huge)]
    assert_exact(site, raws)


def test_dead_letters_are_listed_shown_mended_and_replayed_once(
    site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the list to a mended replay; replaying again changes nothing."""
    for name, value in site.environ().items():
        monkeypatch.setenv(name, value)
    event = payment(random.Random(5), time.time_ns() // 1_000, amount_minor=1300)
    wallet = event["body"]["wallet_id"]
    raws = [
        Raw(msgspec.json.encode(event), wallet.encode(), lane_of(wallet, LANES), "inconsistent"),
        Raw(b"\x1b[2J{", None, 0, "not_json"),
    ]
    send(site, raws)
    worker = Worker(site, tmp_path / "log")
    await_outputs(site, raws, tmp_path / "log")

    listed = run("list", "--reason", "inconsistent")["letters"]
    assert [row["reason_code"] for row in listed] == ["inconsistent"]
    assert len(run("list")["letters"]) == 2
    place = listed[0]["place"]
    assert json.loads(run("show", place)["value"]) == event
    shown = CliRunner().invoke(dlq, ["show", run("list", "--reason", "not_json")["letters"][0]["place"]])
    assert "\\x1b[2J{" in shown.output

    assert run("replay", place, "--dry-run", code=1)["replays"][0]["fate"] == "rejected"
    mend = ("--set", "body.amount_minor=1200")
    assert run("replay", place, *mend, "--dry-run")["sent"] == 0
    assert not results(site)[0]
    for _ in range(2):
        assert run("replay", place, *mend)["sent"] == 1
    wait_for(lambda: worker.outcomes()["duplicate"] == 1, lambda: str(worker.outcomes()))
    (valid,) = results(site)[0]
    assert msgspec.json.decode(valid.value or b"")["body"]["amount_minor"] == 1200
    assert worker.stop() == 0


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(dlq, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)
