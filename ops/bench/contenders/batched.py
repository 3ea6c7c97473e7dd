"""The batched transport. ``--write`` copies each payment to the target, ``--exactly-once`` does so in transactions."""

from __future__ import annotations

import asyncio
import sys

from ops.bench.meter import Meter
from ops.bench.task import Task
from streams.transport import Batch, BatchApp

LOOK_S = 0.01

task = Task.from_environ()
meter = Meter(task.events)
write = "--write" in sys.argv
app = BatchApp(task.group, task.settings(), exactly_once="--exactly-once" in sys.argv)
ending: list[asyncio.Task[None]] = []


@app.batches(task.topic)
async def work(batch: Batch) -> None:
    last = meter.add_all([record.value or b"" for record in batch.records])
    if write:
        partition = batch.partition
        for record in batch.records:
            batch.emit(task.target, record.value, key=record.key, timestamp_ms=record.timestamp, partition=partition)
        if not ending:
            ending.append(asyncio.create_task(end_when_written()))
    elif last:
        meter.finish()


async def end_when_written() -> None:
    """The clock runs until the last output is written and, in exactly-once mode, committed."""
    labels = {"stage": task.group, "topic": task.target}
    while (app.metrics.registry.get_sample_value("koban_records_out_total", labels) or 0) < task.events:  # noqa: ASYNC110  # the count is all there is to see
        await asyncio.sleep(LOOK_S)
    meter.finish()


if __name__ == "__main__":
    app.main()
