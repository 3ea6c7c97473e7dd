"""What a stage's metrics say after batches."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Histogram, generate_latest

from streams.transport.metrics import END_TO_END_S, StageMetrics
from streams.transport.outbox import Outbox, WritingBatch
from streams.transport.record_batch import RecordBatch


def outbox() -> Outbox:
    partitions = {"payments-valid": 4, "payments-dlq": 4}
    return Outbox(lambda: RecordBatch(900_000), partitions, lambda key, count: 0)


class Row:
    key = None
    value = b""
    headers = ()
    offset = 0

    def __init__(self, timestamp: int) -> None:
        self.timestamp = timestamp


def test_records_are_counted_by_topic_in_and_out() -> None:
    metrics = StageMetrics("gate")
    batch = WritingBatch("payments", 0, [Row(int(time.time() * 1000))] * 3, 3, outbox)
    batch.emit("payments-valid", b"1")
    batch.emit("payments-valid", b"2")
    batch.emit("payments-dlq", b"3")
    metrics.done([batch])
    metrics.count("valid", 2)
    text = generate_latest(metrics.registry).decode()
    assert 'koban_records_in_total{stage="gate",topic="payments"} 3.0' in text
    assert 'koban_records_out_total{stage="gate",topic="payments-valid"} 2.0' in text
    assert 'koban_records_out_total{stage="gate",topic="payments-dlq"} 1.0' in text
    assert 'koban_outcomes_total{outcome="valid",stage="gate"} 2.0' in text
    assert 'koban_event_end_to_end_seconds_count{stage="gate"} 3.0' in text


def test_the_lag_of_a_partition_that_went_away_is_no_longer_reported() -> None:
    metrics = StageMetrics("gate")
    metrics.lag("payments", 0, 5)
    metrics.forget_lag("payments", 0)
    metrics.forget_lag("payments", 1)
    assert "koban_consumer_lag_records{" not in generate_latest(metrics.registry).decode()


@given(st.lists(st.floats(0, 400_000), max_size=50))
def test_ages_fall_into_the_same_buckets_as_one_by_one(ages_ms: list[float]) -> None:
    metrics = StageMetrics("gate")
    metrics._observe_ages(list(ages_ms))
    plain = Histogram("plain", "", buckets=END_TO_END_S, registry=None)
    for age_ms in ages_ms:
        plain.observe(age_ms / 1000)

    def buckets(histogram: Any) -> list[float]:
        return [bucket.get() for bucket in histogram._buckets]

    assert buckets(metrics._end_to_end) == buckets(plain)
