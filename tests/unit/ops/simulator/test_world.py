"""The traffic: the same for a seed, valid to the last byte, in order where order matters, and of every type."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from koban.events import EVENT_TYPES, inconsistency, partition_key
from ops.simulator import World
from schemas.codec import decode, encode

START_US = 1_748_833_200_000_000
PLATFORM_MADE = {
    "CampaignFunded", "BudgetLeased", "LeaseReturned", "CashbackAccrued", "CashbackHeld", "CashbackReleased",
    "CashbackGranted", "CashbackCanceled", "CashbackClawedBack", "ClawbackWrittenOff", "CampaignClosed",
    "TicketIssued", "TicketRevealed", "TicketExpired", "MissionProgressed", "StepEvaluated", "SeedCommitted",
    "SeedRevealed",
}  # fmt: skip


def digest(seed: int, **stream: object) -> str:
    world = World(seed, 400, 40, START_US, malformed_bp=100)
    messages = [*world.opening(), *world.stream(100, **{"seconds": 60, **stream})]
    return hashlib.sha256(b"\n".join(repr(message).encode() for message in messages)).hexdigest()


def test_a_seed_gives_the_same_records_and_the_same_truth_again():
    assert digest(3) == digest(3)


def test_another_seed_gives_another_world():
    assert digest(3) != digest(4)


def test_every_record_that_should_be_valid_is_and_in_canonical_bytes(run):
    for message in run.messages:
        if message.event_type:
            event = decode(message.value)
            assert inconsistency(event) is None
            assert encode(event) == message.value
            assert type(event).__name__ == message.event_type


def test_the_key_is_the_owner_whose_order_counts(run):
    for message in run.messages:
        if message.event_type:
            assert message.key == partition_key(decode(message.value))


def test_all_types_come_that_the_platform_does_not_make_itself(run):
    assert {event["event_type"] for event in run.events} == set(EVENT_TYPES) - PLATFORM_MADE


def test_three_of_four_events_are_plain_payments(run):
    traffic = Counter(event["event_type"] for event in run.events if event["occurred_at_us"] >= START_US)
    assert 0.70 <= traffic["PaymentCompleted"] / traffic.total() <= 0.82


def test_records_are_in_the_order_of_their_sending(run):
    times = [message.at_us for message in run.messages]
    assert times == sorted(times)


def test_the_seq_of_an_aggregate_has_no_gaps(run):
    last: Counter[tuple[str, str]] = Counter()
    for event in run.events:
        aggregate = (event["aggregate"], event["aggregate_id"])
        assert event["aggregate_seq"] == last[aggregate] + 1
        last[aggregate] += 1


def test_events_of_one_key_arrive_in_the_order_in_which_they_happened(run):
    last: dict[str, int] = {}
    first_seen = set()
    for message in run.messages:
        if not message.event_type:
            continue
        event = decode(message.value)
        if event.event_id not in first_seen:
            first_seen.add(event.event_id)
            assert event.occurred_at_us >= last.get(message.key, 0)
            last[message.key] = event.occurred_at_us


def test_event_ids_are_version_7_uuids_of_their_time(run):
    for event in run.events:
        event_id = event["event_id"]
        assert int(event_id[:8] + event_id[9:13], 16) == event["occurred_at_us"] // 1000
        assert event_id[14] == "7"
        assert event_id[19] in "89ab"


def test_payment_numbers_are_unique_and_have_19_digits(run):
    payments = [event for event in run.events if event["aggregate"] == "payment"]
    firsts = [event["aggregate_id"] for event in payments if event["aggregate_seq"] == 1]
    assert len(set(firsts)) == len(firsts)
    assert all(len(number) == 19 and number.isdecimal() for number in firsts)
    assert all(event["correlation_id"] == event["aggregate_id"] for event in payments)


def test_the_opening_lies_in_the_full_hour_before_the_start(run):
    hour_us = 3_600_000_000
    opening = [event for event in run.events if event["occurred_at_us"] < START_US]
    assert opening
    assert all(START_US - hour_us <= event["occurred_at_us"] for event in opening)
    assert {"TopUpCompleted", "PaymentCompleted"} <= {event["event_type"] for event in opening}


def test_a_number_of_events_is_kept_to_the_event():
    world = World(1, 500, 50, START_US, fraud_bp=0, duplicates_bp=0, late_bp=0, malformed_bp=0)
    world.opening()
    assert len(list(world.stream(50, events=9_001))) == 9_001


def test_traffic_without_an_end_goes_on_until_nobody_asks_for_more():
    world = World(1, 300, 30, START_US)
    world.opening()
    stream = world.stream(100)
    assert all(next(stream) for _ in range(20_000))


@pytest.mark.parametrize(("users", "merchants", "tps"), [(2, 1, 20.0), (30, 3, 200.0), (500, 40, 0.05)])
def test_a_world_too_small_for_its_traffic_stays_true(make_run, ledger, users, merchants, tps):
    run = make_run(users=users, merchants=merchants, tps=tps, stream={"seconds": 150 if tps > 1 else 20_000})
    for event in run.events:
        ledger.post(event)
    assert not ledger.overdrawn
    assert len(run.events) > 100


def test_a_world_without_people_is_refused():
    with pytest.raises(ValueError, match="at least 2 users"):
        World(1, 1, 1, START_US)
