"""Submits jobs that are not running, each from its newest checkpoint: ``python -m jobs.submit volumes lake``.

One client JVM serves all jobs of a call, since starting it costs more than planning a job. Prints one JSON line a job:
``{"job", "job_id", "from"}``, with a null id for one that runs already, and ``error`` for one that was refused: then
the exit code is 1. Several calls at once take turns.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from jobs.catalogue import Job, checkpoints_dir, job, sql_values
from jobs.checkpoints import newest
from jobs.cluster import Cluster
from jobs.environment import job_options
from jobs.statements import statements
from koban.settings import Settings

CLIENT_FLAGS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms192m -Xmx512m"
"""A client lives for seconds: it plans sooner with code compiled simply, and needs no parallel collector."""


def submit_missing(settings: Settings, names: list[str]) -> Iterator[dict[str, str | None]]:
    """Submits each named job unless it has an active run; yields what was done, job by job."""
    with closing(Cluster(settings)) as cluster:
        for name in names:
            wanted = job(name)
            if any(run.active and run.name == name for run in cluster.runs()):
                yield {"job": name, "job_id": None, "from": None}
                continue
            found = newest(checkpoints_dir(settings, name))
            start_from = found.absolute().as_uri() if found else None
            yield {"job": name, "from": start_from, **_attempt(settings, wanted, start_from)}


def _attempt(settings: Settings, wanted: Job, start_from: str | None) -> dict[str, str | None]:
    try:
        return {"job_id": _submit(settings, wanted, start_from)}
    except Exception as error:  # whatever is wrong with one job must not keep the others from running
        return {"job_id": None, "error": _reason(error)}


def _reason(error: Exception) -> str:
    """The innermost cause, on one line: a Java exception's text is its whole stack trace."""
    lines = str(error).splitlines() or [type(error).__name__]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[0]


def _submit(settings: Settings, wanted: Job, start_from: str | None) -> str:
    configuration = _configuration(job_options(settings, wanted, start_from))
    if wanted.kind == "datastream":
        from jobs.cashback import submit

        return submit(settings, configuration)
    return _submit_sql(wanted, sql_values(settings, wanted.name), configuration)


def _submit_sql(wanted: Job, values: dict[str, str], configuration: Any) -> str:
    from pyflink.table import EnvironmentSettings, TableEnvironment

    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
    table_environment = TableEnvironment.create(settings)
    *tables, insert = [statement for name in wanted.sql for statement in statements(name, values)]
    for table in tables:
        table_environment.execute_sql(table)
    return str(table_environment.execute_sql(insert).get_job_client().get_job_id())


def _configuration(options: dict[str, str]) -> Any:
    from pyflink.common import Configuration

    configuration = Configuration()
    for name, value in options.items():
        configuration.set_string(name, value)
    return configuration


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
    os.environ.setdefault("JVM_ARGS", CLIENT_FLAGS)
    os.environ.setdefault("LOG4J_PROPERTIES", str(Path(__file__).with_name("client-log4j.properties")))
    refused = 0
    with _turn(settings):
        for done in submit_missing(settings, names):
            sys.stdout.write(json.dumps(done, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            refused += "error" in done
    return min(refused, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
