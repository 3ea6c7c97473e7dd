"""Which jobs there are, and what each is given: its name, its own checkpoint folder, its own transactional ids."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zlib import crc32

import msgspec

from koban.settings import Settings

TRANSACTION_TIMEOUT_MS = 600_000
"""How long a job may be down before Kafka drops what it had prepared; below the broker's default limit of 15 min."""
SQL_FOLDER = Path(__file__).parent / "sql"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the catalogue; ``kind`` says whether it is a file of SQL or a DataStream program."""

    name: str
    kind: Literal["sql", "datastream"]
    sql: tuple[str, ...]
    """Files of ``jobs/sql``, without their ending; the last statement of an SQL job is its INSERT."""
    options: dict[str, str] = {}
    """Flink options of this job alone."""


_MINI_BATCH = {
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "200 ms",
    "table.exec.mini-batch.size": "5000",
}

JOBS: tuple[Job, ...] = (
    Job(name="volumes", kind="sql", sql=("events", "volumes"), options=_MINI_BATCH),
    Job(name="fraud_patterns", kind="sql", sql=("events", "fraud_patterns")),
    Job(name="lake", kind="sql", sql=("lake",)),
    Job(name="cashback", kind="datastream", sql=("cashback",)),
)


def job(name: str) -> Job:
    """The job of that name. Raises KeyError, naming the known ones."""
    for candidate in JOBS:
        if candidate.name == name:
            return candidate
    raise KeyError(f"no job {name!r}; there are {', '.join(candidate.name for candidate in JOBS)}")


def checkpoints_dir(settings: Settings, name: str) -> Path:
    """The folder of all checkpoints that any run of the job ever took."""
    return settings.data_dir / "flink" / "checkpoints" / name


def consumer_group(name: str) -> str:
    """The group under which a job reports how far it has read."""
    return f"koban-{name.replace('_', '-')}"


def transactional_id_prefix(settings: Settings, name: str) -> str:
    """The same for every run of the job, so that a new run ends what a dead one left open; no other platform has it."""
    platform = crc32(str(settings.data_dir.absolute()).encode())
    return f"koban-{name}-{platform:08x}"


def checkpoint_interval_s(settings: Settings, name: str) -> int:
    """Seconds between checkpoints."""
    return settings.lake_checkpoint_interval_s if name == "lake" else settings.checkpoint_interval_s


def sql_values(settings: Settings, name: str) -> dict[str, str]:
    """What the placeholders of a job's SQL stand for."""
    return {
        "bootstrap": settings.kafka_bootstrap,
        "group": consumer_group(name),
        "watermark_delay_s": str(settings.watermark_delay_s),
        "transaction_timeout_ms": str(TRANSACTION_TIMEOUT_MS),
        "transactional_id_prefix": transactional_id_prefix(settings, name),
        "lake_path": (settings.lake_dir / "payments").absolute().as_uri(),
    }
