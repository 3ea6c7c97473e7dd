"""Dead letters: found from the newest back, judged anew by the gate's own rules, and sent again after a fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from koban.gate.inspection import inspect
from koban.gate.verdict import Limits, Rejected
from koban.settings import Settings
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode
from schemas.partitioning import lane_of

TOPIC = "payments-dlq"
RAW_TOPIC = "payments"
LEDGER_TOPIC = "ledger-replays"
"""Where an event goes that the ledger alone refused: all other stages have taken it in already."""
REPLAY_OF = "koban_replay_of"
SCANNED_MAX = 200_000
"""A search goes at most so many offsets back in each partition."""
STEP_OFFSETS = 1_000
POLL_MS = 500
SILENT_POLLS_MAX = 30
RECORD_BYTES_MAX = 16_777_216


class DeadLettersUnavailableError(Exception):
    """Kafka did not answer, or there is no such topic; says what to do next."""


class NoSuchLetterError(LookupError):
    """There is no dead letter at a place; says which."""


class Place(NamedTuple):
    """Where a dead letter lies: partition and offset in the dead-letter topic, written ``P:OFFSET``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ValueError for anything but two numbers around a colon."""
        match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,18})", text)
        if match is None:
            raise ValueError(f"{text!r} is no place of a dead letter; it looks like 0:17 (partition:offset)")
        return cls(int(match[1]), int(match[2]))


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. ``about`` is None when its headers are not a dead letter's: a foreign record."""

    place: Place
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    about: DeadLetter | None

    @property
    def at_us(self) -> int:
        """When it was rejected, in UTC microseconds; when its record was sent, if that can't be told."""
        return self.timestamp_ms * 1_000 if self.about is None else self.about.at_us

    @property
    def masked(self) -> bool:
        """Whether card numbers were masked in it: then it is not quite what was sent."""
        return any(name == "koban_masked" for name, _ in self.headers)


class Fate(StrEnum):
    """What a replay would come to."""

    VALID = "valid"
    """The gate would let it through; sent a second time, it would drop it as a duplicate."""
    REJECTED = "rejected"
    """The gate would reject it again."""
    KNOWN = "known"
    """Its event id was used before, so it would be a duplicate or a conflict: it needs another id."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as it would be sent again, and what would come of it."""

    place: Place
    fate: Fate
    detail: str
    event_id: str | None = None
    owner: str | None = None
    value: bytes | None = None
    topic: str = RAW_TOPIC
    """Where it would be sent."""


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
    with _consumer(settings) as consumer:
        for tp in _partitions(consumer):
            found, ended = _newest(consumer, tp, wanted, since_us, limit)
            letters += found
            complete = complete and (ended or len(found) >= limit)
    letters.sort(key=lambda letter: (-letter.at_us, letter.place))
    return Found(letters=letters[:limit], complete=complete)


def fetch(settings: Settings, places: Iterable[Place]) -> list[Letter]:
    """The letters at these places. Raises NoSuchLetterError for the first place without one."""
    letters = []
    with _consumer(settings) as consumer:
        known = {tp.partition: tp for tp in _partitions(consumer)}
        for place in places:
            tp = known.get(place.partition)
            found = [] if tp is None else list(_read(consumer, tp, place.offset, place.offset + 1))
            if not found:
                raise NoSuchLetterError(f"no dead letter at {place}; `koban dlq list` shows which there are")
            letters += found
    return letters


def judge(letter: Letter, value: bytes | None, now_ms: int, settings: Settings) -> Replay:
    """What the gate would make of ``value``, sent at ``now_ms`` (UTC) in the place of the letter's own."""
    limits = Limits(
        event_bytes_max=settings.event_bytes_max,
        event_depth_max=settings.event_depth_max,
        clock_ahead_s_max=settings.clock_ahead_s_max,
    )
    verdict = inspect(value, now_ms, limits)
    if isinstance(verdict, Rejected):
        return Replay(place=letter.place, fate=Fate.REJECTED, detail=f"{verdict.code}: {verdict.reason}")
    event_id = verdict.event.event_id
    if _refused_by_the_ledger(letter) and value == letter.value:
        return Replay(
            place=letter.place,
            fate=Fate.VALID,
            detail=f"{type(verdict.event).__name__} of {verdict.owner}, to be judged again by the ledger",
            event_id=event_id,
            owner=verdict.owner,
            value=value,
            topic=LEDGER_TOPIC,
        )
    known = letter.about is not None and (letter.about.stage != "gate" or letter.about.reason_code == "conflict")
    if known and event_id == _event_id(letter.value):
        detail = f"event id {event_id} was used before: give it another with --set event_id=…"
        return Replay(place=letter.place, fate=Fate.KNOWN, detail=detail, event_id=event_id)
    return Replay(
        place=letter.place,
        fate=Fate.VALID,
        detail=f"{type(verdict.event).__name__} of {verdict.owner}",
        event_id=event_id,
        owner=verdict.owner,
        value=value,
    )


def _refused_by_the_ledger(letter: Letter) -> bool:
    """Whether the gate let the event through and the ledger's rules refused it; decisions of cashback don't count."""
    about = letter.about
    if about is None or about.stage != "ledger" or about.reason_code is not ReasonCode.REFUSED:
        return False
    return about.origin_topic in ("payments-valid", LEDGER_TOPIC)


def send(settings: Settings, replays: Sequence[Replay]) -> None:
    """Sends valid replays, each to its topic and keyed by owner, and returns when the brokers have all of them."""
    producer = KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, acks="all", max_request_size=RECORD_BYTES_MAX, linger_ms=5
    )
    try:
        sent = []
        for replay in replays:
            assert replay.owner is not None
            sent.append(
                producer.send(
                    replay.topic,
                    value=replay.value,
                    key=replay.owner.encode(),
                    headers=[(REPLAY_OF, str(replay.place).encode())],
                    partition=lane_of(replay.owner, settings.payment_partitions),
                )
            )
        for future in sent:
            future.get(timeout=30)
    finally:
        producer.close()


def with_fields(value: bytes | None, fields: Sequence[tuple[str, Any]]) -> bytes:
    """The JSON value with fields set by dotted path (``body.tenders.0.amount_minor``); None takes a field out.

    Raises ValueError when the value is no JSON object, or a path leads nowhere.
    """
    try:
        document = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the dead letter is no JSON ({error}): mend it in a file and give it with --edit") from error
    for path, to in fields:
        _set(document, path, to)
    return msgspec.json.encode(document)


def _set(document: Any, path: str, to: Any) -> None:
    *steps, last = path.split(".")
    holder = document
    for step in steps:
        holder = _item(holder, step, path)
    if isinstance(holder, dict):
        if to is None:
            holder.pop(last, None)
        else:
            holder[last] = to
    elif isinstance(holder, list) and last.isdecimal() and int(last) < len(holder):
        holder[int(last)] = to
    else:
        raise ValueError(f"{path} leads nowhere in the dead letter")


def _item(holder: Any, step: str, path: str) -> Any:
    if isinstance(holder, dict) and step in holder:
        return holder[step]
    if isinstance(holder, list) and step.isdecimal() and int(step) < len(holder):
        return holder[int(step)]
    raise ValueError(f"{path} leads nowhere in the dead letter: it has no {step}")


def _event_id(value: bytes | None) -> str | None:
    try:
        document = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document.get("event_id") if isinstance(document, dict) else None


@contextmanager
def _consumer(settings: Settings) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        allow_auto_create_topics=False,
        max_poll_records=STEP_OFFSETS,
    )
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)


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
    """Letters at offsets from ``start`` up to but not including ``end``. Transaction markers take offsets too."""
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
            yield _letter(record)


def _letter(record: Any) -> Letter:
    headers = list(record.headers)
    try:
        about = DeadLetter.read(headers)
    except ValueError:
        about = None
    return Letter(
        place=Place(record.partition, record.offset),
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=headers,
        about=about,
    )
