"""Stock Faust: an agent that updates payer and merchant in a table with a changelog; at least once, its default.

The merchant's account is updated in the payer's partition, without a repartition: less than the ledger does.
"""

from __future__ import annotations

import faust

from ops.bench.accounts import AccountMeter
from ops.bench.contenders.faust_app import THROUGHPUT, stock_app, work_until_done
from ops.bench.meter import ONE
from ops.bench.task import Task

task = Task.from_environ()
meter = AccountMeter(task.events)
app = stock_app(task, topic_partitions=4, **THROUGHPUT)
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
    work_until_done(app)
