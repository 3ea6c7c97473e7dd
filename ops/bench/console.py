"""The console under load: readers while payments flow, on a demo of its own or on a platform that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec

from dashboards.people.roles import Role
from dashboards.people.service import People
from koban.settings import Settings
from ops.bench.console_load import LET_IN_BY, Load
from ops.bench.machine import describe
from ops.bench.report import ROOT
from ops.demo.people import BY, EVERYTHING
from ops.demo.run import Plan, Say, run
from ops.platform import Platform

RATE_PER_S, PAYMENTS_PER_S = 100.0, 300.0
P95_MS_MAX = 100.0
SECONDS, QUICK_SECONDS = 60.0, 15.0
SETTLE_S = 10.0
"""Between the last component's start and the first request: a platform that just started has caches to fill."""
GRACE_S = 60.0
SEED, MERCHANTS, USERS = 1, 300, 6_000


class ConsoleReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result: what the readers saw, and whether the target is reached."""

    ok: bool
    target: str
    payments_per_s: float | None
    """None: a platform that ran already; how much flowed is its own affair."""
    machine: dict[str, str]
    load: Load
    stage: str = "console"


def on_a_demo(seconds: float, say: Say) -> ConsoleReport:
    """Starts a demo in a folder of its own, loads its console while payments flow, and stops it."""
    with tempfile.TemporaryDirectory(prefix="koban-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # two engines run as another user when this one is root
        platform = Platform(folder / "platform", say)
        seen: list[Load] = []

        def disturb(stop: threading.Event) -> None:
            stop.wait(SETTLE_S)
            url = platform.site().settings.console_url
            say(f"{RATE_PER_S:.0f} requests/s for {seconds:.0f} s at {url}")
            seen.append(readers(url, seconds, _token(platform.site().settings)))

        plan = Plan(
            data_dir=platform.data_dir, seconds=None, tps=PAYMENTS_PER_S, seed=SEED, users=USERS, merchants=MERCHANTS,
            check=False,
        )  # fmt: skip
        try:
            run(plan, platform, threading.Event(), say, disturb)
        finally:
            platform.down()
    return report(seen[0], PAYMENTS_PER_S)


def on(url: str, seconds: float) -> ConsoleReport:
    """Loads a console that runs."""
    return report(readers(url, seconds), None)


def _token(settings: Settings) -> str:
    """What lets the readers in, as the demo's operator."""
    people = People.of(settings)
    try:
        return people.tokens.create(EVERYTHING, Role.OPERATOR, "bench", 1, BY)[0]
    finally:
        people.close()


def readers(url: str, seconds: float, token: str = "") -> Load:
    """The readers, as a process of their own. Raises CalledProcessError when they can't reach the console."""
    environ = os.environ | ({LET_IN_BY: token} if token else {})
    command = [sys.executable, "-m", "ops.bench.console_load", url, str(seconds), str(RATE_PER_S)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=seconds + GRACE_S, env=environ, check=True)
    return msgspec.json.decode(done.stdout, type=Load)


def report(load: Load, payments_per_s: float | None) -> ConsoleReport:
    """Whether every answer was right, and 95 of 100 in time."""
    whole = load.rows[0]
    return ConsoleReport(
        ok=not whole.errors and whole.server_p95_ms <= P95_MS_MAX,
        target=f"server time p95 at most {P95_MS_MAX:.0f} ms at {RATE_PER_S:.0f} requests/s, no error",
        payments_per_s=payments_per_s,
        machine=describe(),
        load=load,
    )
