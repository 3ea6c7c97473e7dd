"""Verify finds each kind of difference that a fault can leave between the stores, and names the record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from koban.settings import Settings
from ops.audit.findings import Difference, LaneAudit
from ops.kafka_log import LogRecord
from ops.verify import books, checks
from ops.verify.evidence import Evidence
from ops.verify.mysql_tables import Tables

T0 = 1_763_869_440_000_000
CAMPAIGN = {
    "campaign_id": "spring", "rate_bp": 2000, "cap_per_payment_minor": 300, "budget_minor": 350,
    "starts_at_us": T0, "ends_at_us": T0 + 10**12,
}  # fmt: skip


def _event(name: str, seq: int, aggregate_id: str, at_us: int = T0, aggregate: str = "payment", **body: Any) -> dict:
    return {
        "event_id": f"e-{aggregate_id}-{seq}",
        "event_type": name,
        "occurred_at_us": at_us,
        "aggregate": aggregate,
        "aggregate_id": aggregate_id,
        "aggregate_seq": seq,
        "body": body,
    }


def _paid(number: str, amount: int, wallet: str = "w1", merchant: str = "m1", at_us: int = T0) -> dict:
    tenders = [{"kind": "money", "amount_minor": amount}]
    body = {"wallet_id": wallet, "merchant_id": merchant, "store_id": "s1", "amount_minor": amount, "tenders": tenders}
    return _event("PaymentCompleted", 1, number, at_us, **body)


def _grant(payment: str, amount: int, name: str = "CashbackGranted") -> dict:
    body = {"wallet_id": "w1", "campaign_id": "spring", "payment_id": payment, "amount_minor": amount}
    return _event(name, 1, f"{name}-{payment}", aggregate="campaign", **body)


def _entry(event: dict, *lines: tuple[str, int]) -> dict:
    lined = [{"account": account, "debit_minor": debit} for account, debit in lines]
    return {"entry_id": event["event_id"], "event_id": event["event_id"], "lines": lined}


def _refund(name: str, seq: int, payment: str, amount: int = 500) -> dict:
    tenders = [{"kind": "money", "amount_minor": amount}]
    body = {"wallet_id": "w1", "merchant_id": "m1", "refund_id": f"r-{payment}", "amount_minor": amount}
    return _event(name, seq, payment, **body, tenders=tenders)


def _log(topic: str, offset: int, value: bytes, **headers: str) -> LogRecord:
    return LogRecord(topic, 0, offset, T0 // 1000, None, value, {k: v.encode() for k, v in headers.items()})


class World(Evidence):
    """Two payments, one refund and one that waits, one duplicate, one dead letter and one refusal, and what every store
    holds of them."""

    def __init__(self) -> None:
        super().__init__(Settings(data_dir=Path("data"), lake_dir=Path("lake")))
        first, second = _paid("p1", 1000), _paid("p2", 2000)
        asked, refund = _refund("RefundRequested", 2, "p1"), _refund("RefundCompleted", 3, "p1")
        again = _refund("RefundRequested", 4, "p1")
        waits = _refund("RefundRequested", 2, "p2", 1_900)
        settled = _event(
            "SettlementClosed", 1, "m1", aggregate="merchant", merchant_id="m1", settlement_id="s", period="2025-11",
            gross_minor=1000, fee_minor=0, tax_minor=0, fee_rate_bp=160,
        )  # fmt: skip
        bad = b'{"event_type": "PaymentCompleted", "body": {"amount_minor": -300}}'
        values = [json.dumps(event).encode() for event in (first, second, first, asked, refund, again, settled, waits)]
        self.raw = [_log("payments", i, value) for i, value in enumerate([*values, bad])]
        self.valid = [first, second, asked, refund, again, settled, waits]
        self.replays: list[dict[str, Any]] = []
        self.waiting = {
            waits["event_id"]: {
                "refund_id": "r-p2",
                "account": "M.m1.payable",
                "amount_minor": 1_900,
                "payment_id": "p2",
            }
        }
        self.dead_letters = [
            _log(
                "payments-dlq", 0, bad, koban_stage="gate", koban_reason_code="CONTRACT", koban_reason="event_id",
                koban_origin_topic="payments", koban_origin_partition="0", koban_origin_offset="8",
            ),
            _log(
                "payments-dlq", 1, values[5], koban_stage="ledger", koban_reason_code="refused",
                koban_reason="refund_exists: why", koban_origin_topic="payments-valid", koban_origin_partition="0",
                koban_origin_offset="4",
            ),
        ]  # fmt: skip
        self.cashback = [_grant("p1", 200), _grant("p2", 150), _grant("p1", 100, "CashbackClawedBack")]
        pot, points = "C.spring.available", "U.w1.points"
        self.journal = [
            _entry(first, ("U.w1.money", 1000), ("M.m1.payable", -1000)),
            _entry(second, ("U.w1.money", 2000), ("M.m1.payable", -2000)),
            _entry(asked),
            _entry(asked, ("M.m1.payable", 500), ("M.m1.refund_reserved", -500)),
            _entry(refund, ("M.m1.refund_reserved", 500), ("U.w1.money", -500)),
            _entry(settled, ("M.m1.payable", 1000), ("M.m1.payout_transit", -1000)),
            _entry(waits),
            _entry(self.cashback[0], (pot, 200), (points, -200)),
            _entry(self.cashback[1], (pot, 150), (points, -150)),
            _entry(self.cashback[2], (points, 100), ("C.spring.closed", -100)),
        ]
        self.journal[3]["entry_id"] += ":reserved"
        posted = {"U.w1.money": (-2500, 3), "M.m1.payable": (1500, 4), pot: (-350, 2), points: (250, 3)}
        posted |= {"C.spring.closed": (100, 1), "M.m1.refund_reserved": (0, 2), "M.m1.payout_transit": (1000, 1)}
        self.balances = {a: {"account": a, "posted_minor": p, "version": v} for a, (p, v) in posted.items()}
        self.audited = [LaneAudit(0, seals=2)]
        self.tables = Tables(
            {e["entry_id"]: tuple(sorted((x["account"], x["debit_minor"]) for x in e["lines"])) for e in self.journal},
            {account: (-p, -p, v, v) for account, (p, v) in posted.items()},
            dict(posted),
        )
        self.dynamodb = {account: (p, v, v) for account, (p, v) in posted.items()}
        self.volumes = {("m1", T0 - T0 % 60_000_000): (2, 3000, 1, 500)}
        self.campaigns = {"spring": CAMPAIGN}
        self.alerts: dict[str, dict[str, Any]] = {}
        self.late: set[str] = set()
        self.documents = {"p1": (4, 1000, 500), "p2": (2, 2000, 0)}
        self.lake_event_ids = Counter(event["event_id"] for event in self.valid)


def test_stores_that_agree_pass_every_check():
    failed = [result for check in checks.CHECKS if not (result := check(World())).ok]
    assert failed == []


def _lose_an_event(world: World) -> None:
    world.valid.pop()


def _double_an_event(world: World) -> None:
    world.valid.append(world.valid[0])


def _drop_a_dead_letter(world: World) -> None:
    world.dead_letters.clear()


def _change_dead_bytes(world: World) -> None:
    letter = world.dead_letters[0]
    world.dead_letters[0] = _log("payments-dlq", 0, b"other", **{k: v.decode() for k, v in letter.headers.items()})


def _unbalance_an_entry(world: World) -> None:
    world.journal[0]["lines"][0]["debit_minor"] += 1


def _post_twice(world: World) -> None:
    world.journal.append(world.journal[1])


def _lose_a_yen(world: World) -> None:
    world.balances["U.w1.money"]["posted_minor"] += 1


def _skip_a_version(world: World) -> None:
    world.balances["M.m1.payable"]["version"] += 1


def _alter_an_entry(world: World) -> None:
    world.audited[0].add(Difference("altered", 0, 2, "journal", 7, "entry e1"))


def _lose_an_entry_in_mysql(world: World) -> None:
    del world.tables.entries["e-p2-1"]


def _move_a_line_in_mysql(world: World) -> None:
    world.tables.entries["e-p2-1"] = (("M.m2.payable", -2000), ("U.w1.money", 2000))


def _let_a_running_sum_drift(world: World) -> None:
    world.tables.sums["U.w1.money"] = (2501, 2500, 3, 3)


def _keep_an_old_balance_in_mysql(world: World) -> None:
    world.tables.balances["M.m1.payable"] = (3000, 2)


def _keep_an_old_item_in_dynamodb(world: World) -> None:
    world.dynamodb["M.m1.payable"] = (3000, 2, 2)


def _lose_an_item_in_dynamodb(world: World) -> None:
    del world.dynamodb["U.w1.points"]


def _keep_an_item_under_another_version(world: World) -> None:
    world.dynamodb["U.w1.money"] = (-2500, 3, 9)


def _miscount_a_minute(world: World) -> None:
    world.volumes = dict.fromkeys(world.volumes, (1, 3000, 1, 500))


def _refuse_for_another_rule(world: World) -> None:
    letter = world.dead_letters[1]
    headers = {k: v.decode() for k, v in letter.headers.items()} | {"koban_reason": "refund_parts: why"}
    world.dead_letters[1] = _log("payments-dlq", 1, letter.value or b"", **headers)


def _refuse_in_silence(world: World) -> None:
    world.dead_letters.pop()


def _post_what_breaks_a_rule(world: World) -> None:
    world.journal.append(_entry(world.valid[4]))


def _forget_who_waits(world: World) -> None:
    world.waiting = {}


def _let_wait_though_there_is_money(world: World) -> None:
    world.balances["M.m1.payable"]["posted_minor"] = 1_900


def _reserve_another_amount(world: World) -> None:
    entry = next(entry for entry in world.journal if entry["entry_id"].endswith(":reserved"))
    for line in entry["lines"]:
        line["debit_minor"] *= 2


def _reserve_for_nobody(world: World) -> None:
    world.journal.append({**_entry(world.valid[0]), "entry_id": "e-p1-1:over_limit:money", "event_id": "e-none"})


def _overspend(world: World) -> None:
    world.cashback[1]["body"]["amount_minor"] += 1


def _leave_money_in_the_pot(world: World) -> None:
    world.cashback[1]["body"]["amount_minor"] -= 1


def _forget_a_clawback(world: World) -> None:
    world.cashback.pop()


def _alert_an_innocent(world: World) -> None:
    world.alerts["a"] = {"alert_id": "a", "wallet_id": "w1"}


def _index_an_old_version(world: World) -> None:
    world.documents["p1"] = (1, 1000, 0)


def _write_a_file_twice(world: World) -> None:
    world.lake_event_ids["e-p1-1"] += 1


@pytest.mark.parametrize(
    ("spoil", "check", "named"),
    [
        (_lose_an_event, checks.check_gate, "e-p2-2"),
        (_double_an_event, checks.check_gate, "e-p1-1"),
        (_lose_an_event, checks.check_sum, ""),
        (_drop_a_dead_letter, checks.check_dead_letters, "payments 0/8"),
        (_change_dead_bytes, checks.check_dead_letters, "payments 0/8"),
        (_unbalance_an_entry, checks.check_entries, "e-p1-1"),
        (_post_twice, checks.check_entries, "e-p2-1 has 2 entries"),
        (_refuse_for_another_rule, checks.check_refusals, "e-p1-4: expected refund_exists, found refund_parts"),
        (_refuse_in_silence, checks.check_refusals, "e-p1-4"),
        (_post_what_breaks_a_rule, checks.check_refusals, "e-p1-4"),
        (_post_what_breaks_a_rule, checks.check_entries, "e-p1-4 has 1 entries"),
        (_forget_who_waits, checks.check_following, "e-p2-2:reserved"),
        (_let_wait_though_there_is_money, checks.check_waiting, "refund r-p2 waits, but M.m1.payable has 1900"),
        (_reserve_another_amount, checks.check_following, "e-p1-2:reserved: expected 500, found 1000"),
        (_reserve_for_nobody, checks.check_following, "e-p1-1:over_limit:money follows from nothing"),
        (_lose_a_yen, checks.check_balances, "U.w1.money"),
        (_lose_a_yen, checks.check_trial_balance, ""),
        (_skip_a_version, checks.check_balances, "M.m1.payable"),
        (_alter_an_entry, checks.check_seals, "altered journal/0@7: entry e1"),
        (_lose_an_entry_in_mysql, checks.check_book_entries, "e-p2-1"),
        (_move_a_line_in_mysql, checks.check_book_entries, "e-p2-1"),
        (_post_twice, checks.check_book_sums, "M.m1.payable"),
        (_let_a_running_sum_drift, checks.check_book_sums, "U.w1.money"),
        (_keep_an_old_balance_in_mysql, checks.check_book_balances, "M.m1.payable"),
        (_keep_an_old_item_in_dynamodb, checks.check_dynamodb_balances, "M.m1.payable"),
        (_lose_an_item_in_dynamodb, checks.check_dynamodb_balances, "U.w1.points"),
        (_keep_an_item_under_another_version, checks.check_dynamodb_balances, "U.w1.money"),
        (_miscount_a_minute, checks.check_volumes, "m1"),
        (_overspend, checks.check_cashback, "spring"),
        (_leave_money_in_the_pot, checks.check_cashback, "spring"),
        (_forget_a_clawback, checks.check_cashback, "p1: keeps 200"),
        (_alert_an_innocent, checks.check_alerts, "w1 has an alert"),
        (_index_an_old_version, checks.check_index, "p1"),
        (_write_a_file_twice, checks.check_lake, "e-p1-1"),
    ],
)
def test_a_difference_fails_its_check_and_is_named(spoil: Any, check: Any, named: str):
    world = World()
    spoil(world)
    result = check(world)
    assert not result.ok
    assert named in "\n".join(result.differences)


@pytest.mark.parametrize(("span_us", "is_burst"), [(60_000_999, True), (60_001_000, False)])
def test_a_burst_is_measured_in_milliseconds(span_us, is_burst):
    """As the engine that looks for it does."""
    start = T0 // 1000 * 1000
    payments = [_paid(f"b{i}", 100, wallet="w9", merchant=f"m{i}", at_us=start + i * span_us // 5) for i in range(6)]
    assert books.bursts(payments) == ({"w9"} if is_burst else set())


def test_a_burst_without_an_alert_is_named():
    world = World()
    burst = [_paid(f"b{i}", 100, wallet="w9", merchant=f"m{i % 4}", at_us=T0 + i * 9_000_000) for i in range(6)]
    later = _paid("later", 100, at_us=T0 + 3_600_000_000)
    world.raw += [_log("payments", 10 + i, json.dumps(event).encode()) for i, event in enumerate([*burst, later])]
    assert checks.check_alerts(world).differences == ["w9 has a burst but no alert"]
    world.late = {burst[3]["event_id"]}
    assert checks.check_alerts(world).ok, "event time had passed the one that makes it a burst"
    world.late = set()
    world.alerts["a"] = {"alert_id": "a", "wallet_id": "w9"}
    assert checks.check_alerts(world).ok


def test_late_is_what_event_time_of_its_own_partition_had_passed():
    rows = [(0, 100, 100), (0, 95, 101), (0, 89, 102), (0, 90, 103), (1, 50, 104), (0, 900, 120), (0, 109, 121)]
    arrivals = [(partition, at, recorded, f"e{n}") for n, (partition, at, recorded) in enumerate(rows)]
    assert books.late(arrivals, 10) == {"e2", "e3", "e6"}


@pytest.mark.parametrize(("url", "asked"), [("", 0), ("http://127.0.0.1:1", 1)])
def test_dynamodb_is_compared_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, asked: int):
    """And one that does not answer fails its check by name."""
    monkeypatch.setattr(Evidence, "journal", [])
    monkeypatch.setattr(Evidence, "balances", {})
    settings = Settings(data_dir=tmp_path, lake_dir=tmp_path, dynamodb_url=url)
    results = checks.run(settings, [checks.check_dynamodb_balances, checks.check_trial_balance])
    assert [result.name for result in results if not result.ok] == ["dynamodb balances"] * asked
