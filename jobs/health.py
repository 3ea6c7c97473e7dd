"""The keeper's pages on loopback: ``/-/live``, ``/-/ready``, ``/-/version``, ``/metrics``."""

from __future__ import annotations

import time
from http.server import ThreadingHTTPServer
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from jobs.cluster import Progress
from jobs.pages import Page, json_page, serve

STAGE = "jobs"
LIVE_S_MAX = 60.0
"""A keeper that finished no round for so long is stuck."""


class HealthPages:
    """What the keeper last saw, as pages and metrics."""

    def __init__(self, jobs: tuple[str, ...]) -> None:
        self._running = dict.fromkeys(jobs, False)
        self._held = dict.fromkeys(jobs, False)
        self._why: dict[str, str] = {}
        """Job → what keeps it from running, where that is known."""
        self._shown_at = time.monotonic()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        one = ("job",)
        self._up = Gauge("koban_job_running", "1 while all tasks of the job work.", one, registry=self.registry)
        self._submissions = Counter(
            "koban_job_submissions_total", "How often the keeper submitted the job.", one, registry=self.registry
        )
        self._restarts = Gauge("koban_job_restarts", "Recoveries within the present run.", one, registry=self.registry)
        self._age = Gauge(
            "koban_job_checkpoint_age_seconds", "Since the newest checkpoint.", one, registry=self.registry
        )
        self._duration = Gauge(
            "koban_job_checkpoint_seconds", "What the newest checkpoint took.", one, registry=self.registry
        )
        self._bytes = Gauge("koban_job_checkpoint_bytes", "Size of the newest checkpoint.", one, registry=self.registry)
        self._failed = Gauge(
            "koban_job_checkpoints_failed", "Failed checkpoints of the present run.", one, registry=self.registry
        )

    @property
    def ready(self) -> bool:
        """Whether every job runs that should."""
        return all(self._running[name] or self._held[name] for name in self._running)

    @property
    def live(self) -> bool:
        return time.monotonic() - self._shown_at < LIVE_S_MAX

    def show(self, name: str, *, running: bool, held: bool) -> None:
        """What a round saw of one job."""
        self._running[name], self._held[name] = running, held
        if running:
            self._why.pop(name, None)
        self._up.labels(name).set(running)
        self._shown_at = time.monotonic()

    def nothing_runs(self) -> None:
        """What a round saw of a cluster that does not answer."""
        for name in self._running:
            self.show(name, running=False, held=self._held[name])

    def show_fault(self, name: str, why: str) -> None:
        """What keeps a job from running."""
        self._why[name] = why

    def show_progress(self, name: str, progress: Progress) -> None:
        self._restarts.labels(name).set(progress.restarts)
        self._failed.labels(name).set(progress.failed)
        if progress.newest_at_ms is not None:
            self._age.labels(name).set(max(0.0, time.time() - progress.newest_at_ms / 1000))
            self._duration.labels(name).set((progress.newest_duration_ms or 0) / 1000)
            self._bytes.labels(name).set(progress.newest_bytes or 0)

    def count_submission(self, name: str) -> None:
        self._submissions.labels(name).inc()

    def page(self, path: str) -> Page:
        """Status, content type and body of a page."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry)
        if path == "/-/ready":
            missing = [n for n, running in self._running.items() if not running and not self._held[n]]
            waiting = {name: self._why.get(name, "") for name in missing}
            return json_page(200 if self.ready else 503, {"ready": self.ready, "stage": STAGE, "waiting_for": waiting})
        if path == "/-/live":
            return json_page(200 if self.live else 503, {"live": self.live, "stage": STAGE})
        if path == "/-/version":
            return json_page(200, {"version": version("koban"), "stage": STAGE})
        return json_page(404, {"error": f"no page {path}"})

    def serve(self, port: int) -> ThreadingHTTPServer:
        """Serves the pages on loopback from a thread of their own; port 0 takes a free one."""
        return serve(self.page, port)
