"""Latency of stock Faust: an agent, an event at a time."""

from __future__ import annotations

import faust

from ops.bench.arrivals import Arrivals
from ops.bench.task import Task

task = Task.from_environ()
arrivals = Arrivals(task.events)
app = faust.App(
    task.group,
    broker=f"aiokafka://{task.bootstrap}",
    datadir=task.settings().data_dir,
    consumer_auto_offset_reset="earliest",
    value_serializer="raw",
    web_enabled=False,
    topic_disable_leader=True,
    stream_wait_empty=False,
)


@app.agent(app.topic(task.topic, value_type=bytes, key_type=bytes))  # type: ignore[untyped-decorator]  # Faust has no types
async def work(stream: faust.Stream[bytes]) -> None:
    async for value in stream:
        arrivals.add(value)


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARN", quiet=True).execute_from_commandline()
