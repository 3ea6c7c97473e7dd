"""How a Flink environment is made: where the cluster is, how often a job's state is saved, who runs its Python."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

from find_libpython import find_libpython

from jobs.catalogue import Job, checkpoint_interval_s, checkpoints_dir
from koban.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
"""Where the TaskManager's Python finds the project's packages."""
WITHOUT_BEAM = Path(__file__).parent / "without_beam"
CHECKPOINTS_RETAINED = 3


def job_options(settings: Settings, job: Job) -> dict[str, str]:
    """Flink's options for a job's runs; a plan says where one starts from."""
    flink = urlsplit(settings.flink_url)
    options = {
        "execution.target": "remote",
        "rest.address": flink.hostname or "127.0.0.1",
        "rest.port": str(flink.port or 8081),
        "pipeline.name": job.name,
        "parallelism.default": str(settings.flink_parallelism),
        "pipeline.max-parallelism": "128",
        "execution.checkpointing.interval": f"{checkpoint_interval_s(settings, job.name)} s",
        "execution.checkpointing.min-pause": "200 ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": checkpoints_dir(settings, job.name).absolute().as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": str(CHECKPOINTS_RETAINED),
        "execution.checkpointing.timeout": "2 min",
        "execution.checkpointing.tolerable-failed-checkpoints": "20",
        "state.backend.type": "hashmap",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "5 s",
        "restart-strategy.exponential-delay.jitter-factor": "0",
        "table.local-time-zone": "Asia/Tokyo",
        "table.exec.source.idle-timeout": f"{settings.idle_partition_s} s",
        "table.exec.state.ttl": f"{settings.volumes_state_days} d" if job.name == "volumes" else "0 s",
        **job.options,
    }
    if job.kind == "datastream":
        options |= python_options(settings)
    return options


def python_options(settings: Settings) -> dict[str, str]:
    """Which Python runs a DataStream job's functions, and where it finds the project."""
    mode = python_mode(settings.flink_python)
    folders = [str(ROOT), sysconfig.get_path("purelib")]
    return {
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.pythonpath": os.pathsep.join([str(WITHOUT_BEAM), *folders] if mode == "thread" else folders),
        "python.execution-mode": mode,
        # In a process of its own, Python gets its records in bundles: large ones, but none that waits for long.
        "python.fn-execution.bundle.size": "2000",
        "python.fn-execution.bundle.time": "200",
    }


def python_mode(wanted: str) -> str:
    """`thread` or `process`; `auto` is `thread` where this Python has a shared library that a JVM can load."""
    if wanted != "auto":
        return wanted
    return "thread" if find_libpython() is not None else "process"
