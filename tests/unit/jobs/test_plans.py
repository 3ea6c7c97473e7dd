"""Compiled jobs on disk: whose they are, and that a run differs from its plan in nothing but id and starting place."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from jobs import plans
from jobs.catalogue import JOBS, job
from jobs.plans import PLACE_MARK, Plan, Plans, StalePlanError, digest
from koban.settings import Settings

RUN, OTHER = bytes(range(16)), bytes(range(16, 32))
CHECKPOINT = "file:///data/checkpoints/lake/f00/chk-7"


def java_string(text: str) -> bytes:
    return b"t" + struct.pack(">H", len(text)) + text.encode()


PLAN = Plan(
    run_id=RUN,
    fresh=b"\xac\xed\x00\x05 graph " + RUN + b" no place",
    restored=b"\xac\xed\x00\x05 graph " + RUN + b" from " + java_string(PLACE_MARK) + b" on",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "koban", lake_dir=tmp_path / "lake")


def test_a_run_gets_its_own_id_and_the_checkpoint_that_it_starts_from() -> None:
    assert PLAN.graph(OTHER, None) == b"\xac\xed\x00\x05 graph " + OTHER + b" no place"
    expected = b"\xac\xed\x00\x05 graph " + OTHER + b" from " + java_string(CHECKPOINT) + b" on"
    assert PLAN.graph(OTHER, CHECKPOINT) == expected


@pytest.mark.parametrize("graph", [b"no id", RUN + RUN])
def test_a_plan_whose_marks_are_not_there_once_is_no_plan(graph: bytes) -> None:
    broken = msgspec.structs.replace(PLAN, fresh=graph, restored=graph + java_string(PLACE_MARK))
    for start_from in (None, CHECKPOINT):
        with pytest.raises(StalePlanError):
            broken.graph(OTHER, start_from)


def test_a_plan_is_found_again_until_code_or_settings_change(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, lake = Plans(settings), job("lake")
    assert kept.find(lake) is None
    kept.keep(lake, PLAN)
    assert Plans(settings).find(lake) == PLAN
    assert Plans(msgspec.structs.replace(settings, metrics_port=9)).find(lake) == PLAN
    assert Plans(msgspec.structs.replace(settings, kafka_bootstrap="elsewhere:9092")).find(lake) is None
    assert Plans(settings).find(job("volumes")) is None
    monkeypatch.setattr(plans, "SOURCES", tmp_path)
    assert Plans(settings).find(lake) is None


def test_a_new_plan_takes_the_place_of_the_jobs_old_one(settings: Settings) -> None:
    kept, lake = Plans(settings), job("lake")
    kept.keep(lake, PLAN)
    Plans(msgspec.structs.replace(settings, kafka_bootstrap="elsewhere:9092")).keep(lake, PLAN)
    assert kept.find(lake) is None
    assert len(list((settings.data_dir / "flink" / "plans").iterdir())) == 1


def test_a_plan_that_was_cut_off_is_compiled_again(settings: Settings) -> None:
    kept, lake = Plans(settings), job("lake")
    kept.keep(lake, PLAN)
    (file,) = (settings.data_dir / "flink" / "plans").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert kept.find(lake) is None


def test_plans_of_different_jobs_are_told_apart(settings: Settings) -> None:
    assert len({digest(settings, one) for one in JOBS}) == len(JOBS)
