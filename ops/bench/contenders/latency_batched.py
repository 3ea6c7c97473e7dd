"""Latency of the batched transport; ``--exactly-once`` with a transaction a round."""

from __future__ import annotations

import sys

from ops.bench.arrivals import Arrivals
from ops.bench.task import Task
from streams.transport import Batch, BatchApp

task = Task.from_environ()
arrivals = Arrivals(task.events)
app = BatchApp(task.group, task.settings(), exactly_once="--exactly-once" in sys.argv)


@app.batches(task.topic)
async def work(batch: Batch) -> None:
    for record in batch.records:
        arrivals.add(record.value or b"0")


if __name__ == "__main__":
    app.main()
