"""Kills components with SIGKILL, one after another, while payments flow."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from ops.platform import Platform, PlatformError, Status

Say = Callable[[str], None]

COMPONENTS = (
    "kafka",
    "opensearch",
    "flink-taskmanager",
    "flink-jobmanager",
    "mariadb",
    "gate",
    "ledger",
    "seals",
    "alerts",
    "book",
    "search_index",
    "jobs",
    "console",
)
"""What can be killed, by its name in ``koban status``."""
PAUSE_S_MIN, PAUSE_S_MAX = 2.0, 6.0
RECOVERY_S_MAX = 180.0
POLL_S = 0.2


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One kill: which process, and how long until the component was healthy again."""

    component: str
    pid: int
    recovery_s: float


def kill_each(
    platform: Platform, components: Sequence[str], random: Random, stop: threading.Event, say: Say
) -> list[Fault]:
    """Kills each component at a random moment and waits until all is healthy again before the next.

    Raises PlatformError when one does not come back in three minutes.
    """
    faults: list[Fault] = []
    for component in components:
        if stop.wait(random.uniform(PAUSE_S_MIN, PAUSE_S_MAX)):
            break
        pid = _status(platform, component).pid
        say(f"kill -9 {component} (pid {pid})")
        os.kill(pid, signal.SIGKILL)
        recovery_s = _recovery_s(platform, component, pid)
        say(f"{component} is back after {recovery_s:.1f} s")
        faults.append(Fault(component=component, pid=pid, recovery_s=round(recovery_s, 1)))
    return faults


def _status(platform: Platform, component: str) -> Status:
    found = {status.name: status for status in platform.status()}.get(component)
    if found is None or not found.pid:
        raise PlatformError(f"{component} does not run, so it can't be killed")
    return found


def _recovery_s(platform: Platform, component: str, killed_pid: int) -> float:
    began = time.monotonic()
    while True:
        rows = platform.status()
        again = next(row for row in rows if row.name == component)
        if again.pid not in (0, killed_pid) and all(row.health == "healthy" for row in rows):
            return time.monotonic() - began
        if time.monotonic() - began > RECOVERY_S_MAX:
            late = ", ".join(f"{row.name}: {row.reason or row.health}" for row in rows if row.health != "healthy")
            raise PlatformError(f"not healthy {RECOVERY_S_MAX:.0f} s after killing {component}: {late}")
        time.sleep(POLL_S)
