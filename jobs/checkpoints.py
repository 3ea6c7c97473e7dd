"""What a job starts from, found on disk: a new JobManager remembers nothing of the last one's jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

METADATA = "_metadata"
"""The file Flink writes last, and whole: a folder with it is a complete checkpoint or savepoint."""


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint or savepoint under a job's folder, None when it has never completed one.

    It must be the newest: what a checkpoint had prepared for Kafka is committed once it is complete, so an older one
    would bring the same output again.
    """
    return max(complete(folder), key=_written_at, default=None)


def complete(folder: Path) -> Iterator[Path]:
    """Every complete checkpoint (``<run>/chk-<n>``) and savepoint (``savepoint-*``) under a job's folder."""
    for pattern in ("*/chk-*", "savepoint-*"):
        yield from (found for found in folder.glob(pattern) if (found / METADATA).is_file())


def _written_at(path: Path) -> tuple[int, str]:
    try:
        return (path / METADATA).stat().st_mtime_ns, str(path)
    except FileNotFoundError:  # Flink drops the oldest ones as it goes
        return 0, str(path)


def drop_empty_runs(folder: Path, current_job_id: str) -> None:
    """Removes the folders of former runs that hold no complete checkpoint any more."""
    for run in folder.glob("*/"):
        kept = any(run.glob(f"chk-*/{METADATA}")) or (run / METADATA).is_file()
        if run.name != current_job_id and not kept:
            shutil.rmtree(run, ignore_errors=True)
