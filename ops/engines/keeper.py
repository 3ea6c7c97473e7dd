"""The keeper: starts components in the order of their needs, watches their health, and restarts what died or hangs.

It runs as a program of supervisord (``python -m ops.engines.keeper``), decides once or twice a second, and reports to
``run/state.json``. What to do about one component is decided by ``Watch``, which knows no clock and no process.
"""

from __future__ import annotations

import enum
import logging
import os
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import msgspec

from ops.engines.component import Component, NotReadyError
from ops.engines.keeper_pages import KeeperPages, resident_bytes
from ops.engines.report import Health, Report, State, read_report, report_file
from ops.engines.supervisor import Supervisor

log = logging.getLogger("koban.keeper")

TICK_S = 0.5
TICK_CALM_S = 1.0
"""Between two looks while everything is healthy."""
REPORT_S = 5.0
"""The report is written when something changed, and this often."""
PROBE_STARTING_S = 0.5
PROBE_HEALTHY_S = 5.0
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
CALM_S = 60.0
"""After this long in good health earlier failures are forgotten."""
ASKED_FOR = -1


class Action(enum.StrEnum):
    """What to do with a component now."""

    START = "start"
    STOP = "stop"


def backoff_s(failures: int) -> float:
    """Seconds to wait after the so-many-th failure in a row: none at first, then 1, 2, 4 … to a minute."""
    if failures <= 1:
        return 0.0
    return float(min(BACKOFF_FIRST_S * 2 ** min(failures - 2, 16), BACKOFF_MAX_S))


class Watch:
    """The life of one component: told what is seen, says what to do."""

    def __init__(self, component: Component, state: State | None = None) -> None:
        self.component = component
        self.state = state or State()

    def on_process(self, now: float, pid: int, *, alive: bool, may_start: bool) -> Action | None:
        """What to do, given the process as it is. ``may_start``: everything it needs is healthy."""
        if alive:
            return self._on_alive(now, pid)
        return self._on_dead(now, may_start=may_start)

    def on_probe(self, now: float, problem: str | None) -> None:
        """A probe of the living process ended; ``problem`` is None when the answer was good."""
        state = self.state
        if problem is None:
            if state.health is not Health.HEALTHY:
                state.calm_since = now
            state.health, state.reason, state.well_at = Health.HEALTHY, "", now
            if now - state.calm_since >= CALM_S:
                state.failures = 0
        elif state.pid:
            state.reason = problem
            if state.health is Health.HEALTHY:
                state.health = Health.UNHEALTHY

    def on_done(self) -> None:
        """The step ended with exit code 0."""
        self.state.pid, self.state.health, self.state.reason = 0, Health.HEALTHY, ""

    def _on_alive(self, now: float, pid: int) -> Action | None:
        state = self.state
        if pid != state.pid:
            if state.pid != ASKED_FOR:
                state.starts += 1
            state.pid, state.health, state.well_at = pid, Health.STARTING, now
        starting = state.health is Health.STARTING
        patience_s = self.component.start_s_max if starting else self.component.unhealthy_s_max
        if now - state.well_at <= patience_s:
            return None
        state.well_at = now  # said once; the death that follows is counted when it is seen
        state.reason = f"restarted after {patience_s} s without a good answer; the last: {state.reason}"
        return Action.STOP

    def _on_dead(self, now: float, *, may_start: bool) -> Action | None:
        state = self.state
        if state.pid:
            if not state.reason.startswith("restarted"):
                state.reason = "it ended; its log says why"
            state.pid, state.health = 0, Health.WAITING
            state.failures += 1
            state.not_before = now + backoff_s(state.failures)
        if not may_start:
            state.reason = state.reason or "waits for what it needs"
            return None
        if now < state.not_before:
            return None
        state.starts += 1
        state.pid = ASKED_FOR
        return Action.START


class Keeper:
    """All components of one platform."""

    def __init__(self, data_dir: Path, components: Mapping[str, Component]) -> None:
        self._data_dir = data_dir
        self._components = components
        self._supervisor = Supervisor(data_dir)
        known = read_report(data_dir)
        self._watches = {
            name: Watch(component, known.components.get(name) if known else None)
            for name, component in components.items()
        }
        self._pool = ThreadPoolExecutor(max(4, len(components)))
        self._probes: dict[str, tuple[int, Future[str | None]]] = {}
        self._probe_at: dict[str, float] = dict.fromkeys(components, 0.0)
        self._pages = KeeperPages()
        self._measured_at = -REPORT_S
        self._known_health: dict[str, Health] = {n: w.state.health for n, w in self._watches.items() if w.state.since}
        self._shown: object = None
        self._shown_at = 0.0
        self._ended = Event()

    def run(self, port: int = 0) -> None:
        """Watches until told to end; its own pages are on ``port``."""
        with suppress(OSError):  # a taken port must not keep the platform down
            self._pages.serve(port)
        signal.signal(signal.SIGTERM, lambda *_: self._ended.set())
        signal.signal(signal.SIGINT, lambda *_: self._ended.set())
        while not self._ended.is_set():
            self.tick(time.monotonic())
            calm = all(watch.state.health is Health.HEALTHY for watch in self._watches.values())
            self._ended.wait(TICK_CALM_S if calm else TICK_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def tick(self, now: float) -> None:
        """Looks at every component once."""
        try:
            processes = self._supervisor.processes()
        except OSError:
            log.exception("supervisord does not answer")
            return
        for name, watch in self._watches.items():
            row = processes.get(name)
            if row is None or row["statename"] == "STOPPING":
                continue
            if watch.component.once and row["statename"] == "EXITED" and row["exitstatus"] == 0:
                watch.on_done()
                continue
            alive = row["statename"] in {"STARTING", "RUNNING"} and row["pid"] > 0
            if alive and not watch.component.once:
                self._probe(now, watch, row["pid"])
            self._act(watch, watch.on_process(now, row["pid"], alive=alive, may_start=self._may_start(watch)))
        self._measure(now)
        states = {name: watch.state for name, watch in self._watches.items()}
        self._pages.show(states)
        self._write_report(now, states)

    def _measure(self, now: float) -> None:
        """Notes when a component's health changed, and now and then how much memory each takes."""
        for name, watch in self._watches.items():
            if self._known_health.get(name) is not watch.state.health:
                self._known_health[name] = watch.state.health
                watch.state.since = time.time()
        if now - self._measured_at >= REPORT_S:
            self._measured_at = now
            sizes = resident_bytes(watch.state.pid for watch in self._watches.values() if watch.state.pid > 0)
            for watch in self._watches.values():
                watch.state.resident_bytes = sizes.get(watch.state.pid, 0)

    def _may_start(self, watch: Watch) -> bool:
        needs = [name for name in watch.component.after if name in self._watches]
        return all(self._watches[name].state.health is Health.HEALTHY for name in needs)

    def _act(self, watch: Watch, action: Action | None) -> None:
        name = watch.component.name
        if action is Action.START:
            log.info("starting %s", name)
            with suppress(xmlrpc.client.Fault):  # could not be started at all: seen as dead at the next look
                self._supervisor.start(name)
            self._probe_at[name] = 0.0
        elif action is Action.STOP:
            log.warning("stopping %s: %s", name, watch.state.reason)
            self._supervisor.stop(name, wait=False)

    def _probe(self, now: float, watch: Watch, pid: int) -> None:
        """Takes in an answer that came, and asks again when it is time."""
        name = watch.component.name
        if name in self._probes:
            asked_pid, future = self._probes[name]
            if not future.done():
                return
            del self._probes[name]
            if asked_pid == pid == watch.state.pid:
                watch.on_probe(now, future.result())
            healthy = watch.state.health is Health.HEALTHY
            self._probe_at[name] = now + (PROBE_HEALTHY_S if healthy else PROBE_STARTING_S)
        elif now >= self._probe_at[name]:
            self._probes[name] = (pid, self._pool.submit(_ask, watch.component))

    def _write_report(self, now: float, states: dict[str, State]) -> None:
        shown = {name: (w.state.health, w.state.reason, w.state.starts) for name, w in self._watches.items()}
        if shown == self._shown and now - self._shown_at < REPORT_S:
            return
        self._shown, self._shown_at = shown, now
        report = Report(at=time.time(), keeper_pid=os.getpid(), components=states)
        path = report_file(self._data_dir)
        fresh = path.with_suffix(".json.new")
        fresh.write_bytes(msgspec.json.encode(report))
        fresh.rename(path)


def _ask(component: Component) -> str | None:
    try:
        component.probe()
    except NotReadyError as error:
        return str(error)
    except Exception as error:  # whatever a probe meets is the answer "not well"
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    from ops.engines import roster, site

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    here = site.load(Path(os.environ["KOBAN_DATA_DIR"]))
    assert here is not None, "started by `koban up`, after platform.json was written"
    Keeper(here.data_dir, roster.components(here)).run(here.ports.get("keeper", 0))


if __name__ == "__main__":
    main()
