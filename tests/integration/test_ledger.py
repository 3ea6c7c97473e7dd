"""The ledger on a real broker: exact to the yen and the version, whatever is killed when, on any number of workers."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer

from koban.ledger.book import Book, state_hash
from koban.ledger.facts import decode_balance, decode_fact
from koban.settings import Settings
from ops import topics
from ops.kafka_log import end_offsets, read_topics
from ops.platform import platform
from schemas.partitioning import lane_of

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = itertools.count()
AT_US = 1_700_000_000_000_000
IN_FLIGHT = "L.in_flight"

Books = dict[str, tuple[int, int]]
"""Account without a lane → (Σ debits, number of lines)."""


# --- traffic, and what it should come to


class Traffic:
    """Random facts of a small world, and their books, added up as they are made. Knows nothing of the ledger's code."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._name = f"s{seed}"
        self._numbers = itertools.count()
        self.sent: list[tuple[str, str, bytes]] = []
        """(topic, owner, value)."""
        self.books: Books = {}
        self.entries = 0

    def make(self, count: int) -> list[tuple[str, str, bytes]]:
        """Some more facts, each with its books."""
        kinds = (self._top_up, self._payment, self._payment, self._payment, self._refund, self._transfer, self._grant)
        made = [event for _ in range(count) for event in self._random.choice(kinds)()]
        self.sent += made
        return made

    def _wallet(self) -> str:
        return f"{self._name}-w{self._random.randrange(60)}"

    def _amount(self) -> int:
        return self._random.randrange(1, 500)

    def _event(self, event_type: str, body: dict[str, Any], lines: dict[str, int]) -> tuple[str, str, bytes]:
        number = next(self._numbers)
        payment = f"{self._name}-p{number}"
        value = {
            "event_type": event_type, "event_id": f"{self._name}-e{number}", "occurred_at_us": AT_US + number,
            "aggregate": "payment", "aggregate_id": payment, "aggregate_seq": 1, "body": body,
        }  # fmt: skip
        for account, debit in lines.items():
            before = self.books.get(account, (0, 0))
            self.books[account] = before[0] + debit, before[1] + 1
        self.entries += 1
        topic = "cashback" if event_type.startswith("Cashback") else "payments-valid"
        return topic, str(body["wallet_id"]), msgspec.json.encode(value)

    def _top_up(self) -> list[tuple[str, str, bytes]]:
        wallet, amount = self._wallet(), self._amount()
        body = {"wallet_id": wallet, "amount_minor": amount, "source": "bank", "verified": True, "funding_id": "bank-1"}
        lines = {"A.bank_clearing.bank-1": amount, f"U.{wallet}.money": -amount}
        return [self._event("TopUpCompleted", body, lines)]

    def _payment(self) -> list[tuple[str, str, bytes]]:
        wallet, merchant, amount = self._wallet(), f"m{self._random.randrange(20)}", self._amount()
        body = {
            "wallet_id": wallet, "merchant_id": merchant, "store_id": "s", "amount_minor": amount + 7,
            "tenders": [{"kind": "money", "amount_minor": amount}, {"kind": "card", "amount_minor": 7, "lot": "visa"}],
        }  # fmt: skip
        lines = {f"U.{wallet}.money": amount, "A.card_recv.visa": 7, f"M.{merchant}.payable": -amount - 7}
        return [self._event("PaymentCompleted", body, lines)]

    def _refund(self) -> list[tuple[str, str, bytes]]:
        wallet, merchant, amount = self._wallet(), f"m{self._random.randrange(20)}", self._amount()
        tenders = [{"kind": "money_lite", "amount_minor": amount}]
        body = {
            "wallet_id": wallet,
            "merchant_id": merchant,
            "refund_id": "r",
            "amount_minor": amount,
            "tenders": tenders,
        }
        asked = {f"M.{merchant}.payable": amount, f"M.{merchant}.refund_reserved": -amount}
        paid = {f"M.{merchant}.refund_reserved": amount, f"U.{wallet}.money_lite": -amount}
        return [self._event("RefundRequested", body, asked), self._event("RefundCompleted", body, paid)]

    def _transfer(self) -> list[tuple[str, str, bytes]]:
        wallet, amount = self._wallet(), self._amount()
        other = wallet + "x"
        body = {
            "wallet_id": wallet, "receiver_wallet_id": other, "transfer_id": "t", "kind": "money",
            "amount_minor": amount,
        }  # fmt: skip
        sent = {f"U.{wallet}.money": amount, "L.p2p_transit": -amount}
        taken = {"L.p2p_transit": amount, f"U.{other}.money": -amount}
        return [self._event("TransferSent", body, sent), self._event("TransferAccepted", body, taken)]

    def _grant(self) -> list[tuple[str, str, bytes]]:
        wallet, amount = self._wallet(), self._amount()
        body = {
            "wallet_id": wallet, "campaign_id": "c1", "definition_hash": "h", "payment_id": "p", "amount_minor": amount,
        }  # fmt: skip
        return [self._event("CashbackGranted", body, {"C.c1.available": amount, f"U.{wallet}.points": -amount})]


# --- the platform under test


class Rig:
    """A broker with the contracts' topics, workers of the ledger, and what they have written."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.logs: list[Path] = []

    def start(self, count: int = 1) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
        for _ in range(count):
            log = self._folder / f"ledger-{next(NUMBERS)}.log"
            self.logs.append(log)
            environ = {**kept, **self.settings.environ(), "KOBAN_METRICS_PORT": "0", "KOBAN_BATCH_RECORDS_MAX": "300"}
            with log.open("w") as target:
                self.workers.append(
                    subprocess.Popen([sys.executable, "-m", "streams.ledger"], cwd=ROOT, env=environ, stderr=target)
                )

    def kill(self, number: int) -> None:
        """As a machine that loses its power."""
        worker = self.workers.pop(number)
        worker.kill()
        worker.wait()

    def end(self) -> None:
        while self.workers:
            self.kill(0)

    def send(self, events: list[tuple[str, str, bytes]]) -> None:
        """Puts events where the gate and the cashback job put them."""
        producer = KafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap, acks="all", linger_ms=5)
        lanes = self.settings.payment_partitions
        for topic, owner, value in events:
            producer.send(topic, value, key=owner.encode(), partition=lane_of(owner, lanes))
        producer.close()

    def read(self, topic: str) -> list[dict[str, Any]]:
        records = read_topics(self.settings.kafka_bootstrap, [topic])
        return [msgspec.json.decode(record.value) for record in records if record.value is not None]

    def written(self) -> int:
        """Offsets of the journal taken so far: entries, and a marker a transaction."""
        return sum(end_offsets(self.settings.kafka_bootstrap, ["journal"]).values())

    def await_written(self, offsets: int, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while self.written() < offsets:
            assert time.monotonic() < deadline, self.logs[-1].read_text()[-3000:]

    def await_rest(self, entries: int, within_s: float = 120) -> None:
        """Until so many entries are written and no leg is on its way."""
        deadline = time.monotonic() + within_s
        while True:
            written = len(self.read("journal"))
            flying = sum(balance["posted_minor"] for balance in self.balances(IN_FLIGHT).values())
            legs = sum(len(record["legs"]) for record in self.read("ledger-legs"))
            counted = sum(balance["version"] for balance in self.balances(IN_FLIGHT).values())
            if written >= entries and flying == 0 and counted == 2 * legs:
                return
            tail = "".join(log.read_text()[-1500:] for log in self.logs[-2:])
            assert time.monotonic() < deadline, f"{written} of {entries} entries, {flying} yen in flight: {tail}"
            time.sleep(0.5)

    def balances(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        return {b["account"]: b for b in self.read("balances") if b["account"].startswith(prefix)}


def added_up(balances: dict[str, dict[str, Any]]) -> Books:
    """Balances as Σ debits and number of lines, the lanes' parts of an account in one."""
    found: Books = {}
    for name, balance in balances.items():
        account = name.partition("@")[0]
        sign = 1 if account[0] in "AX" or account.endswith(".clawback_due") else -1
        before = found.get(account, (0, 0))
        found[account] = before[0] + sign * balance["posted_minor"], before[1] + balance["version"]
    found.pop(IN_FLIGHT, None)
    return found


def check(rig: Rig, traffic: Traffic) -> Books:
    """Nothing lost, nothing twice, no version skipped: journal and balances are the traffic's own books."""
    journal = rig.read("journal")
    assert Counter(entry["event_id"] for entry in journal).most_common(1)[0][1] == 1
    assert len(journal) == traffic.entries
    folded: Books = {}
    for line in (line for entry in journal for line in entry["lines"]):
        account = line["account"].partition("@")[0]
        before = folded.get(account, (0, 0))
        folded[account] = before[0] + line["debit_minor"], before[1] + 1
    actual = added_up(rig.balances())
    assert folded == traffic.books
    assert actual == traffic.books
    assert sum(debit for debit, _ in actual.values()) == 0
    return actual


def versions_only_grow(rig: Rig) -> None:
    """In the order of the log, each account's version goes up and its balance is that of its version."""
    last: dict[str, int] = {}
    for balance in rig.read("balances"):
        assert balance["version"] > last.get(balance["account"], 0)
        last[balance["account"]] = balance["version"]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with platform(tmp_path / "platform", only=("kafka",), keep=False) as settings:
        topics.apply(settings)
        made = Rig(settings, tmp_path)
        yield made
        made.end()


# --- the tests


def test_kills_at_random_points_cost_no_yen_and_no_version(rig: Rig) -> None:
    """Two workers, one killed again and again in the midst of work: the books come out as if nothing had happened."""
    chance = random.Random(7)
    traffic = Traffic(1)
    rig.start(2)
    for _ in range(6):
        written = rig.written()
        rig.send(traffic.make(1_500))
        rig.await_written(written + chance.randrange(1, 1_500))
        rig.kill(chance.randrange(len(rig.workers)))
        rig.start(1)
    rig.await_rest(traffic.entries)
    before = check(rig, traffic)
    versions_only_grow(rig)
    # Another number of workers takes over what is stored, and goes on from there.
    rig.end()
    rig.start(1)
    rig.send(traffic.make(500))
    rig.await_rest(traffic.entries)
    assert check(rig, traffic) != before
    versions_only_grow(rig)
    assert stored_hash(rig) == replayed_hash(traffic)


def stored_hash(rig: Rig) -> str:
    """The state hash of what the lanes would restore."""
    books = [Book(lane, lambda owner: 0) for lane in range(rig.settings.payment_partitions)]
    for record in read_topics(rig.settings.kafka_bootstrap, ["balances"]):
        if record.value is not None:
            books[record.partition].restore(decode_balance(record.value))
    for book in books:
        book.check()
    return state_hash(books)


def replayed_hash(traffic: Traffic) -> str:
    """The state hash of all events on a single lane, in the order in which they were made."""
    book = Book(0, lambda owner: 0)
    for _, _, value in traffic.sent:
        book.post(decode_fact(value))
    return book.state_hash()
