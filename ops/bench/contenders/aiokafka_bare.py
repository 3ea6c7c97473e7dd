"""The roofline: aiokafka's ``getmany``, decode, discard. No state, no offsets, no group."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.bench.meter import Meter
from ops.bench.task import Task


async def main() -> None:
    task = Task.from_environ()
    meter = Meter(task.events)
    consumer = AIOKafkaConsumer(bootstrap_servers=task.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    await consumer.topics()
    consumer.assign([TopicPartition(task.topic, lane) for lane in range(4)])
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            if meter.discard_all([record.value for record in records]):
                meter.finish()


if __name__ == "__main__":
    asyncio.run(main())
