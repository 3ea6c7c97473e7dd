"""Simulated traffic on a real broker: every record arrives once, in its owner's lane, with the truth beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from kafka import KafkaConsumer, TopicPartition

from koban.events import partition_key
from koban.settings import Settings
from ops.platform import platform
from ops.simulator import World
from ops.simulator.topic import Progress, SendError, run_to_topic
from ops.topics import apply
from schemas.codec import decode
from schemas.partitioning import lane_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with platform(tmp_path_factory.mktemp("simulator"), only=("kafka",), keep=False) as settings:
        apply(settings)
        yield settings


def ends(settings: Settings, topic: str) -> dict[TopicPartition, int]:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return dict(consumer.end_offsets(partitions))
    finally:
        consumer.close()


def records(settings: Settings, topic: str, since: dict[TopicPartition, int]) -> list:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    try:
        consumer.assign(list(since))
        for partition, offset in since.items():
            consumer.seek(partition, offset)
        wanted = sum(end - since[partition] for partition, end in consumer.end_offsets(list(since)).items())
        found: list = []

        def whole() -> bool:
            for batch in consumer.poll(timeout_ms=500).values():
                found.extend(batch)
            return len(found) >= wanted

        wait_for(whole, lambda: f"{len(found)} of {wanted} records of {topic}")
        return found
    finally:
        consumer.close()


def now_us() -> int:
    return time.time_ns() // 1000


def test_paced_traffic_arrives_once_in_its_lane_at_its_time_with_its_truth(settings):
    since, truth_since = ends(settings, "payments"), ends(settings, "simulator-truth")
    world = World(3, 400, 40, now_us(), malformed_bp=200, duplicates_bp=200)
    summary = run_to_topic(settings, world, 200, 4, threading.Event())
    found = records(settings, "payments", since)
    assert len(found) == summary.produced > 800
    dead = 0
    for record in found:
        try:
            event = decode(record.value)
        except Exception:
            dead += 1
            continue
        assert record.partition == lane_of(partition_key(event), settings.payment_partitions)
        assert event.occurred_at_us // 1000 <= record.timestamp
    told = [json.loads(record.value) for record in records(settings, "simulator-truth", truth_since)]
    assert dead <= sum(summary.dead_letters.values())
    assert sum(line.get("verdict") == "dead_letter" for line in told) == sum(summary.dead_letters.values())
    assert told[-1]["kind"] == "summary"
    assert told[-1]["produced"] == summary.produced


def test_traffic_that_is_stopped_sums_up_what_was_sent(settings):
    since = ends(settings, "payments")
    stop = threading.Event()

    def on_progress(progress: Progress) -> None:
        if progress.sent > 500:
            stop.set()

    world = World(4, 200, 40, now_us())
    summary = run_to_topic(settings, world, 300, None, stop, on_progress, truth_topic=None)
    assert len(records(settings, "payments", since)) == summary.produced > 500


def test_traffic_without_pauses_is_the_same_as_in_a_file(settings):
    since = ends(settings, "payments")
    start_us = now_us() - 3_600_000_000
    run_to_topic(settings, World(5, 300, 30, start_us), 0, 20, threading.Event(), truth_topic=None)
    world = World(5, 300, 30, start_us)
    expected = [message.value for message in (*world.opening(), *world.stream(300, seconds=20))]
    assert sorted(record.value for record in records(settings, "payments", since)) == sorted(expected)


def test_a_broker_that_is_not_there_is_named():
    nowhere = Settings.from_environ({"HOME": "/", "KOBAN_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    with pytest.raises(SendError, match=r"127\.0\.0\.1:1"):
        run_to_topic(nowhere, World(1, 10, 5, now_us()), 5, 1, threading.Event())
