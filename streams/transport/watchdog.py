"""Ends a worker that is stuck: records wait and none was worked on, or the event loop does not turn.

It is a thread, so that it also sees a handler that never returns, and it ends the process the hard way, for whatever is
stuck would be stuck in a clean stop too. The supervisor starts the worker afresh.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("koban.transport")

EXIT_STUCK = 75
"""The exit code, ``EX_TEMPFAIL``: trying again may help."""


class Watchdog:
    """``beat`` from the event loop; ``progress_at`` and ``behind`` are read as they are."""

    def __init__(
        self,
        stall_s_max: float,
        *,
        progress_at: Callable[[], float],
        behind: Callable[[], bool],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._stall_s_max = stall_s_max
        self._progress_at = progress_at
        self._behind = behind
        self._end = end
        self._beat_at = time.monotonic()
        self._caught_up_at = self._beat_at
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def beat(self) -> None:
        self._beat_at = time.monotonic()

    def reason(self, now: float) -> str | None:
        """Why the worker counts as stuck at this monotonic time; None while all is well."""
        if now - self._beat_at > self._stall_s_max:
            return f"the event loop has not turned for {now - self._beat_at:.0f} s"
        if not self._behind():
            self._caught_up_at = now
        still_s = now - max(self._progress_at(), self._caught_up_at)
        if still_s > self._stall_s_max:
            return f"records wait, and none was worked on for {still_s:.0f} s"
        return None

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._stall_s_max / 4)):
            reason = self.reason(time.monotonic())
            if reason is not None:
                logger.critical("stuck: %s; the worker ends", reason)
                faulthandler.dump_traceback()
                self._end(EXIT_STUCK)
                return
