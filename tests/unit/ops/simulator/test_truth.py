"""Ground truth: what it says is exactly what a reader finds, about disturbances and about fraud."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

from koban.gate.inspection import inspect
from koban.gate.verdict import Limits, Rejected
from ops.simulator.malformed import FAULTS

MINUTE_US = 60_000_000
PAYMENT_TYPES = ("PaymentCompleted",)


def firing(events, types=PAYMENT_TYPES):
    """Wallet → the first event at which T01 holds, told by looking at every window in full."""
    by_wallet = defaultdict(list)
    for event in events:
        if event["event_type"] in types:
            by_wallet[event["body"]["wallet_id"]].append(event)
    fired = {}
    for wallet, payments in by_wallet.items():
        payments.sort(key=lambda event: event["occurred_at_us"])
        for index, last in enumerate(payments):
            at = last["occurred_at_us"]
            short = [e for e in payments[: index + 1] if at - e["occurred_at_us"] <= MINUTE_US]
            long = [e for e in payments[: index + 1] if at - e["occurred_at_us"] <= 10 * MINUTE_US]
            merchants = {e["body"]["merchant_id"] for e in short}
            amounts = sum(e["body"].get("amount_minor", 0) for e in long)
            if (len(short) >= 6 and len(merchants) >= 4) or amounts >= 100_000:
                fired[wallet] = last["event_id"]
                break
    return fired


def test_the_truth_lists_every_burst_of_rule_t01_and_no_other(run):
    planted = [line for line in run.truth if line["kind"] == "burst" and line["label"] == "fraud"]
    assert len(planted) > 5
    fired = firing(run.events)
    assert {line["wallet_id"]: line["event_ids"][-1] for line in planted} == fired


def test_no_other_reading_of_a_payment_makes_a_burst(run):
    wallets = set(firing(run.events))
    assert set(firing(run.events, ("PaymentCompleted", "PaymentAuthorized"))) == wallets
    assert set(firing(run.events, ("PaymentCompleted", "PaymentCaptured"))) == wallets
    assert set(firing(run.events, ("PaymentCompleted", "PaymentAuthorized", "PaymentCaptured"))) == wallets


def test_bursts_hold_what_their_events_say(run):
    events = {event["event_id"]: event for event in run.events}
    for line in run.truth:
        if line["kind"] == "burst":
            found = [events[event_id] for event_id in line["event_ids"]]
            assert {event["body"]["wallet_id"] for event in found} == {line["wallet_id"]}
            assert len(found) == line["payments"]
            assert len({event["body"]["merchant_id"] for event in found}) == line["merchants"]
            assert sum(event["body"]["amount_minor"] for event in found) == line["amount_minor"]
            times = [event["occurred_at_us"] for event in found]
            assert (times[0], times[-1]) == (line["first_at_us"], line["last_at_us"])


def test_three_lookalikes_come_with_each_burst_and_none_fires(run):
    bursts = [line for line in run.truth if line["kind"] == "burst"]
    wallets = {line["wallet_id"] for line in bursts if line["label"] == "lookalike"}
    labels = Counter(line["label"] for line in bursts)
    assert labels["lookalike"] >= 3 * labels["fraud"]
    assert not wallets & set(firing(run.events))
    assert {line["shape"] for line in bursts} >= {"burst", "food_court", "five_stops", "shopping_street"}


def test_planted_events_are_never_late(run):
    planted = [line for line in run.truth if line["kind"] == "record" and "burst_id" in line]
    assert planted
    assert {line.get("disturbance", "none") for line in planted} == {"none"}


def test_the_summary_counts_what_a_plain_reader_finds(run):
    summary = run.summary
    assert summary.produced == len(run.messages)
    assert summary.valid == len(run.events)
    assert summary.duplicates == run.duplicates > 0
    assert summary.conflicts == run.conflicts > 0
    assert summary.malformed == run.undecodable > 0
    assert summary.produced == summary.valid + summary.duplicates + sum(summary.dead_letters.values())
    assert summary.events == Counter(event["event_type"] for event in run.events)
    amounts: Counter[str] = Counter()
    for event in run.events:
        if event["event_type"] in ("PaymentCompleted", "TopUpCompleted", "RefundCompleted", "TransferSent"):
            amounts[event["event_type"]] += event["body"]["amount_minor"]
    assert {name: summary.amount_minor[name] for name in amounts} == amounts


def test_late_records_are_those_that_the_truth_calls_late(run):
    named = {
        line["event_id"]: line["at_us"]
        for line in run.truth
        if line["kind"] == "record" and line.get("disturbance") in ("late", "behind_late")
    }
    seen = set()
    found = {}
    for message in run.messages:
        if message.event_type:
            event = json.loads(message.value)
            if event["event_id"] not in seen and message.at_us != event["occurred_at_us"]:
                found[event["event_id"]] = message.at_us
            seen.add(event["event_id"])
    assert found == named


def test_the_gate_gives_each_malformed_record_the_reason_in_the_truth(run):
    whats = set()
    for message in run.messages:
        for line in message.truth:
            if getattr(line, "disturbance", None) == "malformed":
                verdict = inspect(message.value, message.at_us // 1000, Limits())
                assert isinstance(verdict, Rejected)
                assert verdict.code == line.code, line.what
                whats.add(line.what)
    assert whats == set(FAULTS)


def test_the_gate_lets_everything_else_through(run):
    limits = Limits()
    for message in run.messages:
        if message.event_type:
            assert not isinstance(inspect(message.value, message.at_us // 1000, limits), Rejected)


def test_a_record_of_ten_megabytes_comes_only_when_asked_for(make_run):
    run = make_run(users=50, merchants=20, tps=20, huge=1, stream={"seconds": 10})
    sizes = [len(message.value) for message in run.messages]
    assert max(sizes) > 10_000_000
    assert run.summary.dead_letters["too_large"] >= 1


def test_without_disturbances_all_records_are_plain(make_run):
    run = make_run(
        users=500, merchants=50, tps=50, duplicates_bp=0, late_bp=0, malformed_bp=0, fraud_bp=0, stream={"seconds": 60}
    )
    assert run.truth == []
    assert run.summary.produced == run.summary.valid == len(run.messages)
