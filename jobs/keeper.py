"""Keeps every job of the catalogue running on the cluster, once: ``python -m jobs.keeper``.

A job that is not there is submitted from its newest checkpoint, whether the cluster is new, lost its JobManager or
somebody cancelled the job. A job that ``koban jobs stop`` stopped stays stopped. Recovery within a run (a lost
TaskManager) is Flink's own affair: a run that is restarting is left alone.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from jobs import holds
from jobs.catalogue import JOBS, checkpoints_dir
from jobs.checkpoints import drop_empty_runs
from jobs.cluster import Cluster, ClusterUnreachableError, Run
from jobs.health import HealthPages
from jobs.logs import configure_logging
from koban.settings import Settings

log = logging.getLogger("jobs.keeper")
ROUND_S = 1.0
SUBMIT_S_MAX = 300.0
"""A client that takes longer is stopped; the next round looks at what it achieved."""
PROGRESS_EVERY_ROUNDS = 5
BACK_OFF_S_MAX = 60.0
"""A job that does not come up is tried again after 1, 2, 4, … s, at most this many: a client costs seconds of CPU."""


class Keeper:
    """One keeper of one cluster. ``look`` is a round: see what is there, submit what is missing."""

    def __init__(self, settings: Settings, cluster: Cluster, pages: HealthPages) -> None:
        self._settings = settings
        self._cluster = cluster
        self._pages = pages
        self._client: subprocess.Popen[bytes] | None = None
        self._client_deadline = 0.0
        self._rounds = 0
        self._complaint = ""
        self._back_off = BackOff()
        self._faults: dict[str, str] = {}
        """Job → the cause that was last logged."""

    def look(self) -> None:
        """One round. An unreachable cluster is no error: it is coming up, and the next round will see it."""
        try:
            runs, slots = self._cluster.runs(), self._cluster.slots()
            self._end_copies(runs)
            self._show(runs)
        except ClusterUnreachableError as error:
            self._pages.nothing_runs()
            self._complain(str(error))
            return
        self._complain("" if slots else "the cluster has no TaskManager yet")
        if self._client_is_busy():
            return
        missing = missing_jobs(runs, holds.held(self._settings))
        due = [name for name in missing if self._back_off.is_due(name, time.monotonic())]
        if due and slots:
            self._submit(due)

    def stop(self) -> None:
        """Ends a submission that is under way. The jobs run on: they belong to the cluster."""
        if self._client is not None and self._client.poll() is None:
            self._client.terminate()
            self._client.wait(10)

    def _show(self, runs: Sequence[Run]) -> None:
        held = holds.held(self._settings)
        for job in JOBS:
            run = active_run(runs, job.name)
            running = run is not None and run.running
            self._pages.show(job.name, running=running, held=job.name in held)
            if running:
                self._back_off.forget(job.name)
            if run is not None and self._rounds % PROGRESS_EVERY_ROUNDS == 0:
                if not running:
                    self._tell_fault(job.name, run)
                self._pages.show_progress(job.name, self._cluster.progress(run.job_id))
                drop_empty_runs(checkpoints_dir(self._settings, job.name), run.job_id)
        self._rounds += 1

    def _tell_fault(self, name: str, run: Run) -> None:
        """Logs what a run that does not come up stumbles over, once for each cause."""
        why = self._cluster.root_cause(run.job_id)
        if why is not None and self._faults.get(name) != why:
            log.error("job %s does not come up: %s", name, why)
        if why is not None:
            self._faults[name] = why
            self._pages.show_fault(name, why)

    def _end_copies(self, runs: Sequence[Run]) -> None:
        """Cancels all but the oldest active run of a job: two would write everything twice."""
        for job in JOBS:
            for copy in [run for run in runs if run.active and run.name == job.name][1:]:
                log.error("job %s runs twice; cancelling the younger run %s", job.name, copy.job_id)
                self._cluster.cancel(copy.job_id)

    def _submit(self, names: Sequence[str]) -> None:
        log.info("submitting %s", ", ".join(names))
        for name in names:
            self._pages.count_submission(name)
            self._back_off.count(name, time.monotonic())
        self._client = subprocess.Popen([sys.executable, "-m", "jobs.submit", *names], stdin=subprocess.DEVNULL)
        self._client_deadline = time.monotonic() + SUBMIT_S_MAX

    def _client_is_busy(self) -> bool:
        if self._client is None:
            return False
        code = self._client.poll()
        if code is None and time.monotonic() < self._client_deadline:
            return True
        if code is None:
            log.error("the client did not finish within %.0f s; stopping it", SUBMIT_S_MAX)
            self.stop()
        elif code:
            log.error("the client ended with code %s; trying again", code)
        self._client = None
        return False

    def _complain(self, complaint: str) -> None:
        """Logs a state once, when it begins."""
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint


class BackOff:
    """How long to leave a job alone that was submitted and never came up. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}
        self._due_s: dict[str, float] = {}

    def count(self, name: str, now_s: float) -> None:
        """An attempt was made."""
        attempts = self._attempts[name] = self._attempts.get(name, 0) + 1
        self._due_s[name] = now_s + min(2.0 ** (attempts - 1), BACK_OFF_S_MAX)

    def forget(self, name: str) -> None:
        """The job runs: the next attempt, if ever, is a first one."""
        self._attempts.pop(name, None)
        self._due_s.pop(name, None)

    def is_due(self, name: str, now_s: float) -> bool:
        return now_s >= self._due_s.get(name, now_s)


def active_run(runs: Sequence[Run], name: str) -> Run | None:
    """The run of a job that is not over, if there is one."""
    return next((run for run in runs if run.active and run.name == name), None)


def missing_jobs(runs: Sequence[Run], held: frozenset[str]) -> list[str]:
    """The jobs that should run and have no active run. Those with Python first, which takes longest to come up."""
    missing = [job for job in JOBS if job.name not in held and active_run(runs, job.name) is None]
    return [job.name for job in sorted(missing, key=lambda job: job.kind == "sql")]


def main() -> int:
    """Runs until SIGTERM or SIGINT."""
    settings = Settings.from_environ(os.environ)
    configure_logging("jobs")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    pages = HealthPages(tuple(job.name for job in JOBS))
    server = pages.serve(settings.metrics_port)
    cluster = Cluster(settings)
    keeper = Keeper(settings, cluster, pages)
    try:
        while not stopping.is_set():
            keeper.look()
            stopping.wait(ROUND_S)
    finally:
        keeper.stop()
        cluster.close()
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
