"""The whole platform on its real engines: payments in, processes killed, a foreign client, every store proven."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from kafka import KafkaProducer

from ops.demo.people import DemoAccount
from ops.demo.run import Outcome, Plan, run
from ops.drill.kill import Fault, kill_each
from ops.platform import Platform

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1500)]

FOREIGN_PAYMENT = "9900000000000000017"
FOREIGN_AMOUNT = 1_234
KILLED = ("ledger", "flink-taskmanager", "kafka", "mariadb", "gate")


class Run:
    """A demo with kills and a foreign client in its midst, and what is left of it: a platform at rest."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.said: list[str] = []
        self.platform = Platform(data_dir, self.said.append)
        self.faults: list[Fault] = []
        plan = Plan(data_dir=data_dir, seconds=None, tps=100, seed=11, users=2_000, merchants=80, check=True)
        self.outcome: Outcome = run(plan, self.platform, threading.Event(), self.said.append, self._disturb)

    def _disturb(self, stop: threading.Event) -> None:
        send_foreign_lines(self.platform.site().settings.kafka_bootstrap)
        self.faults = kill_each(self.platform, KILLED, Random(11), stop, self.said.append)

    def koban(self, *arguments: str) -> dict[str, Any]:
        """The JSON of a command line that must succeed."""
        environ = {**os.environ, "KOBAN_DATA_DIR": str(self.data_dir)}
        command = [sys.executable, "-m", "ops.cli.main", *arguments, "--json"]
        result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document


def send_foreign_lines(bootstrap: str) -> None:
    """What a client that knows nothing of our keys and headers writes: a payment, and a malformed line."""
    tenders = [{"kind": "card", "amount_minor": FOREIGN_AMOUNT}]
    body = {"wallet_id": "w-foreign", "merchant_id": "m-foreign", "store_id": "s-1", "amount_minor": FOREIGN_AMOUNT}
    event = {
        "event_id": "foreign-1",
        "event_type": "PaymentCompleted",
        "occurred_at_us": int(time.time() * 1_000_000),
        "aggregate": "payment",
        "aggregate_id": FOREIGN_PAYMENT,
        "aggregate_seq": 1,
        "correlation_id": FOREIGN_PAYMENT,
        "producer": "foreign",
        "body": body | {"tenders": tenders, "store_name": "カフェ小判 渋谷駅前店"},
    }
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.send("payments", json.dumps(event, ensure_ascii=False).encode())
    producer.send(
        "payments", b'{"event_type": "PaymentCompleted", "producer": "foreign", "body": {"amount_minor": -1}}'
    )
    producer.flush(timeout=30)
    producer.close()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    data_dir = tmp_path_factory.mktemp("platform")
    try:
        yield Run(data_dir)
    finally:
        Platform(data_dir, lambda _: None).down()


def test_after_kills_in_mid_flow_every_store_agrees_with_the_recomputation(done: Run):
    assert [fault.component for fault in done.faults] == list(KILLED)
    assert [check for check in done.outcome.checks if not check.ok] == []


def test_the_counts_add_up_and_every_stage_has_work_to_show(done: Run):
    counts = done.outcome.counts
    assert counts["produced"] == counts["valid"] + counts["dead_lettered"] + counts["duplicates"]
    assert min(counts[name] for name in ("entries", "documents", "volumes", "cashback", "lake", "dead_lettered")) > 0
    assert {"gate", "ledger", "search"} <= done.outcome.latency_ms.keys()


def test_a_foreign_clients_payment_is_traced_through_every_stage(done: Run):
    trace = done.koban("trace", FOREIGN_PAYMENT)
    assert {"producer", "gate", "ledger"} <= {hop["stage"] for hop in trace["hops"]}
    lines = {line["account"]: line["debit_minor"] for entry in trace["entries"] for line in entry["lines"]}
    assert lines["M.m-foreign.payable"] == -FOREIGN_AMOUNT
    assert sum(lines.values()) == 0
    assert [document["amount_minor"] for document in trace["documents"]] == [FOREIGN_AMOUNT]


def test_the_book_answers_for_the_foreign_payment(done: Run):
    entry = done.koban("ledger", "entry", "foreign-1")
    assert {line["account"]: line["debit_minor"] for line in entry["lines"]}["M.m-foreign.payable"] == -FOREIGN_AMOUNT
    account = ("ledger", "balance", "M.m-foreign.payable")
    now = done.koban(*account)
    assert (now["posted_minor"], now["told_by"]) == (FOREIGN_AMOUNT, "ledger")
    for axis, at in (("business", entry["occurred_at"]), ("recorded", entry["recorded_at"])):
        assert done.koban(*account, "--axis", axis, "--at", at)["posted_minor"] == FOREIGN_AMOUNT
    (line,) = done.koban("ledger", "statement", "M.m-foreign.payable")["lines"]
    assert (line["change_minor"], line["balance_minor"]) == (FOREIGN_AMOUNT, FOREIGN_AMOUNT)
    assert done.koban("ledger", "trial-balance")["total_minor"] == 0


def test_a_merchant_finds_the_payment_by_what_it_has(done: Run):
    found = done.koban("search", f"{FOREIGN_AMOUNT}円 渋谷", "--merchant", "m-foreign")
    assert found["total"] == 1
    assert done.koban("search", f"{FOREIGN_AMOUNT}円", "--merchant", "m-other")["total"] == 0


def test_the_malformed_line_is_a_dead_letter_with_its_reason(done: Run):
    letters = done.koban("dlq", "list", "--limit", "1000")
    assert any("foreign" in json.dumps(letter, ensure_ascii=False) for letter in letters["letters"])


def test_people_sign_in_and_each_merchant_finds_its_own(done: Run):
    """By the demo's own passwords, on the real index: lists, exports, single payments; and the log has all of it."""
    made = done.outcome.people
    assert made is not None
    check_merchants(done.outcome.settings.console_url, made.accounts)
    assert done.koban("audit", "verify")["ok"]
    acts = {record["action"] for record in done.koban("audit", "show", "--limit", "200")["records"]}
    assert {"users:add", "session:link", "session:open", "payments:export"} <= acts


def check_merchants(url: str, accounts: Sequence[DemoAccount]) -> None:
    """Two merchants see all of their own payments and none of each other's, whatever they ask for."""
    merchants = [account for account in accounts if account.name.startswith("demo-merchant-")]
    found: dict[str, set[str]] = {}
    for account in merchants:
        own = account.roles.removeprefix("merchant:")
        with signed_in(url, account) as client:
            hits = client.get("/payments.json").json()["hits"]
            assert hits, account.name
            assert {hit["merchant_id"] for hit in hits} == {own}
            others = client.get("/payments.json", params={"q": f"-merchant:{own}"}).json()
            assert others["total"] == 0
            rows = csv.DictReader(client.get("/payments.csv").text.splitlines())
            assert {row["merchant_id"] for row in rows} == {own}
            assert client.get("/ledger.json").status_code == 403
        found[account.name] = {hit["payment_id"] for hit in hits}
    for account in merchants:
        foreign = next(iter(set().union(*(found[name] for name in found if name != account.name))))
        with signed_in(url, account) as client:
            assert client.get(f"/payments/{foreign}").status_code == 404
            assert client.get(f"/payments/{foreign}.json").status_code == 404


@contextmanager
def signed_in(url: str, account: DemoAccount) -> Iterator[httpx.Client]:
    """A browser of somebody, from the sign-in page on."""
    with httpx.Client(base_url=url, timeout=30) as client:
        token = re.search(r'name="csrf" value="([0-9a-f]+)"', client.get("/sign-in").text)
        assert token
        fields = {"csrf": token[1], "name": account.name, "password": account.password}
        assert client.post("/sign-in", data=fields).status_code == 303
        yield client
