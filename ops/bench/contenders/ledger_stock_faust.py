"""Stock Faust: an agent that updates payer and merchant in a table with a changelog; at least once, its default.

The merchant's account is updated in the payer's partition, without a repartition: less than the ledger does.
"""

from __future__ import annotations

import faust

from ops.bench.accounts import AccountMeter
from ops.bench.meter import ONE
from ops.bench.task import Task

task = Task.from_environ()
meter = AccountMeter(task.events)
app = faust.App(
    task.group,
    broker=f"aiokafka://{task.bootstrap}",
    datadir=task.settings().data_dir,
    consumer_auto_offset_reset="earliest",
    value_serializer="raw",
    key_serializer="raw",
    web_enabled=False,
    topic_disable_leader=True,
    topic_partitions=4,
    stream_wait_empty=False,
    broker_max_poll_records=1000,
    stream_buffer_maxsize=16_384,
)
topic = app.topic(task.topic, value_type=bytes, key_type=bytes)
balances = app.Table("balances", default=int, key_type=str, value_type=int, partitions=4)


@app.agent(topic)  # type: ignore[untyped-decorator]  # Faust has no types
async def work(stream: faust.Stream[bytes]) -> None:
    async for value in stream:
        body = ONE.decode(value).body
        payer, merchant = f"U.{body.wallet_id}.money", f"M.{body.merchant_id}.payable"
        balances[payer] -= body.amount_minor
        balances[merchant] += body.amount_minor
        if meter.post(body):
            meter.finish()


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARN", quiet=True).execute_from_commandline()
