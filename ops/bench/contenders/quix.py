"""quixstreams: a StreamingDataFrame whose callback keeps the totals in memory; at least once, the default."""

from __future__ import annotations

from quixstreams import Application

from ops.bench.meter import Meter
from ops.bench.task import Task


def main() -> None:
    task = Task.from_environ()
    meter = Meter(task.events)
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="WARNING",
        state_dir=str(task.settings().data_dir),
    )

    def work(value: bytes) -> None:
        if meter.add(value):
            meter.finish()

    topic = app.topic(task.topic, value_deserializer="bytes", key_deserializer="bytes")
    app.dataframe(topic).update(work)
    app.run()


if __name__ == "__main__":
    main()
