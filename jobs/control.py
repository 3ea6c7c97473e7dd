"""A person's hand on a job: write a savepoint, stop it, let it go on.

Whoever has the data directory and Flink's REST address can use it, whatever process it is: a hold is a file that the
keeper looks at each round, and letting a job go on means only to take its hold away. The keeper does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs import holds
from jobs.catalogue import JOBS, checkpoints_dir, job
from jobs.cluster import Cluster, Run
from koban.settings import Settings

ENDED_S_MAX = 60.0
POLL_S = 0.2


class NotRunningError(Exception):
    """The job has no active run; says which."""


class StillEndingError(Exception):
    """The job was told to end and has not yet; it stays held."""


def active(cluster: Cluster, name: str) -> Run | None:
    """The job's run that is not over. Raises ClusterUnreachableError."""
    return next((run for run in cluster.runs() if run.active and run.name == name), None)


def savepoint(settings: Settings, cluster: Cluster, name: str) -> str:
    """Writes down all that a running job knows, and gives back where; the job goes on meanwhile.

    Raises NotRunningError, SavepointError, ClusterUnreachableError; KeyError for an unknown name.
    """
    folder = settings.data_dir / "flink" / "savepoints" / job(name).name
    run = active(cluster, name)
    if run is None:
        raise NotRunningError(f"{name} is not running")
    return cluster.savepoint(run.job_id, folder.absolute().as_uri())


def stop(
    settings: Settings,
    cluster: Cluster,
    name: str,
    *,
    with_savepoint: bool,
    pause: Callable[[float], None] = time.sleep,
) -> str | None:
    """Ends a job and holds it until ``resume``; gives back the savepoint that it goes on from, if one was asked for.

    A job that is not running is only held. When the savepoint fails the job runs on, without a hold. Raises
    SavepointError, StillEndingError, ClusterUnreachableError; KeyError for an unknown name.
    """
    folder = checkpoints_dir(settings, job(name).name)
    run = active(cluster, name)
    was_held = name in holds.held(settings)
    holds.hold(settings, name)
    if run is None:
        return None
    try:
        if with_savepoint:
            return cluster.stop_with_savepoint(run.job_id, folder.absolute().as_uri())
        cluster.cancel(run.job_id)
    except BaseException:
        if not was_held:
            holds.release(settings, name)
        raise
    for _ in range(int(ENDED_S_MAX / POLL_S)):
        if not any(each.active and each.job_id == run.job_id for each in cluster.runs()):
            return None
        pause(POLL_S)
    raise StillEndingError(f"{name} is still ending after {ENDED_S_MAX:.0f} s")


def resume(settings: Settings, name: str) -> None:
    """Lets a job go on: the keeper submits it from its newest checkpoint or savepoint within its next rounds.

    Raises KeyError for an unknown name.
    """
    holds.release(settings, job(name).name)


NAMES = tuple(each.name for each in JOBS)
