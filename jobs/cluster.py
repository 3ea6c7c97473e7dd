"""The Flink cluster through its REST API: which jobs it has, how they fare, and how one is stopped."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import msgspec

from koban.settings import Settings

GONE = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})
"""States that a job does not leave by itself; in any other it is running or on its way there."""
GRAPH_FILE = "graph.bin"
SUBMIT_S_MAX = 60.0
"""The JobManager answers when it has read where the run starts from."""
_POLL_S = 0.2


class ClusterUnreachableError(Exception):
    """The JobManager did not answer; says where it was looked for."""


class SavepointError(Exception):
    """A savepoint did not come about; carries Flink's reason."""


class RefusedError(Exception):
    """The JobManager does not start a run; carries Flink's reason."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job, as the cluster reports it."""

    job_id: str
    name: str
    state: str
    started_at_ms: int
    tasks: int
    tasks_running: int

    @property
    def active(self) -> bool:
        return self.state not in GONE

    @property
    def running(self) -> bool:
        """Whether all of its tasks work; Flink's own RUNNING begins before they do."""
        return self.state == "RUNNING" and self.tasks > 0 and self.tasks_running == self.tasks


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A run's checkpoints and restarts; times are milliseconds since the epoch and durations, None before the first."""

    completed: int
    failed: int
    newest_at_ms: int | None
    newest_duration_ms: int | None
    newest_bytes: int | None
    restarts: int


class Cluster:
    """A client of one cluster. Raises ClusterUnreachableError from every method when nobody answers."""

    def __init__(self, settings: Settings, timeout_s: float = 5.0) -> None:
        self._url = settings.flink_url
        self._http = httpx.Client(base_url=settings.flink_url, timeout=timeout_s)

    def close(self) -> None:
        self._http.close()

    def slots(self) -> int:
        """Slots of all registered TaskManagers."""
        return int(self._get("/overview")["slots-total"])

    def runs(self) -> list[Run]:
        """All runs the JobManager remembers, ended ones too, oldest first."""
        found = [
            Run(
                job_id=row["jid"],
                name=row["name"],
                state=row["state"],
                started_at_ms=row["start-time"],
                tasks=row["tasks"]["total"],
                tasks_running=row["tasks"]["running"],
            )
            for row in self._get("/jobs/overview")["jobs"]
        ]
        return sorted(found, key=lambda run: run.started_at_ms)

    def progress(self, job_id: str) -> Progress:
        """Of one run."""
        statistics = self._get(f"/jobs/{job_id}/checkpoints")
        newest = (statistics.get("latest") or {}).get("completed") or {}
        restarts = self._get(f"/jobs/{job_id}/metrics?get=numRestarts")
        return Progress(
            completed=statistics["counts"]["completed"],
            failed=statistics["counts"]["failed"],
            newest_at_ms=newest.get("latest_ack_timestamp"),
            newest_duration_ms=newest.get("end_to_end_duration"),
            newest_bytes=newest.get("checkpointed_size"),
            restarts=int(restarts[0]["value"]) if restarts else 0,
        )

    def root_cause(self, job_id: str) -> str | None:
        """The first line of what last went wrong in a run, if anything did."""
        history = self._get(f"/jobs/{job_id}/exceptions?maxExceptions=1")["exceptionHistory"]["entries"]
        if not history:
            return None
        causes = [line for line in history[0]["stacktrace"].splitlines() if line.startswith("Caused by: ")]
        return str(causes[-1].removeprefix("Caused by: ") if causes else history[0]["stacktrace"].splitlines()[0])

    def submit(self, graph: bytes) -> str:
        """Starts a run of a compiled job; its id. Raises RefusedError when the JobManager does not take it."""
        request = {"jobGraphFileName": GRAPH_FILE, "jobJarFileNames": [], "jobArtifactFileNames": []}
        answer = self._send(
            "POST",
            "/jobs",
            timeout=SUBMIT_S_MAX,
            files=[
                ("request", (None, json.dumps(request).encode(), "application/json")),
                ("file_0", (GRAPH_FILE, graph, "application/octet-stream")),
            ],
        )
        if answer.is_error:
            raise RefusedError(reason_of(answer))
        return str(answer.json()["jobUrl"]).rpartition("/")[2]

    def cancel(self, job_id: str) -> None:
        """Ends a run without a savepoint; its checkpoints stay. Returns before it has ended."""
        self._answer(self._send("PATCH", f"/jobs/{job_id}?mode=cancel"))

    def stop_with_savepoint(self, job_id: str, folder_uri: str, timeout_s: float = 60.0) -> str:
        """Ends a run after writing all it knows to a new folder, and gives back where. Raises SavepointError."""
        body = {"targetDirectory": folder_uri, "drain": False}
        return self._savepoint(job_id, "stop", body, timeout_s)

    def savepoint(self, job_id: str, folder_uri: str, timeout_s: float = 60.0) -> str:
        """Writes all that a run knows to a new folder, and gives back where; it runs on. Raises SavepointError."""
        return self._savepoint(job_id, "savepoints", {"target-directory": folder_uri, "cancel-job": False}, timeout_s)

    def _savepoint(self, job_id: str, how: str, body: dict[str, object], timeout_s: float) -> str:
        trigger = self._answer(self._send("POST", f"/jobs/{job_id}/{how}", json=body))["request-id"]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self._get(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                operation = answer["operation"]
                if "location" not in operation:
                    raise SavepointError(str(operation.get("failure-cause", {}).get("class", operation)))
                return str(operation["location"])
            time.sleep(_POLL_S)
        raise SavepointError(f"no savepoint within {timeout_s:.0f} s")

    def _get(self, path: str) -> Any:
        return self._answer(self._send("GET", path))

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **kwargs)
        except httpx.TransportError as error:
            raise ClusterUnreachableError(f"no JobManager at {self._url}: {error}") from error

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_error:  # a JobManager that is coming up or going down answers with errors too
            raise ClusterUnreachableError(f"{response.request.url}: {response.status_code} {response.text[:200]}")
        return response.json() if response.content else {}


def reason_of(answer: httpx.Response) -> str:
    """The innermost cause, on one line: Flink's answer is a list of whole stack traces."""
    try:
        lines = "\n".join(answer.json()["errors"]).splitlines()
    except (ValueError, KeyError, TypeError):
        lines = answer.text.splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    if causes:
        return causes[-1]
    return lines[0] if lines else f"status {answer.status_code}"
