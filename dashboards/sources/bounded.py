"""Questions to a store by a driver that blocks: asked from a few threads, and never waited for longer than a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from schemas.errors import Transient

LIMIT_S = 1.5
"""A person waits no longer for a store, and no longer than two seconds in all; then the answer is that it does not
answer."""
THREADS = 8

Answer = TypeVar("Answer")


class Bounded:
    """The threads of one store. A question that hangs keeps its thread until its driver gives up; others go on."""

    def __init__(self, name: str, *, limit_s: float = LIMIT_S, threads: int = THREADS) -> None:
        self.name = name
        self._limit_s = limit_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def ask(self, question: Callable[[], Answer], limit_s: float | None = None) -> Answer:
        """The answer. Raises Transient when there is none within the limit, and whatever the question raises."""
        within_s = self._limit_s if limit_s is None else limit_s
        asked = self._pool.submit(question)
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.wrap_future(asked)
        except TimeoutError as error:
            raise Transient(f"{self.name} does not answer within {within_s:g} s") from error

    def close(self) -> None:
        """Takes no further questions; those under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
