"""Latency of stock Faust: an agent, an event at a time."""

from __future__ import annotations

import faust

from ops.bench.arrivals import Arrivals
from ops.bench.contenders.faust_app import stock_app, work_until_done
from ops.bench.task import Task

task = Task.from_environ()
arrivals = Arrivals(task.events)
app = stock_app(task)


@app.agent(app.topic(task.topic, value_type=bytes, key_type=bytes))  # type: ignore[untyped-decorator]  # Faust has no types
async def work(stream: faust.Stream[bytes]) -> None:
    async for value in stream:
        arrivals.add(value)


if __name__ == "__main__":
    work_until_done(app)
