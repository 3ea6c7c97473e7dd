"""What a stage counts and times, for Prometheus. Never an id as a label."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from streams.transport.outbox import WritingBatch

logger = logging.getLogger("koban.transport")

END_TO_END_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
BATCH_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class StageMetrics:
    """The metrics of one stage, in a registry of their own; also remembers when the stage last got somewhere."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.progress_at = time.monotonic()
        """Monotonic seconds of the last batch done, or list of records restored."""
        self._in = Counter("koban_records_in", "Records worked on", ["stage", "topic"], registry=registry)
        self._out = Counter("koban_records_out", "Records written", ["stage", "topic"], registry=registry)
        self._outcomes = Counter("koban_outcomes", "Events by outcome", ["stage", "outcome"], registry=registry)
        self._retries = Counter("koban_batch_retries", "Batches tried again", ["stage"], registry=registry)
        self._batch = Histogram(
            "koban_batch_seconds", "Time of a batch, commit included", ["stage"], buckets=BATCH_S, registry=registry
        ).labels(stage)
        self._end_to_end = Histogram(
            "koban_event_end_to_end_seconds",
            "From the record's own time to its commit here",
            ["stage"],
            buckets=END_TO_END_S,
            registry=registry,
        ).labels(stage)
        self._lag = Gauge(
            "koban_consumer_lag_records",
            "Offsets up to the last stable one that are not worked on",
            ["stage", "topic", "partition"],
            registry=registry,
        )
        self._lanes = Gauge("koban_lanes", "Lanes of this worker", ["stage", "state"], registry=registry)

    def progress(self) -> None:
        self.progress_at = time.monotonic()

    def count(self, outcome: str, n: int = 1) -> None:
        """Adds to an outcome. Outcomes are few and named in advance: never an id."""
        self._outcomes.labels(self.stage, outcome).inc(n)

    @contextmanager
    def batch(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._batch.observe(time.perf_counter() - started)

    def done(self, batches: Sequence[WritingBatch]) -> None:
        """Counts batches whose outputs (and in exactly-once mode offsets) are with the broker."""
        now_ms = time.time() * 1000
        for batch in batches:
            self._in.labels(self.stage, batch.topic).inc(len(batch.records))
            self.wrote(batch)
            self._observe_ages([now_ms - record.timestamp for record in batch.records])

    def wrote(self, batch: WritingBatch) -> None:
        """Counts what a batch wrote."""
        for topic, count in batch.outbox.counts().items():
            self._out.labels(self.stage, topic).inc(count)

    def _observe_ages(self, ages_ms: list[float]) -> None:
        """All ages at once: sorted, a bucket's count is a difference of two positions."""
        ages_ms.sort()
        histogram = self._end_to_end
        before = 0
        for bound, bucket in zip((*END_TO_END_S, None), histogram._buckets, strict=True):
            upto = len(ages_ms) if bound is None else bisect_right(ages_ms, bound * 1000)
            if upto > before:
                bucket.inc(upto - before)
            before = upto
        histogram._sum.inc(sum(ages_ms) / 1000)

    def retry(self, lane: str, error: Exception, pause_s: float) -> None:
        self._retries.labels(self.stage).inc()
        self.progress()
        logger.warning("lane %s: %s, next try in %.1f s", lane, error, pause_s)

    def lag(self, topic: str, partition: int, records: int) -> None:
        self._lag.labels(self.stage, topic, str(partition)).set(records)

    def forget_lag(self, topic: str, partition: int) -> None:
        """A partition went to another worker: it reports the lag now."""
        self._lag.remove(self.stage, topic, str(partition))

    def lanes(self, restoring: int, running: int) -> None:
        self._lanes.labels(self.stage, "restoring").set(restoring)
        self._lanes.labels(self.stage, "running").set(running)
