"""The platform's own ledger worker, whole: journal, balances, legs and offsets in transactions.

Measured from the moment it had posted a tenth of the payments to the commit of the last leg.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ops.bench.meter import WARM_UP, Cost, cpu_s, finish, peak_rss_mb
from ops.bench.task import Task
from streams.ledger.__main__ import ledger_app
from streams.ledger.lane import LEGS, VALID
from streams.transport import BatchApp

LOOK_S = 0.02


class Observer(threading.Thread):
    """Watches the worker through its own metrics: they count a record when its transaction is committed."""

    def __init__(self, app: BatchApp, events: int) -> None:
        super().__init__(daemon=True)
        self._app = app
        self._events = events

    def run(self) -> None:
        began = time.perf_counter()
        # The desk is made by the worker as it starts; asking for it sooner would make it here.
        self._await(lambda: "desk" in vars(self._app) and self._app.desk.ready)
        restored_s = time.perf_counter() - began
        self._await(lambda: self._records("in", VALID) >= self._events * WARM_UP)
        seen, wall, cpu = self._records("in", VALID), time.perf_counter(), cpu_s()
        self._await(lambda: self._records("in", VALID) == self._events)
        self._await(lambda: self._records("in", LEGS) == self._records("out", LEGS))
        spent_s, spent_cpu_s = time.perf_counter() - wall, cpu_s() - cpu
        finish(
            Cost(
                events=int(self._events - seen),
                wall_s=spent_s,
                cpu_s=spent_cpu_s,
                rss_mb=peak_rss_mb(),
                digest="",
                restored_s=restored_s,
            )
        )

    def _await(self, holds: Callable[[], bool]) -> None:
        while not holds():
            time.sleep(LOOK_S)

    def _records(self, way: str, topic: str) -> float:
        labels = {"stage": self._app.stage, "topic": topic}
        return self._app.metrics.registry.get_sample_value(f"koban_records_{way}_total", labels) or 0


def main() -> None:
    task = Task.from_environ()
    app = ledger_app(task.settings())
    Observer(app, task.events).start()
    app.main()


if __name__ == "__main__":
    main()
