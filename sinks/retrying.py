"""A sink that tries again: only the items that could not be written, with a growing pause."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from sinks.contract import Item, Outcome, Result, Sink

PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 5.0


class RetryingSink:
    """Wraps a sink so that ``RETRY`` is the answer only when ``attempts_max`` tries did not help; None: never.

    While items wait, ``waiting_since`` is the monotonic second at which the trouble began and ``waiting_for`` its
    reason: what a health page shows. The items of one call are held meanwhile, and nothing else, so memory is bounded
    by the caller's batch.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        attempts_max: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        randomness: random.Random | None = None,
    ) -> None:
        self._sink = sink
        self._attempts_max = attempts_max
        self._sleep = sleep
        self._clock = clock
        self._randomness = randomness or random.Random()
        self.waiting_since: float | None = None
        self.waiting_for = ""

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """See ``Sink.write``."""
        results = await self._sink.write(items)
        pauses = self._pauses()
        while waiting := [at for at, result in enumerate(results) if result.outcome is Outcome.RETRY]:
            self.waiting_since = self.waiting_since or self._clock()
            self.waiting_for = results[waiting[0]].reason
            pause_s = next(pauses, None)
            if pause_s is None:
                return results
            await self._sleep(pause_s)
            again = await self._sink.write([items[at] for at in waiting])
            for at, result in zip(waiting, again, strict=True):
                results[at] = result
        self.waiting_since, self.waiting_for = None, ""
        return results

    async def close(self) -> None:
        """Close the sink inside."""
        await self._sink.close()

    def _pauses(self) -> Iterator[float]:
        """Doubling pauses, each shortened by up to half at random so that workers do not come back together."""
        pause_s, attempts = PAUSE_S_MIN, 1
        while self._attempts_max is None or attempts < self._attempts_max:
            yield pause_s * (0.5 + self._randomness.random() / 2)
            pause_s, attempts = min(pause_s * 2, PAUSE_S_MAX), attempts + 1
