"""The Flink jobs: how each fares, and what somebody last asked of one. Asked of Flink's REST, never too often."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import msgspec

from dashboards.sources.bounded import Bounded
from jobs import control, holds
from jobs.cluster import Cluster, ClusterUnreachableError, Run, SavepointError
from jobs.keeper import active_run
from koban.settings import Settings

EVERY_S = 3.0
TIMEOUT_S = 4.0
ANSWER_S_MAX = 1.5
"""Of one request to Flink."""
ERRAND_S_MAX = 75.0
"""A savepoint may take a minute; nobody waits for it at a page."""

Action = Literal["savepoint", "stop", "resume"]
ACTIONS: tuple[Action, ...] = ("savepoint", "stop", "resume")


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What was last asked of a job; times are seconds since the epoch."""

    action: Action
    began_at: float
    ended_at: float | None = None
    """None while it is under way."""
    result: str = ""
    """Where the savepoint lies, if one was written."""
    error: str = ""
    """Why it failed; empty when it did not."""


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the catalogue; times are seconds since the epoch."""

    name: str
    state: str
    """Flink's word; STOPPED when a person stopped it, MISSING when it should run and does not."""
    running: bool
    held: bool
    tasks: int = 0
    tasks_running: int = 0
    started_at: float | None = None
    restarts: int = 0
    checkpoints: int = 0
    checkpoints_failed: int = 0
    checkpoint_at: float | None = None
    checkpoint_s: float | None = None
    checkpoint_bytes: int | None = None
    fault: str = ""
    """What it last stumbled over, while it does not run."""
    errand: Errand | None = None


class ErrandUnderWayError(Exception):
    """Something else was asked of the job and is not done yet."""


class Jobs:
    """Looks after the jobs of one cluster, for all viewers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = Cluster(settings, timeout_s=ANSWER_S_MAX)
        self._looks = Bounded("Flink", limit_s=TIMEOUT_S, threads=2)
        self._errands_pool = Bounded("Flink", limit_s=ERRAND_S_MAX, threads=len(control.NAMES))
        self._errands: dict[str, Errand] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self) -> dict[str, JobState]:
        """Job → how it fares. Raises ClusterUnreachableError or Transient."""
        return await self._looks.ask(self._look)

    def begin(self, name: str, action: Action) -> None:
        """Starts what somebody asks of a job, and returns at once; the job's errand tells how it goes.

        Raises ErrandUnderWayError while something else goes on with that job, KeyError for an unknown name.
        """
        if name not in control.NAMES:
            raise KeyError(name)
        known = self._errands.get(name)
        if known is not None and known.ended_at is None:
            raise ErrandUnderWayError(f"{known.action} of {name} is under way")
        self._errands[name] = Errand(action=action, began_at=time.time())
        task = asyncio.create_task(self._run(name, action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> dict[str, Errand]:
        """Every job's last errand, once none is under way."""
        await asyncio.gather(*self._tasks)
        return dict(self._errands)

    async def close(self) -> None:
        """Leave. What was begun goes on in Flink."""
        for task in self._tasks:
            task.cancel()
        self._looks.close()
        self._errands_pool.close()
        self._cluster.close()

    async def _run(self, name: str, action: Action) -> None:
        began = self._errands[name]
        try:
            result = await self._errands_pool.ask(lambda: self._do(name, action))
        except Exception as error:  # whatever went wrong is what the page says
            self._errands[name] = msgspec.structs.replace(began, ended_at=time.time(), error=str(error))
        else:
            self._errands[name] = msgspec.structs.replace(began, ended_at=time.time(), result=result or "")

    def _do(self, name: str, action: Action) -> str | None:
        cluster = Cluster(self._settings)
        try:
            if action == "savepoint":
                return control.savepoint(self._settings, cluster, name)
            if action == "stop":
                return control.stop(self._settings, cluster, name, with_savepoint=True)
            control.resume(self._settings, name)
            return None
        except SavepointError as error:
            raise SavepointError(f"{name} runs on: {error}") from error
        finally:
            cluster.close()

    def _look(self) -> dict[str, JobState]:
        runs, held = self._cluster.runs(), holds.held(self._settings)
        return {name: self._state(name, active_run(runs, name), held=name in held) for name in control.NAMES}

    def _state(self, name: str, run: Run | None, *, held: bool) -> JobState:
        errand = self._errands.get(name)
        if run is None:
            state = "STOPPED" if held else "MISSING"
            return JobState(name=name, state=state, running=False, held=held, errand=errand)
        progress = self._cluster.progress(run.job_id)
        fault = "" if run.running else self._cluster.root_cause(run.job_id) or ""
        newest = progress.newest_at_ms
        duration_ms = progress.newest_duration_ms
        return JobState(
            name=name,
            state=run.state,
            running=run.running,
            held=held,
            tasks=run.tasks,
            tasks_running=run.tasks_running,
            started_at=run.started_at_ms / 1000,
            restarts=progress.restarts,
            checkpoints=progress.completed,
            checkpoints_failed=progress.failed,
            checkpoint_at=None if newest is None else newest / 1000,
            checkpoint_s=None if duration_ms is None else duration_ms / 1000,
            checkpoint_bytes=progress.newest_bytes,
            fault=fault,
            errand=errand,
        )


__all__ = ["ACTIONS", "Action", "ClusterUnreachableError", "Errand", "ErrandUnderWayError", "JobState", "Jobs"]
