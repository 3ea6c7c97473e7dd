"""Flink SQL: two rows a payment, grouped by account, the balances upserted to Kafka; exactly once by checkpoints.

All of Flink runs in one virtual machine, which PyFlink starts: nothing is spent on a JobManager of its own. Its cost
is that machine's; the Python beside it only looks. Measured from checkpoint to checkpoint, by the offsets that Flink
commits with each: from the first that covers a tenth of the payments to the last, once its output is committed too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, NotCoordinatorError
from kafka.protocol.consumer import IsolationLevel

from ops.bench.accounts import answer_of_records
from ops.bench.broker import LANES, create, read_all
from ops.bench.meter import WARM_UP, Cost, finish, peak_rss_mb
from ops.bench.report import ROOT
from ops.bench.task import Task
from ops.engines import flink
from ops.engines.java import home

LOOK_S = 0.1
JAVA_FLAGS = ("-Xms1g", "-Xmx1g", "-XX:+UseSerialGC", *flink.MODULE_FLAGS)
OPTIONS = {
    "execution.target": "local",
    "parallelism.default": "1",
    "pipeline.object-reuse": "true",
    "state.backend.type": "hashmap",
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "execution.checkpointing.storage": "filesystem",
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "200 ms",
    "table.exec.mini-batch.size": "20000",
    "table.exec.sink.upsert-materialize": "NONE",
}
SOURCE = """
CREATE TEMPORARY TABLE payments (
  occurred_at_us BIGINT,
  body ROW<wallet_id STRING, merchant_id STRING, amount_minor BIGINT>
) WITH (
  'connector' = 'kafka',
  'topic' = '{topic}',
  'properties.bootstrap.servers' = '{bootstrap}',
  'properties.group.id' = '{group}',
  'properties.isolation.level' = 'read_committed',
  'properties.max.poll.records' = '5000',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
)"""
SINK = """
CREATE TEMPORARY TABLE balances (
  account STRING,
  posted_minor BIGINT,
  version BIGINT,
  as_of_us BIGINT,
  PRIMARY KEY (account) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = '{target}',
  'properties.bootstrap.servers' = '{bootstrap}',
  'properties.transaction.timeout.ms' = '600000',
  'properties.batch.size' = '262144',
  'properties.linger.ms' = '20',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = '{group}',
  'key.format' = 'json',
  'value.format' = 'json'
)"""
INSERT = """
INSERT INTO balances
SELECT account, SUM(change_minor), COUNT(*), MAX(occurred_at_us)
FROM (
  SELECT 'U.' || body.wallet_id || '.money' AS account, -body.amount_minor AS change_minor, occurred_at_us
  FROM payments
  UNION ALL
  SELECT 'M.' || body.merchant_id || '.payable', body.amount_minor, occurred_at_us
  FROM payments
)
GROUP BY account"""


class Progress:
    """How far Flink has come, as the broker tells it."""

    def __init__(self, task: Task, target: str) -> None:
        self._group = task.group
        self._admin = KafkaAdminClient(bootstrap_servers=task.bootstrap)
        self._ends = {TopicPartition(target, lane): OffsetSpec.LATEST for lane in range(LANES)}

    def payments(self) -> int:
        """Payments that the newest complete checkpoint covers."""
        try:
            offsets = self._admin.list_group_offsets({self._group: None})[self._group]
        except (CoordinatorNotAvailableError, NotCoordinatorError):  # its topic of offsets is being made
            return 0
        return sum(found.offset for found in offsets.values())

    def committed(self) -> bool:
        """Whether nothing that was written is in an open transaction."""
        written, stable = (self._admin.list_partition_offsets(self._ends, level) for level in IsolationLevel)
        return bool(written == stable)


class Machine:
    """Flink's virtual machine, the only child that PyFlink starts."""

    def __init__(self) -> None:
        (self._process,) = psutil.Process().children()

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def peak_rss_mb(self) -> float:
        return peak_rss_mb(self._process.pid)

    def end(self) -> None:
        self._process.kill()


def submit(task: Task, target: str, folder: Path) -> Any:
    """Starts Flink and the query; the result of the latter is a future."""
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    configuration = Configuration()
    for name, value in {**OPTIONS, "execution.checkpointing.dir": (folder / "checkpoints").as_uri()}.items():
        configuration.set_string(name, value)
    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
    environment = TableEnvironment.create(settings)
    names = {"topic": task.topic, "target": target, "bootstrap": task.bootstrap, "group": task.group}
    for table in (SOURCE, SINK):
        environment.execute_sql(table.format(**names))
    return environment.execute_sql(INSERT).get_job_client().get_job_execution_result()


def await_(holds: Callable[[], bool], result: Any) -> None:
    while not holds():
        if result.done():
            result.result()
            raise RuntimeError("Flink ended without having read all payments")
        time.sleep(LOOK_S)


def main() -> None:
    task = Task.from_environ()
    folder = task.settings().data_dir
    os.environ |= {
        "JAVA_HOME": str(home()),
        "FLINK_HOME": str(flink.flink_home()),
        "FLINK_LIB_DIR": str(flink.install()),
        "FLINK_LOG_DIR": str(folder),
        "FLINK_ENV_JAVA_OPTS": " ".join(JAVA_FLAGS),
        "LOG4J_PROPERTIES": str(ROOT / "jobs" / "client-log4j.properties"),
    }
    target = f"{task.group}-balances"
    create(task.bootstrap, target)
    result, progress = submit(task, target, folder), Progress(task, target)
    machine = Machine()
    await_(lambda: progress.payments() >= task.events * WARM_UP, result)
    seen, wall, cpu = progress.payments(), time.perf_counter(), machine.cpu_s()
    await_(lambda: progress.payments() == task.events and progress.committed(), result)
    wall_s, cpu_s, rss_mb = time.perf_counter() - wall, machine.cpu_s() - cpu, machine.peak_rss_mb()
    machine.end()
    values = asyncio.run(read_all(task.bootstrap, target))
    digest = answer_of_records(values, opening_minor=0)
    finish(Cost(events=task.events - seen, wall_s=wall_s, cpu_s=cpu_s, rss_mb=rss_mb, digest=digest))


if __name__ == "__main__":
    main()
