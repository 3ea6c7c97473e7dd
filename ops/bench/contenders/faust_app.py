"""Stock Faust, set up alike in every contender."""

from __future__ import annotations

from typing import Any

import faust

from ops.bench.task import Task

THROUGHPUT = {"broker_max_poll_records": 1000, "stream_buffer_maxsize": 16_384}
"""Poll size and buffers raised, as its documents recommend for many events."""


def stock_app(task: Task, **settings: Any) -> faust.App:
    """An app that reads a topic from its start and serves no pages; ``settings`` come on top."""
    return faust.App(
        task.group,
        broker=f"aiokafka://{task.bootstrap}",
        datadir=task.settings().data_dir,
        consumer_auto_offset_reset="earliest",
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        **settings,
    )


def work_until_done(app: faust.App) -> None:
    """Runs the app's worker; its agent ends the process."""
    faust.Worker(app, loglevel="WARN", quiet=True).execute_from_commandline()
