"""The machine a benchmark runs on, and its two cores."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

LAYOUTS = ("one core", "both cores")


def describe() -> dict[str, str]:
    model = next((line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), "")
    return {
        "cores": f"{os.cpu_count()} cores",
        "processor": model or platform.machine(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed, and Python's."""
    found = {"Python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def cores(layout: str) -> tuple[set[int], set[int]]:
    """Cores of broker and generator, and cores of the contender. On one core they share it."""
    available = sorted(os.sched_getaffinity(0))
    if layout == "both cores" or len(available) == 1:
        return set(available), set(available)
    return {available[0]}, {available[1]}


@contextmanager
def confined(allowed: set[int]) -> Iterator[None]:
    """This process and all that it starts meanwhile run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def confine(process: psutil.Process, allowed: set[int]) -> None:
    """Moves a process with all its threads and children."""
    for one in [process, *process.children(recursive=True)]:
        for thread in Path(f"/proc/{one.pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), allowed)


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
