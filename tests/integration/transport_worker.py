"""A worker for the tests of the transport: copies records and numbers them, so that any loss or double shows.

``WORKER_MODE``: ``lanes`` numbers what it writes per lane, from state that it restores out of its own output (exactly
once); ``stateless`` copies at least once. A value ``bad`` makes the handler raise; ``WORKER_SLOW_MS`` delays a batch.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from koban.settings import Settings
from streams.transport import Batch, BatchApp, Lane, LaneLog

SOURCE = os.environ["WORKER_SOURCE"].split(",")
TARGET = os.environ["WORKER_TARGET"]
MODE = os.environ["WORKER_MODE"]
SLOW_S = int(os.environ.get("WORKER_SLOW_MS", "0")) / 1000

app = BatchApp(os.environ["WORKER_STAGE"], Settings.from_environ(os.environ), exactly_once=MODE == "lanes")


async def copy(batch: Batch, number: int) -> int:
    for record in batch.records:
        if record.value == b"bad":
            raise ValueError("a bad record")
        number += 1
        head = f"{number} {batch.topic} {batch.partition} {record.offset} ".encode()
        batch.emit(TARGET, head + (record.value or b""), key=record.key, partition=batch.partition)
    if SLOW_S:
        await asyncio.sleep(SLOW_S)
    app.count("copied", len(batch.records))
    return number


class NumberingLane(Lane):
    def __init__(self, partition: int) -> None:
        super().__init__(partition)
        self.number = 0

    async def restore(self, log: LaneLog) -> None:
        async for records in log.read(TARGET):
            self.number = int((records[-1].value or b"0").split()[0])
        note(f"restored {self.partition} at {self.number}")

    async def on_batch(self, batch: Batch) -> None:
        self.number = await copy(batch, self.number)

    async def close(self) -> None:
        note(f"closed {self.partition}")


def note(text: str) -> None:
    with Path(os.environ["WORKER_NOTES"]).open("a") as file:
        file.write(f"{os.getpid()} {text}\n")


if MODE == "lanes":
    app.lanes(SOURCE, NumberingLane)
else:

    @app.batches(*SOURCE)
    async def stateless(batch: Batch) -> None:
        await copy(batch, 0)


if __name__ == "__main__":
    sys.exit(app.main())
