"""The supervising keeper's pages on loopback: every component's health, restarts and memory for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from http.server import ThreadingHTTPServer
from importlib.metadata import version

import psutil
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from jobs.pages import Page, json_page, serve
from ops.engines.report import Health, State

STAGE = "keeper"
LIVE_S_MAX = 30.0
"""A keeper that looked at nothing for so long is stuck."""


class KeeperPages:
    """What the keeper saw last."""

    def __init__(self) -> None:
        self._states: Mapping[str, State] = {}
        self._looked_at = time.monotonic()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        one = ("component",)
        self._up = Gauge("koban_component_up", "1 while the component is healthy.", one, registry=registry)
        self._restarts = Gauge(
            "koban_component_restarts", "Starts after the first, since the platform is up.", one, registry=registry
        )
        self._resident = Gauge(
            "koban_component_resident_bytes", "Memory of its processes, counted singly.", one, registry=registry
        )
        self._since = Gauge(
            "koban_component_since_seconds", "Since when its health is what it is, UTC.", one, registry=registry
        )

    def show(self, states: Mapping[str, State]) -> None:
        """What a round saw."""
        self._states, self._looked_at = states, time.monotonic()
        for name, state in states.items():
            self._up.labels(name).set(state.health is Health.HEALTHY)
            self._restarts.labels(name).set(state.restarts)
            self._resident.labels(name).set(state.resident_bytes)
            self._since.labels(name).set(state.since)

    def page(self, path: str) -> Page:
        """A page by its path."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry)
        if path == "/-/live":
            live = time.monotonic() - self._looked_at < LIVE_S_MAX
            return json_page(200 if live else 503, {"live": live, "stage": STAGE})
        if path == "/-/ready":
            waiting = {n: s.reason for n, s in self._states.items() if s.health is not Health.HEALTHY}
            ready = bool(self._states) and not waiting
            return json_page(200 if ready else 503, {"ready": ready, "stage": STAGE, "waiting_for": waiting})
        if path == "/-/version":
            return json_page(200, {"version": version("koban"), "stage": STAGE})
        return json_page(404, {"error": f"no page {path}"})

    def serve(self, port: int) -> ThreadingHTTPServer:
        """Serves the pages; port 0 takes a free one."""
        return serve(self.page, port)


def resident_bytes(pids: Iterable[int]) -> dict[int, int]:
    """Resident memory of each process with all it started, in one look at the machine's processes."""
    children: dict[int, list[psutil.Process]] = {}
    roots: dict[int, psutil.Process] = {}
    wanted = frozenset(pids)
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process)
        if process.pid in wanted:
            roots[process.pid] = process
    return {pid: _tree(root, children) for pid, root in roots.items()}


def _tree(process: psutil.Process, children: Mapping[int, list[psutil.Process]]) -> int:
    try:
        own = int(process.memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        own = 0
    return own + sum(_tree(child, children) for child in children.get(process.pid, ()))
