"""quixstreams: each payment gives two rows, regrouped by account, and a balance in RocksDB with a changelog.

``--exactly-once`` uses its transactions, else it is at least once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from quixstreams import Application, State

from ops.bench.accounts import AccountMeter
from ops.bench.meter import ONE
from ops.bench.task import Task


def rows(value: bytes) -> Iterable[dict[str, Any]]:
    body = ONE.decode(value).body
    yield {"account": f"U.{body.wallet_id}.money", "change": -body.amount_minor}
    yield {"account": f"M.{body.merchant_id}.payable", "change": body.amount_minor}


def main() -> None:
    task = Task.from_environ()
    meter = AccountMeter(task.events)
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if "--exactly-once" in sys.argv else "at-least-once",
        loglevel="WARNING",
        state_dir=str(task.settings().data_dir),
    )

    def post(row: dict[str, Any], state: State) -> None:
        balance = state.get("balance", 0) + row["change"]
        state.set("balance", balance)
        if meter.set(row["account"], balance):
            meter.finish()

    topic = app.topic(task.topic, value_deserializer="bytes", key_deserializer="bytes")
    frame = app.dataframe(topic).apply(rows, expand=True).group_by("account")
    frame.update(post, stateful=True)
    app.run()


if __name__ == "__main__":
    main()
