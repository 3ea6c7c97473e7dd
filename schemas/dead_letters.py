"""The headers of a dead letter: why it was rejected, by whom, where it came from. Its value is the original bytes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from schemas.cloudevents import Headers, texts
from schemas.errors import InvalidEvent, ReasonCode

_REASON_CHARACTERS_MAX = 500
_PRODUCER_CHARACTERS_MAX = 64
_PREFIX = "koban_"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a rejected record. `at_us` is when the stage rejected it."""

    reason_code: ReasonCode
    reason: str
    stage: str
    origin_topic: str
    origin_partition: int
    origin_offset: int
    producer: str = "unknown"
    """Who sent the record, as far as it could be read."""
    at_us: int

    @classmethod
    def of(
        cls, error: InvalidEvent, *, stage: str, topic: str, partition: int, offset: int, at_us: int, producer: str
    ) -> DeadLetter:
        """The dead letter for an error that a stage met at a place; the place that the error names goes first."""
        return cls(
            reason_code=error.code,
            reason=error.reason,
            stage=stage,
            origin_topic=error.topic if error.topic is not None else topic,
            origin_partition=error.partition if error.partition is not None else partition,
            origin_offset=error.offset if error.offset is not None else offset,
            producer=producer,
            at_us=at_us,
        )

    def headers(self) -> Headers:
        """The Kafka headers; long texts are cut, so that they stay small whatever the record held."""
        return [
            ("koban_reason_code", self.reason_code.encode()),
            ("koban_reason", self.reason[:_REASON_CHARACTERS_MAX].encode(errors="replace")),
            ("koban_stage", self.stage.encode()),
            ("koban_origin_topic", self.origin_topic.encode()),
            ("koban_origin_partition", b"%d" % self.origin_partition),
            ("koban_origin_offset", b"%d" % self.origin_offset),
            ("koban_producer", self.producer[:_PRODUCER_CHARACTERS_MAX].encode(errors="replace")),
            ("koban_at_us", b"%d" % self.at_us),
        ]

    @classmethod
    def read(cls, headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter:
        """The dead letter in a record's headers. Raises ValueError naming the header that is missing or wrong."""
        fields = {name.removeprefix(_PREFIX): text for name, text in texts(headers).items() if name.startswith(_PREFIX)}
        try:
            return msgspec.convert(fields, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"not a dead letter: {error}") from error
