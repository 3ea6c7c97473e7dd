"""Submits jobs that are not running, each from its newest checkpoint: ``python -m jobs.submit volumes lake``.

A job goes to the cluster as its plan on disk says. One without a plan is compiled first, and one whose plan the cluster
refuses is compiled again: one client JVM serves all jobs of a call, since starting it costs more than planning a job.
Prints one JSON line a job: ``{"job", "job_id", "from"}``, with a null id for one that runs already, and ``error`` for
one that was refused: then the exit code is 1. Several calls at once take turns.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from jobs.catalogue import Job, checkpoints_dir, job
from jobs.checkpoints import newest
from jobs.cluster import Cluster, RefusedError
from jobs.plans import RUN_ID_BYTES, Plan, Plans, StalePlanError
from koban.settings import Settings


def submit_missing(settings: Settings, names: list[str]) -> Iterator[dict[str, str | None]]:
    """Submits each named job unless it has an active run; yields what was done, job by job."""
    plans = Plans(settings)
    with closing(Cluster(settings)) as cluster:
        for name in names:
            wanted = job(name)
            if any(run.active and run.name == name for run in cluster.runs()):
                yield {"job": name, "job_id": None, "from": None}
                continue
            found = newest(checkpoints_dir(settings, name))
            start_from = found.absolute().as_uri() if found else None
            yield {"job": name, "from": start_from, **_attempt(settings, cluster, plans, wanted, start_from)}


def _attempt(
    settings: Settings, cluster: Cluster, plans: Plans, wanted: Job, start_from: str | None
) -> dict[str, str | None]:
    try:
        return {"job_id": _submit(settings, cluster, plans, wanted, start_from)}
    except Exception as error:  # whatever is wrong with one job must not keep the others from running
        return {"job_id": None, "error": _reason(error)}


def _submit(settings: Settings, cluster: Cluster, plans: Plans, wanted: Job, start_from: str | None) -> str:
    plan = plans.find(wanted)
    if plan is not None:
        try:
            return _hand_in(cluster, plan, start_from)
        except (RefusedError, StalePlanError) as error:
            sys.stderr.write(f"the kept plan of {wanted.name} is compiled again: {error}\n")
            plans.drop(wanted)
    return _hand_in(cluster, _compiled(settings, plans, wanted), start_from)


def _hand_in(cluster: Cluster, plan: Plan, start_from: str | None) -> str:
    return cluster.submit(plan.graph(secrets.token_bytes(RUN_ID_BYTES), start_from))


def _compiled(settings: Settings, plans: Plans, wanted: Job) -> Plan:
    from jobs.compiler import compile_plan

    plan = compile_plan(settings, wanted)
    plans.keep(wanted, plan)
    return plan


def _reason(error: Exception) -> str:
    """The innermost cause, on one line: a Java exception's text is its whole stack trace."""
    lines = str(error).splitlines() or [type(error).__name__]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[0]


@contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    """Holds the platform's lock on submissions, so that two clients never submit the same job."""
    path = settings.data_dir / "flink" / "submit.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    """Submits each named job."""
    settings = Settings.from_environ(os.environ)
    refused = 0
    with _turn(settings):
        for done in submit_missing(settings, names):
            sys.stdout.write(json.dumps(done, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            refused += "error" in done
    return min(refused, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
