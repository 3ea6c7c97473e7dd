"""What a process that is not ready says of itself, as the supervisor tells it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from jobs.health import HealthPages
from jobs.keeper import SUBMIT_S_MAX
from ops.engines import apps, flink
from ops.engines.component import NotReadyError


@pytest.fixture
def pages() -> HealthPages:
    return HealthPages(("volumes", "lake"))


def ask(pages: HealthPages, path: str) -> None:
    server = pages.serve(0)
    try:
        apps.answers(f"http://127.0.0.1:{server.server_address[1]}{path}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_good_answer_is_no_problem(pages: HealthPages) -> None:
    for name in ("volumes", "lake"):
        pages.show(name, running=True, held=False)
    ask(pages, "/-/ready")


def test_what_a_process_waits_for_is_told_with_the_reason(pages: HealthPages) -> None:
    pages.show("volumes", running=True, held=False)
    pages.show_fault("lake", "the disk is full")
    with pytest.raises(NotReadyError, match=r"^waits for lake \(the disk is full\)$"):
        ask(pages, "/-/ready")


def test_an_answer_that_says_nothing_is_told_by_its_status(pages: HealthPages) -> None:
    with pytest.raises(NotReadyError, match=r"^404 Not Found$"):
        ask(pages, "/nowhere")


def test_the_first_python_of_the_jobs_path_is_the_one_that_runs_this() -> None:
    """A Python inside the TaskManager takes its standard library from there."""
    found = shutil.which("python3", path=flink.path_of_this_python("/nowhere"))
    assert found is not None
    asked = [found, "-c", "import sys; print(sys.base_prefix)"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == sys.base_prefix


def test_the_jobs_keeper_is_not_restarted_while_its_submission_may_take() -> None:
    """It is not ready meanwhile, and a restart would end the client that compiles the jobs."""
    jobs = next(app for app in apps.APPS if app.name == "jobs")
    assert jobs.unhealthy_s_max >= SUBMIT_S_MAX
