"""The workers' own figures, read from their ``/metrics`` pages: rates, lag, latencies, outcomes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

WORKER_TIMEOUT_S = 1.5
WINDOW_S = 10.0
"""Rates are over the last so many seconds."""
LATENCY_WINDOW_S = 30.0
_END_TO_END = "koban_event_end_to_end_seconds_bucket"

BOOKS: dict[str, tuple[str, ...]] = {
    "koban_ledger_imbalance_minor": ("lane",),
    "koban_ledger_balance_minor": ("lane", "family"),
    "koban_journal_total_minor": ("lane", "family", "side"),
    "koban_journal_unbalanced_entries": ("lane",),
    "koban_seal_number": ("lane",),
    "koban_seal_to_seconds": ("lane",),
}
"""Metrics of ledger and sealer that the books' page shows, and their labels."""

DEAD_LETTERS = "payments-dlq"

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


class Stage(msgspec.Struct):
    """One worker as it looks now."""

    name: str
    up: bool
    down_since: float | None = None
    rate_per_s: float | None = None
    lag_records: int | None = None
    p50_s: float | None = None
    p99_s: float | None = None
    totals: dict[str, int] = {}
    """Outcome → how often, since the console first saw the worker's count, restarts of the worker included."""
    jobs: dict[str, bool] = {}
    """Flink job → whether it runs; of the jobs' keeper."""
    checkpoint_age_s: dict[str, float] = {}
    dead_letters: int | None = None
    """Records that it rejected, since the console first saw its count."""
    retries: int | None = None
    """Batches that it tried again, since then."""
    imbalance_minor: int | None = None
    figures: dict[str, dict[tuple[str, ...], int]] = {}
    """Metric of the books → its labels' values in the order of `BOOKS` → the figure."""


class Workers:
    """Scrapes all workers at once."""

    def __init__(self, platform_file: Path) -> None:
        self._file = platform_file
        self._client = httpx.AsyncClient(timeout=WORKER_TIMEOUT_S, trust_env=False)
        self._histories: dict[str, History] = {}

    async def ask(self) -> dict[str, Stage]:
        """Worker name → its figures; one that does not answer is told as down."""
        ports = ports_of(self._file)
        stages = await asyncio.gather(*(self._stage(name, port) for name, port in ports.items()))
        return {stage.name: stage for stage in stages}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _stage(self, name: str, port: int) -> Stage:
        history = self._histories.setdefault(name, History(name))
        try:
            answer = await self._client.get(f"http://127.0.0.1:{port}/metrics")
            answer.raise_for_status()
            history.add(time.time(), samples(answer.text))
        except (httpx.HTTPError, ValueError):
            history.missed(time.time())
        return history.stage()


def ports_of(platform_file: Path) -> dict[str, int]:
    """Worker → port. Raises OSError or ValueError when there is no platform."""
    ports: dict[str, int] = json.loads(platform_file.read_text("utf-8"))["metrics_ports"]
    return ports


def samples(text: str) -> Samples:
    """The figures of a metrics page. Raises ValueError."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class History:
    """One worker's recent scrapes. Counters that start anew with a restart go on from where they were."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._scrapes: deque[tuple[float, Samples]] = deque()
        self._before: Samples = {}
        self._raw: Samples = {}
        self._down_since: float | None = None

    def add(self, at: float, raw: Samples) -> None:
        """A scrape."""
        for key, value in self._raw.items():
            if _counts(key[0]) and raw.get(key, 0.0) < value:
                self._before[key] = self._before.get(key, 0.0) + value
        self._raw = raw
        grown = {key: value + self._before.get(key, 0.0) if _counts(key[0]) else value for key, value in raw.items()}
        grown |= {key: value for key, value in self._before.items() if key not in raw}
        self._scrapes.append((at, grown))
        while self._scrapes and self._scrapes[0][0] < at - LATENCY_WINDOW_S:
            self._scrapes.popleft()
        self._down_since = None

    def missed(self, at: float) -> None:
        """A scrape without an answer."""
        self._down_since = self._down_since or at

    def stage(self) -> Stage:
        """The worker's figures."""
        if not self._scrapes:
            return Stage(self._name, up=False, down_since=self._down_since)
        now = self._scrapes[-1][1]
        return Stage(
            self._name,
            up=self._down_since is None,
            down_since=self._down_since,
            rate_per_s=self._rate() if self._down_since is None else None,
            lag_records=_lag(now),
            p50_s=self._quantile(0.5),
            p99_s=self._quantile(0.99),
            totals=_by_label(now, "koban_outcomes_total", "outcome"),
            jobs={job: value > 0 for job, value in _by_label(now, "koban_job_running", "job").items()},
            checkpoint_age_s=dict(_by_label(now, "koban_job_checkpoint_age_seconds", "job")),
            dead_letters=_sum(now, "koban_records_out_total", "topic", DEAD_LETTERS),
            retries=_sum(now, "koban_batch_retries_total"),
            imbalance_minor=_imbalance(now),
            figures=_of_books(now),
        )

    def _rate(self) -> float | None:
        """Records a second over the window; the gate's moved records are counted where they arrive only."""
        at, now = self._scrapes[-1]
        first_at, first = next((each for each in self._scrapes if each[0] >= at - WINDOW_S), self._scrapes[-1])
        if at - first_at < 0.5:
            return None
        return max(0.0, (_records(now) - _records(first)) / (at - first_at))

    def _quantile(self, q: float) -> float | None:
        """A latency of the records of the window, by straight lines within buckets."""
        now, first = self._scrapes[-1][1], self._scrapes[0][1]
        counts = {float(dict(labels)["le"]): 0.0 for (name, labels) in now if name == _END_TO_END}
        for (name, labels), value in now.items():
            if name == _END_TO_END:
                counts[float(dict(labels)["le"])] += value - first.get((name, labels), 0.0)
        total = max(counts.values(), default=0.0)
        if not total:
            return None
        lower_bound = lower_count = 0.0
        for bound, count in sorted(counts.items()):
            if count >= q * total:
                if bound == float("inf"):
                    return lower_bound
                return lower_bound + (bound - lower_bound) * (q * total - lower_count) / (count - lower_count)
            lower_bound, lower_count = bound, count
        return lower_bound


def _counts(name: str) -> bool:
    return name.endswith(("_total", "_bucket", "_count", "_sum"))


def _records(figures: Samples) -> float:
    return sum(
        value
        for (name, labels), value in figures.items()
        if name == "koban_records_in_total" and ("topic", "payments-rekeyed") not in labels
    )


def _lag(figures: Samples) -> int | None:
    lags = [value for (name, _), value in figures.items() if name == "koban_consumer_lag_records"]
    return int(sum(lags)) if lags else None


def _sum(figures: Samples, metric: str, label: str = "", value: str = "") -> int | None:
    """A metric over all its labels, or those with one label's value; 0 for a stage that counts but never had any."""
    found = [
        number
        for (name, labels), number in figures.items()
        if name == metric and (not label or (label, value) in labels)
    ]
    counts = any(name.startswith("koban_batch_seconds") for name, _ in figures)
    return int(sum(found)) if found or counts else None


def _imbalance(figures: Samples) -> int | None:
    values = [value for (name, _), value in figures.items() if name == "koban_ledger_imbalance_minor"]
    return int(sum(values)) if values else None


def _of_books(figures: Samples) -> dict[str, dict[tuple[str, ...], int]]:
    found: dict[str, dict[tuple[str, ...], int]] = {}
    for (name, labels), value in figures.items():
        if name in BOOKS:
            named = dict(labels)
            found.setdefault(name, {})[tuple(named.get(label, "") for label in BOOKS[name])] = int(value)
    return found


def _by_label(figures: Samples, metric: str, label: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (name, labels), value in figures.items():
        if name == metric:
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0) + (int(value) if value == int(value) else value)
    return found


def imbalance_of(stages: Mapping[str, Stage]) -> int | None:
    """The ledger's imbalance in yen, which must be 0; None when no worker says."""
    values = [stage.imbalance_minor for stage in stages.values() if stage.imbalance_minor is not None]
    return sum(values) if values else None
