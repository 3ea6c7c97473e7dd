"""Virtual time and simulated processes: who runs next, and how long a message takes, one random source decides.

A process is an asyncio event loop of its own. Inside a process callbacks keep their order, as in any event loop;
between processes nothing is promised. A process can be frozen (its callbacks wait) and killed (they never come).
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any


class Clockwork:
    """The clock of all processes. Time moves only when nobody has anything left to do."""

    def __init__(self, random: Random) -> None:
        self.now_s = 0.0
        self.random = random
        self.processes: list[Process] = []
        self.tell: Callable[[str], None] | None = None
        """Who hears what happens, for a seed that somebody looks into."""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0

    def at(self, at_s: float, step: Callable[[], None]) -> None:
        """Does something at a moment, outside of all processes: a message arrives, a fault happens."""
        self._numbers += 1
        heapq.heappush(self._agenda, (max(at_s, self.now_s), self._numbers, step))

    def later(self, in_s: float, step: Callable[[], None]) -> None:
        self.at(self.now_s + in_s, step)

    def note(self, what: str) -> None:
        """Tells what has just happened."""
        if self.tell is not None:
            self.tell(f"{self.now_s:8.3f} s  {what}")

    def run(self, until: Callable[[], bool], at_s_max: float) -> bool:
        """Runs until something holds, which is looked at whenever time moves; False when it does not by `at_s_max`."""
        try:
            while self.now_s <= at_s_max:
                self._run_ready()
                if until():
                    return True
                if not self._agenda:
                    return False
                self.now_s, _, step = heapq.heappop(self._agenda)
                step()
        finally:
            asyncio._set_running_loop(None)
        return False

    def _run_ready(self) -> None:
        while True:
            ready = [process for process in self.processes if process.ready and not process.frozen]
            if not ready:
                return
            process = ready[0] if len(ready) == 1 else ready[int(self.random.random() * len(ready))]
            asyncio._set_running_loop(process)
            process.ready.popleft()._run()


class Process(asyncio.AbstractEventLoop):
    """One simulated process: just enough of an event loop for tasks, futures, timers and time-outs."""

    def __init__(self, clock: Clockwork, name: str) -> None:
        self.name = name
        self.clock = clock
        self.alive = True
        self.frozen = False
        self.ready: deque[asyncio.Handle] = deque()
        self.errors: list[BaseException] = []
        """What was raised where nobody caught it."""
        clock.processes.append(self)

    def start(self, steps: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The process's main task, set up from outside of it."""
        return self.create_task(steps)

    def kill(self) -> None:
        """Nothing of it runs any more. What it has sent may still arrive."""
        self.alive = False
        for handle in self.ready:
            task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
            if isinstance(task, asyncio.Task):
                _forget_unbegun(task.get_coro())
        self.ready.clear()
        if self in self.clock.processes:
            self.clock.processes.remove(self)

    def freeze(self, for_s: float) -> None:
        """As SIGSTOP, and SIGCONT some time later: what came meanwhile is found waiting."""
        self.frozen = True
        self.clock.note(f"{self.name} freezes")

        def thaw() -> None:
            self.frozen = False

        self.clock.later(for_s, thaw)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.clock.now_s

    def call_soon(  # type: ignore[override]  # asyncio types its arguments more closely
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self.alive:
            self.ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]  # same
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def due() -> None:
            if self.alive and not handle.cancelled():
                self.ready.append(handle)

        self.clock.at(when, due)
        return handle

    def call_later(  # type: ignore[override]  # same
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.clock.now_s + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed process leaves tasks behind
        if not self.alive:
            _forget_unbegun(coro)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context.get("message"))
        if self.alive:
            self.errors.append(error)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays on the agenda and does nothing."""


def _forget_unbegun(coro: Any) -> None:
    """Python warns of a coroutine that never began; in a killed process that is no mistake."""
    if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
        coro.close()
