"""A committed record of a topic, whichever client read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A committed record. ``timestamp_ms`` is the Kafka timestamp: that of the raw event that caused it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @classmethod
    def of(cls, record: Any) -> LogRecord:
        """A record as kafka-python gives it."""
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            dict(record.headers),
        )

    def header(self, name: str) -> str | None:
        """A header as text, None when it is absent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")
