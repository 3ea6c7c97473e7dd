"""Dead letters as they lie in Kafka, found from the newest back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from koban.records import ReplayedLetter
from koban.settings import Settings
from schemas.errors import ReasonCode
from streams.committed_reader import committed_reader
from streams.dead_letters.letters import (
    REPLAYS_TOPIC,
    TOPIC,
    DeadLettersUnavailableError,
    Letter,
    NoSuchLetterError,
    Place,
)

SCANNED_MAX = 200_000
"""A search goes at most so many offsets back in each partition."""
STEP_OFFSETS = 1_000
POLL_MS = 500
SILENT_POLLS_MAX = 30
FOREIGN = "foreign"
REPLAYS_MAX = 50_000
"""So many of the newest notes on replays are read; compaction keeps one a letter."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A search's letters, newest first; ``complete`` is False when it gave up before the end of the topic."""

    letters: list[Letter]
    complete: bool


def search(
    settings: Settings,
    *,
    reason: ReasonCode | None = None,
    since_us: int | None = None,
    limit: int = 50,
) -> Found:
    """The newest letters with this reason, rejected at or after ``since_us`` (UTC microseconds)."""

    def wanted(letter: Letter) -> bool:
        fits = reason is None or (letter.about is not None and letter.about.reason_code is reason)
        return fits and (since_us is None or letter.at_us >= since_us)

    letters: list[Letter] = []
    complete = True
    with committed_reader(settings.kafka_bootstrap, max_poll_records=STEP_OFFSETS) as consumer:
        for tp in _partitions(consumer):
            found, ended = _newest(consumer, tp, wanted, since_us, limit)
            letters += found
            complete = complete and (ended or len(found) >= limit)
        letters.sort(key=lambda letter: (-letter.at_us, letter.place))
        letters = _marked(letters[:limit], _replays(consumer))
    return Found(letters=letters, complete=complete)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters there are of each kind, the most frequent first."""

    by_reason: dict[str, int]
    by_topic: dict[str, int]
    """By the topic that the rejected record was on."""
    by_stage: dict[str, int]
    waiting: int
    """Those that nobody has sent again."""


def tally(letters: Iterable[Letter]) -> Tally:
    """Counts letters; what is no dead letter by its headers counts as ``foreign``."""
    reasons: Counter[str] = Counter()
    topics: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    waiting = 0
    for letter in letters:
        about = letter.about
        reasons[FOREIGN if about is None else about.reason_code.value] += 1
        topics[FOREIGN if about is None else about.origin_topic] += 1
        stages[FOREIGN if about is None else about.stage] += 1
        waiting += letter.replayed is None
    by_reason, by_topic, by_stage = (dict(counted.most_common()) for counted in (reasons, topics, stages))
    return Tally(by_reason=by_reason, by_topic=by_topic, by_stage=by_stage, waiting=waiting)


def fetch(settings: Settings, places: Iterable[Place]) -> list[Letter]:
    """The letters at these places. Raises NoSuchLetterError for the first place without one."""
    letters = []
    with committed_reader(settings.kafka_bootstrap, max_poll_records=STEP_OFFSETS) as consumer:
        known = {tp.partition: tp for tp in _partitions(consumer)}
        for place in places:
            tp = known.get(place.partition)
            found = [] if tp is None else list(_read(consumer, tp, place.offset, place.offset + 1))
            if not found:
                raise NoSuchLetterError(f"no dead letter at {place}; `koban dlq list` shows which there are")
            letters += found
        return _marked(letters, _replays(consumer))


def _partitions(consumer: KafkaConsumer) -> list[TopicPartition]:
    if TOPIC not in consumer.topics():
        raise DeadLettersUnavailableError(f"there is no topic {TOPIC}: create it with `koban topics apply`")
    return [TopicPartition(TOPIC, partition) for partition in sorted(consumer.partitions_for_topic(TOPIC) or ())]


def _newest(
    consumer: KafkaConsumer, tp: TopicPartition, wanted: Callable[[Letter], bool], since_us: int | None, limit: int
) -> tuple[list[Letter], bool]:
    """The newest wanted letters of a partition, and whether all that could hold more were looked at."""
    start = consumer.beginning_offsets([tp])[tp]
    upper = end = consumer.end_offsets([tp])[tp]
    found: list[Letter] = []
    while upper > start and len(found) < limit:
        if end - upper >= SCANNED_MAX:
            return found, False
        lower = max(start, upper - STEP_OFFSETS)
        newest_us = None
        step: list[Letter] = []
        for letter in _read(consumer, tp, lower, upper):
            newest_us = letter.at_us if newest_us is None else max(newest_us, letter.at_us)
            if wanted(letter):
                step.append(letter)
        found += reversed(step)
        if since_us is not None and newest_us is not None and newest_us < since_us:
            break
        upper = lower
    return found[:limit], True


def _read(consumer: KafkaConsumer, tp: TopicPartition, start: int, end: int) -> Iterator[Letter]:
    return map(Letter.of, _records(consumer, tp, start, end))


def _replays(consumer: KafkaConsumer) -> dict[str, ReplayedLetter]:
    """Place → what was last done with the letter there. Nothing on a platform that is older than the topic."""
    if REPLAYS_TOPIC not in consumer.topics():
        return {}
    tp = TopicPartition(REPLAYS_TOPIC, 0)
    end = consumer.end_offsets([tp])[tp]
    found: dict[str, ReplayedLetter] = {}
    for record in _records(consumer, tp, max(0, end - REPLAYS_MAX), end):
        try:
            replayed = msgspec.json.decode(record.value or b"", type=ReplayedLetter)
        except msgspec.DecodeError:  # a foreign record marks nothing
            continue
        found[replayed.place] = replayed
    return found


def _marked(letters: Iterable[Letter], replays: dict[str, ReplayedLetter]) -> list[Letter]:
    return [msgspec.structs.replace(letter, replayed=replays.get(str(letter.place))) for letter in letters]


def _records(consumer: KafkaConsumer, tp: TopicPartition, start: int, end: int) -> Iterator[Any]:
    """Records at offsets from ``start`` up to but not including ``end``. Transaction markers take offsets too."""
    first, last = consumer.beginning_offsets([tp])[tp], consumer.end_offsets([tp])[tp]
    start, end = max(start, first), min(end, last)
    if start >= end:
        return
    consumer.assign([tp])
    consumer.seek(tp, start)
    silent = 0
    while consumer.position(tp) < end:
        records = consumer.poll(timeout_ms=POLL_MS).get(tp, [])
        silent = 0 if records else silent + 1
        if silent > SILENT_POLLS_MAX:
            raise DeadLettersUnavailableError(f"Kafka sent nothing for {SILENT_POLLS_MAX * POLL_MS // 1000} s")
        for record in records:
            if record.offset >= end:
                return
            yield record
