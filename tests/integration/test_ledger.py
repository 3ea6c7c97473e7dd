"""The ledger on a real broker: exact to the yen and the version, whatever is killed when, on any number of workers."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from kafka import KafkaProducer

from koban.ledger.book import Book
from koban.ledger.facts import decode_fact
from koban.settings import Settings
from ops import topics
from ops.audit.state import stored_hash
from ops.bench.broker import forget
from ops.cli.main import main
from ops.kafka_log import end_offsets, read_topics
from ops.platform import platform
from schemas.dead_letters import DeadLetter
from schemas.partitioning import lane_of
from streams import dead_letters
from streams.transport import group_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

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
        self.waiting: set[str] = set()
        """Payments whose refund waits for its merchant's money."""

    def make(self, count: int) -> list[tuple[str, str, bytes]]:
        """Some more facts, each with its books."""
        kinds = (
            self._top_up, self._payment, self._payment, self._payment, self._refund, self._unfunded, self._transfer,
            self._grant,
        )  # fmt: skip
        made = [event for _ in range(count) for event in self._random.choice(kinds)()]
        self.sent += made
        return made

    def _wallet(self) -> str:
        return f"{self._name}-w{self._random.randrange(60)}"

    def _amount(self) -> int:
        return self._random.randrange(1, 500)

    def _event(
        self, event_type: str, body: dict[str, Any], lines: dict[str, int], payment: str = ""
    ) -> tuple[str, str, bytes]:
        number = next(self._numbers)
        value = {
            "event_type": event_type, "event_id": f"{self._name}-e{number}", "occurred_at_us": AT_US + number,
            "aggregate": "payment", "aggregate_id": payment or f"{self._name}-p{number}", "aggregate_seq": 1,
            "body": body,
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
        """A payment and a refund of a part of it: its merchant always has the money, which came just before."""
        wallet, merchant, amount = self._wallet(), f"m{self._random.randrange(20)}", self._amount()
        payment = f"{self._name}-r{next(self._numbers)}"
        paid = [{"kind": "money_lite", "amount_minor": amount + 50}]
        bought = {
            "wallet_id": wallet, "merchant_id": merchant, "store_id": "s", "amount_minor": amount + 50, "tenders": paid,
        }  # fmt: skip
        sold = {f"U.{wallet}.money_lite": amount + 50, f"M.{merchant}.payable": -amount - 50}
        tenders = [{"kind": "money_lite", "amount_minor": amount}]
        body = {
            "wallet_id": wallet,
            "merchant_id": merchant,
            "refund_id": "r",
            "amount_minor": amount,
            "tenders": tenders,
        }
        asked = {f"M.{merchant}.payable": amount, f"M.{merchant}.refund_reserved": -amount}
        given = {f"M.{merchant}.refund_reserved": amount, f"U.{wallet}.money_lite": -amount}
        self.entries += 1  # that it was asked for, besides what was reserved
        return [
            self._event("PaymentCompleted", bought, sold, payment),
            self._event("RefundRequested", body, asked, payment),
            self._event("RefundCompleted", body, given, payment),
        ]

    def _unfunded(self) -> list[tuple[str, str, bytes]]:
        """A refund that waits for ever: all that its merchant had was taken from it just before."""
        wallet, amount = self._wallet(), self._amount()
        payment = f"{self._name}-u{next(self._numbers)}"
        account = f"M.{payment}.payable"
        tenders = [{"kind": "points", "amount_minor": amount}]
        sold = {"wallet_id": wallet, "merchant_id": payment, "amount_minor": amount, "tenders": tenders}
        taken = {"X.fraud": -amount, account: amount}
        lines = [{"account": name, "debit_minor": debit} for name, debit in taken.items()]
        self.waiting.add(payment)
        return [
            self._event("PaymentCompleted", sold, {f"U.{wallet}.points": amount, account: -amount}, payment),
            self._event("AdjustmentPosted", {"wallet_id": wallet, "lines": lines, "approvals": ["a", "b"]}, taken),
            self._event("RefundRequested", {**sold, "refund_id": "r"}, {}, payment),
        ]

    def _transfer(self) -> list[tuple[str, str, bytes]]:
        wallet, amount = self._wallet(), self._amount()
        other = wallet + "x"
        body = {
            "wallet_id": wallet, "receiver_wallet_id": other, "transfer_id": f"t{next(self._numbers)}",
            "kind": "money", "amount_minor": amount,
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

    def start(self, count: int = 1, stage: str = "ledger") -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
        for _ in range(count):
            log = self._folder / f"{stage}-{next(NUMBERS)}.log"
            self.logs.append(log)
            environ = {
                **kept,
                **self.settings.environ(),
                "KOBAN_METRICS_PORT": "0",
                "KOBAN_BATCH_RECORDS_MAX": "300",
                "KOBAN_LEDGER_CHECKPOINT_S": "0",
            }  # after every commit: kills fall between the two
            with log.open("w") as target:
                self.workers.append(
                    subprocess.Popen([sys.executable, "-m", f"streams.{stage}"], cwd=ROOT, env=environ, stderr=target)
                )

    def kill(self, number: int) -> None:
        """As a machine that loses its power."""
        worker = self.workers.pop(number)
        worker.kill()
        worker.wait()

    def end(self) -> None:
        while self.workers:
            self.kill(0)

    def forget(self) -> None:
        """All that the ledger ever made of its input: what it wrote, how far it read, its stores. The input stays."""
        made = ("journal", "balances", "ledger-legs", "refunds-waiting")
        forget(self.settings.kafka_bootstrap, group_of("ledger"), *made)
        topics.apply(self.settings)
        shutil.rmtree(self.settings.data_dir / "ledger")

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

    def await_written(self, offsets: int) -> None:
        wait_for(lambda: self.written() >= offsets, self.told)

    def told(self) -> str:
        """The ends of the youngest workers' logs."""
        return "".join(log.read_text()[-2000:] for log in self.logs[-2:])

    def letters(self) -> dict[str, dead_letters.Letter]:
        """Event id → its newest dead letter."""
        found = dead_letters.search(self.settings, limit=1_000).letters
        return {msgspec.json.decode(letter.value or b"{}").get("event_id"): letter for letter in reversed(found)}

    def await_letters(self, event_ids: set[str]) -> None:
        """Until all of these have dead letters."""
        wait_for(lambda: event_ids <= self.letters().keys(), lambda: f"{sorted(self.letters())}: {self.told()}")

    def await_letter(self, event_id: str, fits: Callable[[DeadLetter], bool]) -> DeadLetter:
        """What an event's newest dead letter says of it, once that fits."""

        def about() -> DeadLetter:
            found = self.letters()[event_id].about
            assert found is not None
            return found

        wait_for(lambda: fits(about()), lambda: f"{about()}")
        return about()

    def await_rest(self, entries: int) -> None:
        """Until so many entries are written and no leg is on its way."""

        def unrest() -> str:
            if self.written() < entries:  # quickly seen; markers count too, so it is not yet the answer
                return f"{self.written()} of {entries} entries"
            written = len(self.read("journal"))
            flying = sum(balance["posted_minor"] for balance in self.balances(IN_FLIGHT).values())
            legs = sum("claim_minor" not in leg for record in self.read("ledger-legs") for leg in record["legs"])
            counted = sum(balance["version"] for balance in self.balances(IN_FLIGHT).values())
            if written >= entries and flying == 0 and counted == 2 * legs:
                return ""
            return f"{written} of {entries} entries, {flying} yen in flight, {counted} of {2 * legs} ends of legs"

        wait_for(lambda: not unrest(), lambda: f"{unrest()}: {self.told()}")

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
    assert Counter(entry["entry_id"] for entry in journal).most_common(1)[0][1] == 1
    assert len(journal) == traffic.entries
    folded: Books = {}
    for line in (line for entry in journal for line in entry["lines"]):
        account = line["account"].partition("@")[0]
        before = folded.get(account, (0, 0))
        folded[account] = before[0] + line["debit_minor"], before[1] + 1
    actual = added_up(rig.balances())
    assert folded == traffic.books
    assert actual == traffic.books
    assert {refund["payment_id"] for refund in rig.read("refunds-waiting")} == traffic.waiting
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
    assert stored_hash(rig.settings) == replayed_hash(traffic)
    assert "the store is" not in rig.logs[-1].read_text(), "every lane goes on from its store"
    # A lost store, and one whose lane it is not, are made anew from the log.
    rig.end()
    stores = rig.settings.data_dir / "ledger"
    shutil.rmtree(stores / "lane-0")
    shutil.rmtree(stores / "lane-1")
    shutil.copytree(stores / "lane-2", stores / "lane-1")
    rig.start(1)
    rig.send(traffic.make(500))
    rig.await_rest(traffic.entries)
    told = rig.logs[-1].read_text()
    assert "lane 0: the store is absent" in told
    assert "lane 1: the store is other_lane" in told
    assert "lane 2: the store" not in told
    check(rig, traffic)
    versions_only_grow(rig)
    before_replay = stored_hash(rig.settings)
    assert before_replay == replayed_hash(traffic)
    # The whole input once more, from its first offset, by three workers and into empty books.
    rig.end()
    rig.forget()
    rig.start(3)
    rig.await_rest(traffic.entries)
    check(rig, traffic)
    versions_only_grow(rig)
    assert stored_hash(rig.settings) == before_replay


def replayed_hash(traffic: Traffic) -> str:
    """The state hash of all events on a single lane, in the order in which they were made."""
    book = Book(0, lambda owner: 0)
    for _, _, value in traffic.sent:
        book.post(decode_fact(value))
    return book.state_hash()


def said(event_type: str, event_id: str, payment: str = "p", at_us: int = AT_US, **body: Any) -> tuple[str, str, bytes]:
    """An event as a producer sends it, of wallet w and merchant m."""
    value = {
        "event_type": event_type, "event_id": event_id, "occurred_at_us": at_us, "aggregate": "payment",
        "aggregate_id": payment, "aggregate_seq": 1,
        "body": {"wallet_id": "w", "merchant_id": "m", "store_id": "s", **body},
    }  # fmt: skip
    return "payments", "w", msgspec.json.encode(value)


def refund_asked(event_id: str, payment: str = "p", at_us: int = AT_US) -> tuple[str, str, bytes]:
    tenders = [{"kind": "money", "amount_minor": 1}]
    return said("RefundRequested", event_id, payment, at_us, refund_id=event_id, amount_minor=1, tenders=tenders)


def test_bad_input_ends_as_a_named_refusal_that_can_be_replayed(rig: Rig) -> None:
    """Through gate and ledger: five wrongs, five names in the dead-letter queue; and one that becomes right later is
    posted under its own id, by the ledger alone, however often it is replayed."""
    tenders = [{"kind": "money", "amount_minor": 100}]
    paid = {"amount_minor": 100, "tenders": tenders}
    lines = [{"account": "X.fraud", "debit_minor": 9}, {"account": "U.w.money", "debit_minor": -8}]
    year_later_us = AT_US + 365 * 86_400_000_000 + 1
    rig.start(1, "gate")
    rig.start(1)
    rig.send(
        [
            said("PaymentCompleted", "paid", **paid),
            said("PaymentAuthorized", "held", "h", **paid),
            *(refund_asked(f"part-{number}") for number in range(50)),
            said("AdjustmentPosted", "unbalanced", owner_id="w", lines=lines, approvals=["a", "b"]),
            said("PaymentCaptured", "above", "h", authorized_minor=101, captured_minor=101,
                 tenders=[{"kind": "money", "amount_minor": 101}]),
            refund_asked("part-50"),
            said("PaymentCompleted", "old", "o", **paid),
            refund_asked("too-late", "o", year_later_us),
            said("PaymentCompleted", "dollars", "d", currency="USD", **paid),
            refund_asked("too-soon", "later"),
        ]
    )  # fmt: skip
    expected = {
        "unbalanced": ("inconsistent", "body.lines sum to 1, not to 0"),
        "above": ("refused", "above_hold: 101 captured of 100 held"),
        "part-50": ("refused", "refund_parts: payment p has 50 refunds"),
        "too-late": ("refused", "refund_too_late: payment o is more than 365 days old"),
        "dollars": ("unknown_currency", "body.currency: expected a currency that the books keep, got 'USD'"),
        "too-soon": ("refused", "unknown_payment: no payment later of w"),
    }
    rig.await_letters(set(expected))
    listed = {row["value"]["event_id"]: row for row in shown(rig)}
    assert {event_id: (row["reason_code"], row["reason"]) for event_id, row in listed.items()} == expected
    assert {event_id for event_id, row in listed.items() if row["stage"] == "gate"} == {"unbalanced", "dollars"}
    # What is refused changed nothing.
    entries = 3 + 2 * 50
    rig.await_rest(entries)
    assert added_up(rig.balances())["U.w.money"][0] == 3 * 100
    # The payment that it was about comes after all, and the refused refund again, twice: by the ledger alone.
    rig.send([said("PaymentCompleted", "came", "later", **paid)])
    rig.await_rest(entries + 1)
    for _ in range(2):
        assert koban(rig, "dlq", "replay", listed["too-soon"]["place"])["sent"] == 1
    rig.await_rest(entries + 3)
    again = rig.await_letter("too-soon", lambda about: about.reason.startswith("refund_exists:"))
    assert again.origin_topic == "ledger-replays"
    # What can be mended is mended, what can't is refused again by the same name.
    mended = {
        "unbalanced": ['body.lines=[{"account":"X.fraud","debit_minor":9},{"account":"U.w.money","debit_minor":-9}]'],
        "dollars": ["body.currency=JPY"],
        "above": [
            "event_id=above-2", "body.captured_minor=100", "body.authorized_minor=100",
            'body.tenders=[{"kind":"money","amount_minor":100}]',
        ],
    }  # fmt: skip
    for event_id, fields in mended.items():
        sets = [part for field in fields for part in ("--set", field)]
        assert koban(rig, "dlq", "replay", listed[event_id]["place"], *sets)["sent"] == 1
    for event_id in ("part-50", "too-late"):
        assert koban(rig, "dlq", "replay", listed[event_id]["place"])["sent"] == 1
    rig.await_rest(entries + 3 + len(mended))
    for event_id in ("part-50", "too-late"):
        again = rig.await_letter(event_id, lambda about: about.origin_topic == "ledger-replays")
        assert again.reason == expected[event_id][1]
    posted = Counter(entry["entry_id"] for entry in rig.read("journal"))
    assert posted.most_common(1)[0][1] == 1
    assert {"too-soon", "too-soon:reserved", "unbalanced", "dollars", "above-2"} <= posted.keys()
    assert not {"above", "part-50", "too-late"} & posted.keys()
    assert sum(debit for debit, _ in added_up(rig.balances()).values()) == 0


def koban(rig: Rig, *words: str) -> dict[str, Any]:
    """What a command answers; it must succeed."""
    result = CliRunner().invoke(main, [*words, "--json"], env=rig.settings.environ())
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def shown(rig: Rig) -> list[dict[str, Any]]:
    """Every dead letter as `koban dlq` lists and shows it, with its value read."""
    rows = [koban(rig, "dlq", "show", row["place"]) for row in koban(rig, "dlq", "list")["letters"]]
    return [{**row, "value": json.loads(row["value"])} for row in rows]
