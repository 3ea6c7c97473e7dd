"""Seals on a real broker: made once through kills, remade the same from the log, and every change of a copy named."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from koban.settings import Settings
from ops import topics
from ops.audit.evidence import TOPICS
from ops.audit.findings import Difference
from ops.audit.ledger import audit
from ops.audit.proof import Proof
from ops.bench.broker import forget
from ops.kafka_log import LogRecord, end_offsets, read_topics
from ops.platform import platform
from schemas.partitioning import lane_of
from streams.transport import group_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
WINDOW_S, GRACE_S = 2, 3
AT_US = 1_700_000_000_000_000
Records = dict[str, list[LogRecord]]


class Rig:
    """A broker with the contracts' topics, a ledger and a sealer at work, and payments for them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._folder = folder
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._random = random.Random(5)
        self._number = 0

    def start(self, stage: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
        environ = {
            **kept, **self.settings.environ(), "KOBAN_METRICS_PORT": "0", "KOBAN_SEAL_WINDOW_S": str(WINDOW_S),
            "KOBAN_SEAL_GRACE_S": str(GRACE_S), "KOBAN_SEAL_INTERVAL_MS": "50", "KOBAN_BATCH_RECORDS_MAX": "50",
        }  # fmt: skip
        with self.log(stage).open("a") as log:
            command = [sys.executable, "-m", f"streams.{stage}"]
            self._workers[stage] = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=log)

    def log(self, stage: str) -> Path:
        return self._folder / f"{stage}.log"

    def kill(self, stage: str) -> None:
        """As a machine that loses its power."""
        worker = self._workers.pop(stage)
        worker.kill()
        worker.wait()

    def end(self) -> None:
        for stage in list(self._workers):
            self.kill(stage)

    def send(self, count: int) -> None:
        """Payments and transfers between lanes."""
        producer = KafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap, acks="all", linger_ms=5)
        for _ in range(count):
            self._number += 1
            wallet, amount = f"w-{self._random.randrange(40)}", self._random.randrange(1, 500)
            value = {
                "event_type": "PaymentCompleted", "event_id": f"e-{self._number}", "occurred_at_us": AT_US,
                "aggregate": "payment", "aggregate_id": f"p-{self._number}", "aggregate_seq": 1,
                "body": {
                    "wallet_id": wallet, "merchant_id": f"m-{self._random.randrange(9)}", "amount_minor": amount,
                    "tenders": [{"kind": "money", "amount_minor": amount}],
                },
            }  # fmt: skip
            lane = lane_of(wallet, self.settings.payment_partitions)
            producer.send("payments-valid", msgspec.json.encode(value), key=wallet.encode(), partition=lane)
        producer.close()

    def read(self, topic: str) -> list[LogRecord]:
        return list(read_topics(self.settings.kafka_bootstrap, [topic]))

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.read(topic)]

    def await_sealed(self) -> None:
        """Until each entry that was asked for is under a seal, and each balance."""

        def sealed() -> bool:
            seals = self.values("ledger-seals")
            entries = sum(seal["journal"]["count"] for seal in seals)
            balances = sum(seal["balances"]["count"] for seal in seals)
            return entries == self._number and balances == len(self.read("balances"))

        self.await_that(sealed)

    def chains(self) -> dict[int, list[bytes | None]]:
        """Lane → its seals, byte for byte."""
        found: dict[int, list[bytes | None]] = {}
        for record in self.read("ledger-seals"):
            found.setdefault(record.partition, []).append(record.value)
        return found

    def leaves_end(self) -> int:
        return sum(end_offsets(self.settings.kafka_bootstrap, ["ledger-seal-leaves"]).values())

    def await_that(self, holds: Callable[[], bool]) -> None:
        wait_for(holds, lambda: "".join(self.log(stage).read_text()[-1500:] for stage in ("ledger", "seals")))

    # --- copies

    def copy(self, prefix: str, change: Callable[[Records], None]) -> list[Difference]:
        """Copies the topics under other names, changes one thing on the way, and audits the copy."""
        bootstrap = self.settings.kafka_bootstrap
        records = {topic: self.read(topic) for topic in TOPICS}
        change(records)
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        lanes = self.settings.payment_partitions
        admin.create_topics([NewTopic(prefix + topic, num_partitions=lanes, replication_factor=1) for topic in TOPICS])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
        for topic, found in records.items():
            for record in found:
                headers = list(record.headers.items())
                producer.send(prefix + topic, record.value, record.key, headers=headers, partition=record.partition)
        producer.close()
        return [difference for lane in audit(self.settings, prefix=prefix) for difference in lane.differences]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("seals")
    with platform(folder / "platform", only=("kafka",), keep=False) as settings:
        topics.apply(settings)
        made = Rig(settings, folder)
        made.start("ledger")
        made.start("seals")
        for _ in range(4):
            before = made.leaves_end()
            made.send(200)
            made.await_that(lambda before=before: made.leaves_end() > before)  # type: ignore[misc]  # its own round's
            made.kill("seals")
            made.start("seals")
        made.kill("ledger")
        made.start("ledger")
        made.send(50)
        made.await_sealed()
        yield made
        made.end()


def test_a_killed_sealer_leaves_one_whole_chain(rig: Rig) -> None:
    """Every record once under a seal, whatever was killed when; and the command says so with exit code 0."""
    lanes = audit(rig.settings)
    assert [str(difference) for lane in lanes for difference in lane.differences] == []
    assert sum(lane.seals for lane in lanes) > len(lanes)
    assert sum(lane.unsealed + lane.not_folded for lane in lanes) == 0
    done = run_audit(rig, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    assert {lane["hash"] for lane in answer["lanes"]} == {lane.hash for lane in lanes}
    kept = rig.log("kept")
    kept.write_text(done.stdout)
    assert run_audit(rig, "--kept", str(kept)).returncode == 0
    kept.write_text(done.stdout.replace(lanes[0].hash, "f" * 64))
    assert "was kept, and is gone" in run_audit(rig, "--kept", str(kept)).stdout


def test_a_sealer_that_begins_anew_makes_the_same_seals(rig: Rig) -> None:
    """All it ever wrote is lost: it refuses to go on in the middle, and from the beginning makes the same bytes."""
    before = rig.chains()
    rig.kill("seals")
    admin = KafkaAdminClient(bootstrap_servers=rig.settings.kafka_bootstrap)
    admin.delete_topics(["ledger-seals", "ledger-seal-leaves"])
    rig.await_that(lambda: not {"ledger-seals", "ledger-seal-leaves"} & set(admin.list_topics()))
    topics.apply(rig.settings)
    rig.start("seals")
    rig.send(40)
    rig.await_that(lambda: "its state is gone, its offsets are not" in rig.log("seals").read_text())
    rig.kill("seals")
    admin.close()
    forget(rig.settings.kafka_bootstrap, group_of("seals"))
    rig.start("seals")
    rig.await_sealed()
    after = rig.chains()
    assert {lane: chain[: len(before[lane])] for lane, chain in after.items()} == before
    assert after != before


def run_audit(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(rig, "audit", *arguments)


def run(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **rig.settings.environ()}
    command = [sys.executable, "-m", "ops.cli.main", "ledger", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def changed_byte(records: Records) -> None:
    record = records["journal"][200]
    value = (record.value or b"").replace(b'"debit_minor":', b'"debit_minor":1', 1)
    records["journal"][200] = LogRecord(record.topic, record.partition, record.offset, 0, record.key, value, {})


def test_a_plain_copy_holds(rig: Rig) -> None:
    """Offsets differ in a copy, and nothing else does."""
    assert rig.copy("plain-", lambda records: None) == []


def test_a_changed_byte_is_named(rig: Rig) -> None:
    """The record by topic, partition and entry, and its window; the command exits with 1 and prints them."""
    record = rig.read("journal")[200]
    entry = json.loads(record.value or b"")["entry_id"]
    found = rig.copy("byte-", changed_byte)
    assert {d.kind for d in found} == {"altered", "unbalanced"}
    (altered,) = (d for d in found if d.kind == "altered")
    assert (altered.topic, altered.lane, altered.subject) == ("journal", record.partition, f"entry {entry}")
    assert altered.window == window_of(rig, record)
    done = run_audit(rig, "--prefix", "byte-")
    assert done.returncode == 1
    assert f"window {altered.window}: altered journal/{record.partition}@{altered.offset}: entry {entry}" in done.stdout


def test_an_entry_is_proved_to_somebody_who_has_the_seal_alone(rig: Rig) -> None:
    """The command's answer holds; with another value in it, it does not; an entry that never was has none."""
    record = rig.read("journal")[123]
    entry = json.loads(record.value or b"")["entry_id"]
    done = run(rig, "prove", entry)
    assert done.returncode == 0, done.stderr
    proof = msgspec.json.decode(done.stdout, type=Proof)
    assert (proof.partition, proof.offset, proof.seal.number) == (
        record.partition, record.offset, window_of(rig, record)
    )  # fmt: skip
    assert proof.ok
    assert not msgspec.structs.replace(proof, value=proof.value.replace("amount", "Amount") + " ").ok
    assert not msgspec.structs.replace(proof, index=proof.index + 1).ok
    assert run(rig, "prove", "nobody").returncode == 2


def window_of(rig: Rig, record: LogRecord) -> int:
    for seal in rig.values("ledger-seals"):
        part = seal[record.topic]
        if seal["lane"] == record.partition and part["first_offset"] <= record.offset < part["next_offset"]:
            return int(seal["number"])
    raise AssertionError("the record is under no seal")


def test_a_dropped_record_is_named(rig: Rig) -> None:
    """By the offset where it lay, and its window."""
    gone = rig.read("journal")[300]
    (missing,) = rig.copy("drop-", lambda records: records["journal"].pop(300) and None)
    assert (missing.kind, missing.lane, missing.offset) == ("missing", gone.partition, gone.offset)
    assert missing.window == window_of(rig, gone)


def test_swapped_records_are_named(rig: Rig) -> None:
    """Two entries of one lane that changed places."""

    def swap(records: Records) -> None:
        lane = [at for at, record in enumerate(records["journal"]) if record.partition == 1]
        one, other = lane[3], lane[30]
        journal = records["journal"]
        journal[one], journal[other] = journal[other], journal[one]

    assert [(d.kind, d.topic, d.lane) for d in rig.copy("swap-", swap)] == [("moved", "journal", 1)] * 2


def test_a_balance_made_larger_is_named(rig: Rig) -> None:
    """A yen more on the newest balance of an account, with its seal untouched."""

    def enrich(records: Records) -> None:
        at, record = max(
            (at, record) for at, record in enumerate(records["balances"]) if (record.key or b"").startswith(b"U.")
        )
        value = json.loads(record.value or b"")
        value["posted_minor"] += 1
        raw = msgspec.json.encode(value)
        records["balances"][at] = LogRecord(record.topic, record.partition, record.offset, 0, record.key, raw, {})

    (altered,) = rig.copy("rich-", enrich)
    assert altered.kind == "altered"
    assert altered.subject.startswith("account U.w-")


def test_a_changed_seal_is_named(rig: Rig) -> None:
    """Its own hash no longer fits."""

    def change(records: Records) -> None:
        record = records["ledger-seals"][0]
        value = json.loads(record.value or b"")
        value["journal"]["root"] = "0" * 64
        raw = msgspec.json.encode(value)
        records["ledger-seals"][0] = LogRecord(record.topic, record.partition, record.offset, 0, record.key, raw, {})

    found = rig.copy("seal-", change)
    assert {(d.kind, d.window) for d in found} == {("seal", 1)}
    assert any("hash" in d.detail for d in found)
