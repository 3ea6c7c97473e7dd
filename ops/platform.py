"""A platform of one data directory: up, down, status. Everything that needs a running platform asks here."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from koban.settings import Settings
from ops.engines import apps, rootless, roster, site
from ops.engines.cache import exclusive
from ops.engines.component import Component
from ops.engines.report import Health, State, read_report, report_file
from ops.engines.site import Site
from ops.engines.supervisor import KEEPER, Supervisor, configuration

MARK = "KOBAN_PLATFORM"
"""Variable that every process of a platform carries, with its data directory; leftovers are known by it."""
UP_S_MAX = 300.0
TELL_S = 20.0
"""While something is not healthy, this often it is said what and why."""

Say = Callable[[str], None]


class PlatformError(Exception):
    """The platform did not come up, or is not there; says what to do next."""


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the environment over those of the platform in its data directory over the defaults."""
    return site.merged_settings(environ)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One component as ``koban status`` shows it."""

    name: str
    kind: str
    health: str
    """waiting, starting, healthy, unhealthy, stopped, or unknown when the keeper does not report."""
    reason: str
    state: str
    """supervisord's word for its process."""
    pid: int
    uptime_s: float
    restarts: int
    rss_mb: float
    """Of the process and all it started."""
    endpoint: str
    log: str


class Platform:
    """The platform in one data directory."""

    def __init__(self, data_dir: Path, say: Say = lambda line: print(line, file=sys.stderr)) -> None:  # noqa: T201  # progress
        self.data_dir = data_dir.absolute()
        self._say = say
        self._supervisor = Supervisor(self.data_dir)

    def site(self) -> Site:
        """What ``platform.json`` says. Raises PlatformError when nothing was ever started here."""
        found = site.load(self.data_dir)
        if found is None:
            raise PlatformError(f"no platform in {self.data_dir}; start one with `koban up`")
        return found

    @property
    def running(self) -> bool:
        return self._supervisor.pid() is not None and self._supervisor.answers()

    def up(
        self,
        only: Iterable[str] = (),
        *,
        with_apps: bool = True,
        extras: Iterable[str] = (),
        environ: Mapping[str, str] = os.environ,
        timeout_s: float = UP_S_MAX,
    ) -> Settings:
        """Starts what is chosen beside what runs already, and returns when all of it is healthy.

        Raises PlatformError when it is not within the time, ValueError for a name or setting that makes no sense.
        """
        wanted = roster.chosen(only, with_apps=with_apps, extras=extras)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        # Passable, not readable: engines that shed root pass through to their own folders.
        self.data_dir.chmod(0o711)
        for name in ("logs", "run"):
            (self.data_dir / name).mkdir(mode=0o700, exist_ok=True)
        with exclusive(self.data_dir / "run" / "up.lock"):
            here = self._start(wanted, environ)
        self._await_health(here, timeout_s)
        return here.settings

    def _start(self, wanted: tuple[str, ...], environ: Mapping[str, str]) -> Site:
        running = self.running
        before = self.site().components if running else ()
        if not running:
            self._clear_leftovers()
            report_file(self.data_dir).unlink(missing_ok=True)
            if site.load(self.data_dir) is None:  # the data directory was removed by hand; what belongs to it goes too
                shutil.rmtree(rootless.system_folder(self.data_dir), ignore_errors=True)
        names = tuple(dict.fromkeys((*before, *wanted)))
        here = site.plan(self.data_dir, names, apps.METRICS, environ, running=running)
        new = tuple(name for name in names if name not in before)
        self._say(f"preparing {', '.join(new) or 'nothing new'} in {self.data_dir}")
        roster.prepare(here, new)
        site.save(here)
        site.write_targets(here)
        self._supervisor.config_file.write_text(configuration(here, roster.components(here).values()), "utf-8")
        if not running:
            self._supervisor.launch({**os.environ, MARK: str(self.data_dir)})
        elif new:
            self._supervisor.update()
            self._supervisor.stop(KEEPER)
            self._supervisor.start(KEEPER)
        return here

    def _await_health(self, here: Site, timeout_s: float) -> None:
        began = time.monotonic()
        told = began
        healthy: set[str] = set()
        while True:
            report = read_report(self.data_dir)
            states = report.components if report else {}
            for name in here.components:
                if name not in healthy and name in states and states[name].health is Health.HEALTHY:
                    healthy.add(name)
                    self._say(f"{name} is healthy after {time.monotonic() - began:.1f} s")
            if healthy.issuperset(here.components):
                return
            if self._supervisor.pid() is None:
                raise PlatformError(f"the supervisor ended; see {here.logs}/supervisord.log")
            late = [n for n in here.components if n not in healthy]
            reasons = "; ".join(f"{n}: {states[n].reason if n in states else 'not started'}" for n in late)
            if time.monotonic() - began > timeout_s:
                raise PlatformError(f"not healthy after {timeout_s:.0f} s: {reasons}; see `koban logs {late[0]}`")
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._say(f"not yet: {reasons}")
            time.sleep(0.1)

    def down(self) -> None:
        """Stops everything in the reverse order of starting, and whatever a crash left behind."""
        if self.running:
            self._stop_in_order(roster.components(self.site()))
        self._supervisor.shut_down()
        self._clear_leftovers()

    def erase(self) -> None:
        """Removes all that the platform ever stored, wherever its engines keep it. It must not be running."""
        assert not self.running, f"the platform in {self.data_dir} runs"
        shutil.rmtree(self.data_dir, ignore_errors=True)
        shutil.rmtree(rootless.system_folder(self.data_dir), ignore_errors=True)

    def _stop_in_order(self, components: Mapping[str, Component]) -> None:
        self._supervisor.stop(KEEPER)  # first, so that nothing is started again
        left = dict(components)
        while left:
            needed = {need for part in left.values() for need in part.after}
            ready = [name for name in left if name not in needed]
            assert ready, "components wait for each other in a circle"
            for name in ready:
                self._supervisor.stop(name, wait=False)
            self._await_end(ready, max(left[name].stop_s_max for name in ready) + 10)
            for name in ready:
                del left[name]
                self._say(f"{name} stopped")

    def _await_end(self, names: list[str], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            rows = self._supervisor.processes()
            if all(rows[name]["pid"] == 0 for name in names if name in rows):
                return
            time.sleep(0.1)

    def _clear_leftovers(self) -> None:
        """Ends processes that carry this platform's mark though its supervisor is gone."""
        left = leftovers(self.data_dir)
        for process in left:
            self._say(f"ending a leftover: {process.pid}")
            with suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(left, timeout=15)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=5)

    def status(self) -> list[Status]:
        """Every component of the site. Raises PlatformError when nothing was ever started here."""
        here = self.site()
        rows = self._supervisor.processes() if self.running else {}
        report = read_report(self.data_dir) if rows else None
        states = report.components if report else {}
        return [_status(here, part, rows.get(name), states.get(name)) for name, part in roster.components(here).items()]


def leftovers(data_dir: Path) -> list[psutil.Process]:
    """Processes of a platform whose supervisor is gone. Those of other users can't be seen and don't count."""
    return [process for process in psutil.process_iter() if _marked(process, data_dir)]


def _marked(process: psutil.Process, data_dir: Path) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARK) == str(data_dir)
    return False


def _status(here: Site, part: Component, row: dict[str, Any] | None, state: State | None) -> Status:
    pid = row["pid"] if row else 0
    return Status(
        name=part.name,
        kind=part.kind,
        health=state.health_of(pid).value if state else "unknown" if pid else "stopped",
        reason=state.reason if state else "",
        state=row["statename"] if row else "STOPPED",
        pid=pid,
        uptime_s=float(row["now"] - row["start"]) if row and pid else 0.0,
        restarts=state.restarts if state else 0,
        rss_mb=round(rss_bytes(pid) / 1e6, 1) if pid else 0.0,
        endpoint=part.endpoint,
        log=str(here.logs / f"{part.name}.log"),
    )


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it is gone."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total


@contextmanager
def platform(
    data_dir: Path, only: Iterable[str] = (), *, with_apps: bool = False, keep: bool = True
) -> Iterator[Settings]:
    """A platform for the length of a block: ``with platform(folder, only=("kafka",)) as settings``.

    It takes no endpoint from the environment; with ``keep=False`` its data is removed afterwards.
    """
    here = Platform(data_dir)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
    try:
        yield here.up(only, with_apps=with_apps, environ=clean)
    finally:
        here.down()
        if not keep:
            here.erase()
