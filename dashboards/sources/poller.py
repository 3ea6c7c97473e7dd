"""One source polled once a second: its last good answer, and since when there is none."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

logger = logging.getLogger("koban.console")

TIMEOUT_S = 2.0
EVERY_S = 1.0

Value = TypeVar("Value")


class Poller(Generic[Value]):
    """Asks a source again and again, never twice at a time and never longer than its timeout."""

    def __init__(
        self,
        name: str,
        ask: Callable[[], Awaitable[Value]],
        *,
        every_s: float = EVERY_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.value: Value | None = None
        """The last good answer."""
        self.at: float | None = None
        """When it came, in seconds since the epoch."""
        self.down_since: float | None = None
        """When the answers stopped; None while they come, and before the first was tried."""
        self.reason = ""
        self._ask = ask
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._clock = clock

    async def once(self) -> None:
        """Ask once. Raises nothing but cancellation."""
        try:
            async with asyncio.timeout(self._timeout_s):
                self.value = await self._ask()
            self.at = self._clock()
            if self.down_since is not None:
                logger.info("%s answers again", self.name)
            self.down_since, self.reason = None, ""
        except Exception as error:  # a source may fail in any way; the console must not
            reason = f"no answer within {self._timeout_s:.0f} s" if isinstance(error, TimeoutError) else str(error)
            if self.down_since is None or reason != self.reason:
                logger.warning("%s is down: %s: %s", self.name, type(error).__name__, reason)
            self.reason = reason
            self.down_since = self.down_since or self._clock()

    async def forever(self) -> None:
        """Ask until cancelled."""
        while True:
            started = time.monotonic()
            await self.once()
            await asyncio.sleep(max(0.0, self._every_s - (time.monotonic() - started)))
