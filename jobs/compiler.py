"""Makes a job's plan with Flink's own Java client. Importing this module imports PyFlink."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from jobs.catalogue import Job, sql_values
from jobs.environment import job_options
from jobs.plans import PLACE_MARK, Plan
from jobs.statements import statements
from koban.settings import Settings

CLIENT_FLAGS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms192m -Xmx512m"
"""A client lives for seconds: it plans sooner with code compiled simply, and needs no parallel collector."""


def compile_plan(settings: Settings, job: Job) -> Plan:
    """The job's plan. Raises what PyFlink raises for SQL that is wrong."""
    _make_lean()
    options = _configuration(job_options(settings, job))
    # The plain environment takes its target from the configuration, where PyFlink's own getter insists on a local one.
    java = get_gateway().jvm
    env = StreamExecutionEnvironment(
        java.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment(options._j_configuration)
    )
    _attach(StreamTableEnvironment.create(env), settings, job)
    made = env._generate_stream_graph(clear_transformations=True, job_name=job.name)
    graph = java.org.apache.flink.client.deployment.executors.PipelineExecutorUtils.getStreamGraph(
        made, options._j_configuration
    )
    graph.serializeUserDefinedInstances()
    fresh = _serialized(java, graph)
    graph.setSavepointRestoreSettings(_restore_settings(java))
    return Plan(run_id=bytes.fromhex(str(graph.getJobID())), fresh=fresh, restored=_serialized(java, graph))


def _make_lean() -> None:
    """Must come before the client is started.

    PyFlink imports Beam for a server that only local clusters ask and for coders that only running functions use; that
    alone takes 3 s of CPU. In `sys.modules` None means that a module can't be imported.
    """
    os.environ.setdefault("JVM_ARGS", CLIENT_FLAGS)
    os.environ.setdefault("LOG4J_PROPERTIES", str(Path(__file__).with_name("client-log4j.properties")))
    os.environ.setdefault("_python_worker_execution_mode", "process")
    sys.modules.setdefault("apache_beam", None)  # type: ignore[arg-type]


def _attach(tables: StreamTableEnvironment, settings: Settings, job: Job) -> None:
    """Runs the job's statements; the last one is its INSERT."""
    *ddl, insert = [statement for name in job.sql for statement in statements(name, sql_values(settings, job.name))]
    for statement in ddl:
        tables.execute_sql(statement)
    if job.kind == "datastream":
        from jobs.cashback import attach

        attach(tables, settings)
    output = tables.create_statement_set()
    output.add_insert_sql(insert)
    output.attach_as_datastream()


def _restore_settings(java: Any) -> Any:
    """CLAIM: the new run owns what it starts from, and clears it away once it has a newer checkpoint of its own."""
    settings = java.org.apache.flink.runtime.jobgraph.SavepointRestoreSettings
    return settings.forPath(PLACE_MARK, False, java.org.apache.flink.core.execution.RecoveryClaimMode.CLAIM)


def _serialized(java: Any, graph: Any) -> bytes:
    return bytes(java.org.apache.flink.util.InstantiationUtil.serializeObject(graph))


def _configuration(options: dict[str, str]) -> Configuration:
    configuration = Configuration()
    for name, value in options.items():
        configuration.set_string(name, value)
    return configuration
