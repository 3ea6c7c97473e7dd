"""A consumer of no group, for whoever looks at topics without taking part: it commits nothing and makes no topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaConsumer

from streams.brokers import connect


@contextmanager
def committed_reader(bootstrap: str, **limits: int) -> Iterator[KafkaConsumer]:
    """Sees committed records only, of what it is assigned to; ``limits`` are kafka-python's own, of a poll or a fetch.

    Raises KafkaError when no broker answers.
    """
    consumer = connect(
        KafkaConsumer,
        bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        allow_auto_create_topics=False,
        **limits,
    )
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)
