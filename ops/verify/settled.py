"""Verify once things have come to rest: the topic quiet, the stages caught up, or the time that was given is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from dashboards.sources import reports
from koban.settings import Settings
from ops.kafka_log import end_offsets
from ops.verify.checks import Check, run

QUIET_S = 2.0
RETRY_S = 1.0


class StillFlowingError(Exception):
    """Payments kept arriving, so that no two stores could be compared as of one moment."""


def verify(settings: Settings, wait_s: float, on_wait: Callable[[str], None] = lambda _: None) -> list[Check]:
    """Runs the checks, again while some fail and ``wait_s`` is not over: the stages may still be catching up.

    Raises StillFlowingError when the topic ``payments`` does not come to rest in ``wait_s``.
    """
    began = time.monotonic()
    deadline = began + wait_s
    _wait_until_quiet(settings, deadline)
    while True:
        checks = run(settings)
        behind = [check.name for check in checks if not check.ok]
        if not behind or time.monotonic() > deadline:
            reports.write(settings.data_dir, "verify", time.monotonic() - began, map(_told, checks))
            return checks
        on_wait(f"not there yet: {', '.join(behind)}")
        time.sleep(RETRY_S)


def _told(check: Check) -> reports.Checked:
    """A check as the console shows it: what was compared, and the first differences."""
    detail = "; ".join((f"expected {check.expected}, found {check.actual}", *check.differences[:3]))
    return reports.Checked(name=check.name, ok=check.ok, detail=detail)


def _wait_until_quiet(settings: Settings, deadline: float) -> None:
    before = end_offsets(settings.kafka_bootstrap, ["payments"])
    while True:
        time.sleep(QUIET_S)
        now = end_offsets(settings.kafka_bootstrap, ["payments"])
        if now == before:
            return
        if time.monotonic() > deadline:
            raise StillFlowingError("payments keep arriving; stop the producers, or give it more time with --wait")
        before = now
