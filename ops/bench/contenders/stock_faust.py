"""Stock Faust: an agent, an event at a time or (``--take``) up to a thousand with ``stream.take``."""

from __future__ import annotations

import sys

import faust

from ops.bench.contenders.faust_app import THROUGHPUT, stock_app, work_until_done
from ops.bench.meter import Meter
from ops.bench.task import Task

TAKE = 1000
TAKE_WITHIN_S = 0.2

task = Task.from_environ()
meter = Meter(task.events)
app = stock_app(task, **THROUGHPUT)
topic = app.topic(task.topic, value_type=bytes, key_type=bytes)


if "--take" in sys.argv:

    @app.agent(topic)  # type: ignore[untyped-decorator]  # Faust has no types
    async def work(stream: faust.Stream[bytes]) -> None:
        async for values in stream.take(TAKE, within=TAKE_WITHIN_S):
            if meter.add_all(values):
                meter.finish()
else:

    @app.agent(topic)  # type: ignore[untyped-decorator]  # Faust has no types
    async def work(stream: faust.Stream[bytes]) -> None:
        async for value in stream:
            if meter.add(value):
                meter.finish()


if __name__ == "__main__":
    work_until_done(app)
