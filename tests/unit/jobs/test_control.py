"""Stopping, savepointing and resuming a job, against a JobManager that answers as Flink's REST does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs import control, holds
from jobs.cluster import Cluster, ClusterUnreachableError, SavepointError
from koban.settings import Settings


class Flink:
    """The few answers of Flink's REST that a stop needs; ``state`` is that of the one job, lake."""

    def __init__(self) -> None:
        self.state = "RUNNING"
        self.asked: list[tuple[str, str, dict[str, object]]] = []
        self.ends = True
        self.savepoint: dict[str, object] = {"location": "file:/sp/savepoint-1"}

    def answer(self, method: str, path: str, body: dict[str, object]) -> object:
        if method != "GET":
            self.asked.append((method, path, body))
        if path == "/jobs/overview":
            tasks = {"total": 1, "running": 1}
            return {"jobs": [{"jid": "a1", "name": "lake", "state": self.state, "start-time": 1, "tasks": tasks}]}
        if method == "PATCH":
            self.state = "CANCELED" if self.ends else "CANCELLING"
        if path == "/jobs/a1/stop" and "location" in self.savepoint:
            self.state = "FINISHED"
        if method == "POST":
            return {"request-id": "t1"}
        return {"status": {"id": "COMPLETED"}, "operation": self.savepoint}


@pytest.fixture
def flink() -> Iterator[tuple[Flink, str]]:
    fake = Flink()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = json.dumps(fake.answer(self.command, self.path, json.loads(body or b"{}"))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = handle_any

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own name
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield fake, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fake(flink: tuple[Flink, str]) -> Flink:
    return flink[0]


@pytest.fixture
def settings(flink: tuple[Flink, str], tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, lake_dir=tmp_path, flink_url=flink[1])


@pytest.fixture
def cluster(settings: Settings) -> Iterator[Cluster]:
    made = Cluster(settings)
    yield made
    made.close()


def test_a_stopped_job_is_held_until_it_may_go_on(fake: Flink, settings: Settings, cluster: Cluster) -> None:
    """It writes a savepoint where the keeper looks for what to go on from."""
    place = control.stop(settings, cluster, "lake", with_savepoint=True)
    assert place == "file:/sp/savepoint-1"
    folder = (settings.data_dir / "flink" / "checkpoints" / "lake").as_uri()
    assert fake.asked == [("POST", "/jobs/a1/stop", {"targetDirectory": folder, "drain": False})]
    assert holds.held(settings) == {"lake"}
    control.resume(settings, "lake")
    assert holds.held(settings) == frozenset()


def test_a_job_is_stopped_without_a_savepoint_too(fake: Flink, settings: Settings, cluster: Cluster) -> None:
    """Its newest checkpoint is what it goes on from."""
    assert control.stop(settings, cluster, "lake", with_savepoint=False) is None
    assert fake.asked == [("PATCH", "/jobs/a1?mode=cancel", {})]
    assert holds.held(settings) == {"lake"}


def test_a_savepoint_that_fails_leaves_the_job_running(fake: Flink, settings: Settings, cluster: Cluster) -> None:
    """And not held: the keeper goes on looking after it."""
    fake.savepoint = {"failure-cause": {"class": "CheckpointException"}}
    with pytest.raises(SavepointError, match="CheckpointException"):
        control.stop(settings, cluster, "lake", with_savepoint=True)
    assert holds.held(settings) == frozenset()


def test_a_savepoint_beside_the_running_job(fake: Flink, settings: Settings, cluster: Cluster) -> None:
    """It lies apart from what the keeper goes on from, and nothing is held."""
    assert control.savepoint(settings, cluster, "lake") == "file:/sp/savepoint-1"
    folder = (settings.data_dir / "flink" / "savepoints" / "lake").as_uri()
    asked = {"target-directory": folder, "cancel-job": False}
    assert fake.asked == [("POST", "/jobs/a1/savepoints", asked)]
    assert holds.held(settings) == frozenset()
    fake.state = "FAILED"
    with pytest.raises(control.NotRunningError, match="lake"):
        control.savepoint(settings, cluster, "lake")


def test_a_job_that_never_ends_is_told(fake: Flink, settings: Settings, cluster: Cluster) -> None:
    """It stays held, so that nobody starts it meanwhile."""
    fake.ends = False
    pauses: list[float] = []
    with pytest.raises(control.StillEndingError):
        control.stop(settings, cluster, "lake", with_savepoint=False, pause=pauses.append)
    assert sum(pauses) == pytest.approx(control.ENDED_S_MAX)
    assert holds.held(settings) == {"lake"}


def test_nothing_is_held_where_flink_does_not_answer(tmp_path: Path) -> None:
    """A stop that could not be asked for leaves no trace; an unknown name is an error at once."""
    settings = Settings(data_dir=tmp_path, lake_dir=tmp_path, flink_url="http://127.0.0.1:9")
    cluster = Cluster(settings)
    with pytest.raises(ClusterUnreachableError):
        control.stop(settings, cluster, "lake", with_savepoint=True)
    assert holds.held(settings) == frozenset()
    with pytest.raises(KeyError, match="no job"):
        control.resume(settings, "nonsense")
    cluster.close()
