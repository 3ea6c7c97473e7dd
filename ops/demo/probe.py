"""Latency as a consumer sees it: tails the stages' topics and asks the index, from outside, while the demo runs.

Every derived record carries the Kafka timestamp of the raw event behind it, so a record's age on arrival is the time
from the topic `payments` to a reader of that stage: transactions, checkpoints and fetches included.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict, defaultdict

import httpx
from kafka import KafkaConsumer

from koban.settings import Settings

STAGE_OF_TOPIC = {
    "payments-valid": "gate",
    "payments-dlq": "dead_letters",
    "journal": "ledger",
    "cashback": "cashback",
    "alerts": "alerts",
}
SAMPLES_MAX = 200_000
REMEMBERED_PAYMENTS = 100_000
SEARCH_EVERY_S = 0.25
SEARCH_SAMPLES = 20


def percentile(samples: list[float], share: float) -> float:
    """The value below which ``share`` of the samples lie (nearest rank). Raises ValueError without samples."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Probe:
    """Runs two threads between ``start`` and ``stop``; ``latency_ms`` then gives p50 and p99 of each stage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._sent_ms: OrderedDict[str, int] = OrderedDict()
        self._wanted: OrderedDict[str, int] = OrderedDict()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._tail, self._search)]
        self.first_searchable_at_s: float | None = None
        self.errors: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Stage → p50 and p99 in milliseconds, and how many samples they rest on."""
        with self._lock:
            return {
                stage: {
                    "p50": round(percentile(samples, 0.50), 1),
                    "p99": round(percentile(samples, 0.99), 1),
                    "samples": len(samples),
                }
                for stage, samples in sorted(self._samples.items())
                if samples
            }

    def _tail(self) -> None:
        consumer = KafkaConsumer(
            *STAGE_OF_TOPIC,
            bootstrap_servers=self._settings.kafka_bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            isolation_level="read_committed",
            fetch_max_wait_ms=20,
            max_poll_records=5_000,
        )
        try:
            while not self._stop.is_set():
                for tp, records in consumer.poll(timeout_ms=200).items():
                    now_ms = time.time() * 1000
                    with self._lock:
                        for record in records:
                            self._take(tp.topic, record.timestamp, record.value, now_ms)
        except Exception as error:  # the demo goes on without figures, and says so
            self.errors.append(f"latency probe: {error!r}")
        finally:
            consumer.close(autocommit=False)

    def _take(self, topic: str, timestamp_ms: int, value: bytes | None, now_ms: float) -> None:
        sent_ms: int | None = timestamp_ms
        if topic == "payments-valid":
            self._remember(value, timestamp_ms)
        elif topic == "cashback":
            # Flink stamps its records itself; the payment behind the grant was remembered when the gate let it through.
            sent_ms = self._sent_ms.get(json.loads(value or b"{}").get("body", {}).get("payment_id", ""))
        samples = self._samples[STAGE_OF_TOPIC[topic]]
        if sent_ms is not None and len(samples) < SAMPLES_MAX:
            samples.append(now_ms - sent_ms)

    def _remember(self, value: bytes | None, timestamp_ms: int) -> None:
        event = json.loads(value or b"{}")
        if event.get("event_type") != "PaymentCompleted":
            return
        payment = event["aggregate_id"]
        self._sent_ms[payment] = timestamp_ms
        if len(self._sent_ms) > REMEMBERED_PAYMENTS:
            self._sent_ms.popitem(last=False)
        if len(self._wanted) < SEARCH_SAMPLES:
            self._wanted[payment] = timestamp_ms

    def _search(self) -> None:
        """Asks the index for a few recent payments by a search (not a get), as a merchant would."""
        with httpx.Client(base_url=self._settings.opensearch_url, timeout=2) as client:
            while not self._stop.wait(SEARCH_EVERY_S):
                with self._lock:
                    wanted = dict(self._wanted)
                if not wanted:
                    continue
                query = {"query": {"ids": {"values": list(wanted)}}, "_source": False, "size": len(wanted)}
                try:
                    hits = client.post("/payments/_search", json=query).json()["hits"]["hits"]
                except (httpx.HTTPError, KeyError, ValueError):
                    continue  # the index is starting or down; what is wanted stays wanted
                self._found([hit["_id"] for hit in hits], wanted)

    def _found(self, payments: list[str], wanted: dict[str, int]) -> None:
        now = time.time()
        with self._lock:
            for payment in payments:
                self._samples["search"].append(now * 1000 - wanted[payment])
                self._wanted.pop(payment, None)
        if payments and self.first_searchable_at_s is None:
            self.first_searchable_at_s = now
