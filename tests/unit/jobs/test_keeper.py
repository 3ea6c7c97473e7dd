"""The keeper's judgement, and its pages: which jobs are missing, and when all is well."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from jobs import holds
from jobs.catalogue import JOBS
from jobs.cluster import Progress, Run
from jobs.health import HealthPages
from jobs.keeper import BackOff, active_run, missing_jobs
from koban.settings import Settings

NAMES = tuple(one.name for one in JOBS)


def run(name: str, state: str = "RUNNING", tasks: int = 2, running: int = 2, number: int = 1) -> Run:
    return Run(
        job_id=f"{name}-{number}", name=name, state=state, started_at_ms=number, tasks=tasks, tasks_running=running
    )


@pytest.mark.parametrize("state", ["CREATED", "INITIALIZING", "RUNNING", "RESTARTING", "FAILING", "CANCELLING"])
def test_a_run_that_may_still_write_is_not_replaced(state: str) -> None:
    assert missing_jobs([run(name, state) for name in NAMES], frozenset()) == []


@pytest.mark.parametrize("state", ["FINISHED", "CANCELED", "FAILED", "SUSPENDED"])
def test_a_run_that_is_over_is_replaced(state: str) -> None:
    runs = [run("volumes", state), *(run(name) for name in NAMES if name != "volumes")]
    assert missing_jobs(runs, frozenset()) == ["volumes"]


def test_a_former_run_does_not_hide_the_present_one() -> None:
    runs = [run("lake", "CANCELED", number=1), run("lake", number=2)]
    found = active_run(runs, "lake")
    assert found is not None
    assert found.job_id == "lake-2"


def test_a_held_job_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, lake_dir=tmp_path)
    assert holds.held(settings) == frozenset()
    holds.hold(settings, "lake")
    assert missing_jobs([], holds.held(settings)) == ["cashback", "volumes", "fraud_patterns"]
    holds.release(settings, "lake")
    holds.release(settings, "lake")
    assert missing_jobs([], holds.held(settings)) == ["cashback", "volumes", "fraud_patterns", "lake"]


def test_a_job_that_never_comes_up_is_tried_ever_more_rarely_until_it_does() -> None:
    back_off, now_s, waits = BackOff(), 100.0, []
    for _ in range(9):
        assert back_off.is_due("lake", now_s)
        back_off.count("lake", now_s)
        wait_s = next(wait for wait in range(100) if back_off.is_due("lake", now_s + wait))
        waits.append(wait_s)
        now_s += wait_s
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    back_off.forget("lake")
    assert back_off.is_due("lake", now_s)


def test_flinks_running_is_not_enough_while_tasks_start() -> None:
    assert not run("lake", tasks=3, running=2).running
    assert not run("lake", tasks=0, running=0).running
    assert run("lake", tasks=3, running=3).running


def test_the_pages_are_ready_when_every_job_runs_or_is_held() -> None:
    pages = HealthPages(("volumes", "lake"))
    assert not pages.ready
    pages.show("volumes", running=True, held=False)
    pages.show("lake", running=False, held=True)
    assert pages.ready
    pages.nothing_runs()
    assert not pages.ready


def test_the_pages_say_what_is_waited_for_and_count_submissions() -> None:
    pages = HealthPages(("volumes", "lake"))
    pages.show("volumes", running=True, held=False)
    status, _, body = pages.page("/-/ready")
    assert (status, json.loads(body)["waiting_for"]) == (503, {"lake": ""})
    pages.show_fault("lake", "the disk is full")
    assert json.loads(pages.page("/-/ready")[2])["waiting_for"] == {"lake": "the disk is full"}
    pages.show("lake", running=True, held=False)
    pages.show("lake", running=False, held=False)
    assert json.loads(pages.page("/-/ready")[2])["waiting_for"] == {"lake": ""}, "a fault of before is not told again"
    pages.count_submission("lake")
    pages.show_progress(
        "lake",
        Progress(completed=3, failed=1, newest_at_ms=0, newest_duration_ms=250, newest_bytes=9, restarts=2),
    )
    metrics = pages.page("/metrics")[2].decode()
    assert 'koban_job_submissions_total{job="lake"} 1.0' in metrics
    assert 'koban_job_restarts{job="lake"} 2.0' in metrics
    assert 'koban_job_checkpoint_seconds{job="lake"} 0.25' in metrics
    assert pages.page("/nowhere")[0] == 404


def test_the_pages_are_served_on_loopback() -> None:
    server = HealthPages(("lake",)).serve(0)
    try:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/live", timeout=10) as answer:
            assert json.load(answer) == {"live": True, "stage": "jobs"}
    finally:
        server.shutdown()
        server.server_close()
