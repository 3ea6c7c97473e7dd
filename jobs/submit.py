"""Submits jobs to the cluster: ``python -m jobs.submit volumes lake=/path/of/a/checkpoint``.

One client JVM serves all jobs of a call, since starting it costs more than planning a job. Prints one JSON line a job:
``{"job": name, "job_id": id}``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from jobs.catalogue import Job, job, sql_values
from jobs.environment import job_options
from jobs.statements import statements
from koban.settings import Settings


def submit(settings: Settings, wanted: Job, start_from: str | None) -> str:
    """Submits one job and gives back its id on the cluster. Raises what the planner or the cluster has against it."""
    if wanted.kind == "datastream":
        from jobs.cashback import submit as submit_cashback

        return submit_cashback(settings, _configuration(settings, wanted, start_from))
    table_env = table_environment(settings, wanted, start_from)
    values = sql_values(settings, wanted.name)
    files = ("events", wanted.name) if wanted.name != "lake" else (wanted.name,)
    *tables, insert = [statement for file in files for statement in statements(file, values)]
    for table in tables:
        table_env.execute_sql(table)
    return str(table_env.execute_sql(insert).get_job_client().get_job_id())


def table_environment(settings: Settings, wanted: Job, start_from: str | None) -> Any:
    """A streaming TableEnvironment with the job's options."""
    from pyflink.table import EnvironmentSettings, TableEnvironment

    built = EnvironmentSettings.new_instance().in_streaming_mode()
    return TableEnvironment.create(built.with_configuration(_configuration(settings, wanted, start_from)).build())


def _configuration(settings: Settings, wanted: Job, start_from: str | None) -> Any:
    from pyflink.common import Configuration

    configuration = Configuration()
    for name, value in job_options(settings, wanted, start_from).items():
        configuration.set_string(name, value)
    return configuration


def main(arguments: list[str]) -> int:
    """Submits each named job, from the checkpoint behind ``=`` if there is one."""
    settings = Settings.from_environ(os.environ)
    for argument in arguments:
        name, _, start_from = argument.partition("=")
        job_id = submit(settings, job(name), start_from or None)
        sys.stdout.write(json.dumps({"job": name, "job_id": job_id}) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
