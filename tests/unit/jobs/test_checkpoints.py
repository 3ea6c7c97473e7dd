"""The newest complete checkpoint is found, whatever lies about beside it."""

from __future__ import annotations

import os
from pathlib import Path

from jobs.checkpoints import complete, drop_empty_runs, newest


def made(folder: Path, name: str, at_s: int, *, whole: bool = True) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "data").touch()
    if whole:
        (path / "_metadata").touch()
        os.utime(path / "_metadata", (at_s, at_s))
    return path


def test_a_job_that_never_ran_has_none(tmp_path: Path) -> None:
    assert newest(tmp_path / "nowhere") is None


def test_the_newest_complete_one_of_all_runs_and_savepoints_is_taken(tmp_path: Path) -> None:
    made(tmp_path, "aa/chk-900", 100)
    expected = made(tmp_path, "bb/chk-9", 300)
    made(tmp_path, "bb/chk-10", 400, whole=False)  # still being written when its JobManager died
    made(tmp_path, "savepoint-1", 200)
    assert newest(tmp_path) == expected
    later = made(tmp_path, "savepoint-2", 500)
    assert newest(tmp_path) == later


def test_runs_without_a_complete_checkpoint_are_cleared_away_but_never_the_present_one(tmp_path: Path) -> None:
    made(tmp_path, "old/chk-1", 1, whole=False)
    (tmp_path / "now" / "shared").mkdir(parents=True)
    kept = {made(tmp_path, "other/chk-1", 1), made(tmp_path, "savepoint-1", 1)}
    drop_empty_runs(tmp_path, "now")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["now", "other", "savepoint-1"]
    assert set(complete(tmp_path)) == kept
