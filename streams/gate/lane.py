"""The gate's work on one lane: every record is let through, moved, dropped as a duplicate or dead-lettered."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from koban.gate.inspection import inspect
from koban.gate.masking import excerpt, without_cards
from koban.gate.seen import DUPLICATE, NEW, Seen
from koban.gate.verdict import Accepted, Limits, RejectCode, Rejected
from koban.settings import Settings
from schemas.cloudevents import HeaderMaker, texts
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode
from schemas.partitioning import lane_of
from streams.gate.origins import REPLAY_OF, Origin, origin_of, sent_ms
from streams.transport import Batch, Lane, LaneLog
from streams.transport.batch import Record

STAGE = "gate"
RAW = "payments"
REKEYED = "payments-rekeyed"
VALID = "payments-valid"
DEAD = "payments-dlq"

Count = Callable[[str, int], None]
_REASONS = {code: reason for code in RejectCode for reason in ReasonCode if reason == code.value}
_CONFLICT = "event_id: expected an id that was not used before, got one that came with another body"
_headers_of = HeaderMaker(STAGE).event


def limits_of(settings: Settings) -> Limits:
    """What the gate lets through under these settings."""
    return Limits(
        event_bytes_max=settings.event_bytes_max,
        event_depth_max=settings.event_depth_max,
        clock_ahead_s_max=settings.clock_ahead_s_max,
    )


class GateLane(Lane):
    """Judges the records of one lane in their order, and remembers its latest events to know them again."""

    def __init__(self, settings: Settings, count: Count, partition: int) -> None:
        super().__init__(partition)
        self._limits = limits_of(settings)
        self._lanes = settings.payment_partitions
        self._seen = Seen(settings.duplicate_window_events)
        self._window = settings.duplicate_window_events
        self._count = count

    async def restore(self, log: LaneLog) -> None:
        """Learns the latest events from what the lane let through: the only state there is."""
        add = self._seen.add
        async for records in log.read(VALID, last=self._window):
            for record in records:
                found = texts(record.headers)
                if (event_id := found.get("ce_id")) and (body_hash := found.get("koban_body_hash")):
                    add(event_id, bytes.fromhex(body_hash))

    async def on_batch(self, batch: Batch) -> None:
        """Judges a batch. Its order of outputs is the order of the records."""
        now_us = time.time_ns() // 1_000
        outcomes: Counter[str] = Counter()
        limits, lanes, here, add = self._limits, self._lanes, self.partition, self._seen.add
        may_move = batch.topic == RAW
        for record in batch.records:
            timestamp_ms = sent_ms(record.timestamp, now_us, limits.clock_ahead_s_max)
            verdict = inspect(record.value, timestamp_ms, limits)
            if isinstance(verdict, Rejected):
                outcome = _dead_letter(batch, record, verdict, timestamp_ms, now_us)
            elif may_move and (lane := lane_of(verdict.owner, lanes)) != here:
                outcome = _move(batch, record, verdict, lane, timestamp_ms)
            elif (standing := add(verdict.event.event_id, verdict.body_hash)) is NEW:
                outcome = _let_through(batch, record, verdict, timestamp_ms, now_us)
            elif standing is DUPLICATE:
                outcome = "duplicate"
            else:
                conflict = Rejected(RejectCode.CONFLICT, _CONFLICT, verdict.event.producer)
                outcome = _dead_letter(batch, record, conflict, timestamp_ms, now_us)
            outcomes[outcome] += 1
        for outcome, number in outcomes.items():
            self._count(outcome, number)


def gate_lane(settings: Settings, count: Count) -> Callable[[int], GateLane]:
    """Makes lanes by their partition number."""
    return partial(GateLane, settings, count)


def _let_through(batch: Batch, record: Record, accepted: Accepted, timestamp_ms: int, now_us: int) -> str:
    headers = _headers_of(accepted.event, now_us)
    headers.append(("koban_body_hash", accepted.body_hash.hex().encode()))
    headers += _origin(batch, record).headers()
    batch.emit(
        VALID,
        accepted.canonical,
        key=accepted.owner.encode(),
        headers=headers,
        timestamp_ms=timestamp_ms,
        partition=batch.partition,
    )
    return "valid"


def _move(batch: Batch, record: Record, accepted: Accepted, lane: int, timestamp_ms: int) -> str:
    """To the owner's lane, which will judge it among the owner's other events."""
    headers = _origin(batch, record).headers()
    headers += [(name, value) for name, value in record.headers if name == REPLAY_OF and value is not None]
    batch.emit(
        REKEYED,
        record.value,
        key=accepted.owner.encode(),
        headers=headers,
        timestamp_ms=timestamp_ms,
        partition=lane,
    )
    return "rekeyed"


def _dead_letter(batch: Batch, record: Record, rejected: Rejected, timestamp_ms: int, now_us: int) -> str:
    """The whole record as it came, but for card numbers; no key or value can stop it from being written."""
    origin = _origin(batch, record)
    letter = DeadLetter(
        reason_code=_REASONS[rejected.code],
        reason=rejected.reason,
        stage=STAGE,
        origin_topic=origin.topic,
        origin_partition=origin.partition,
        origin_offset=origin.offset,
        producer=rejected.producer or excerpt(texts(record.headers).get("ce_source", "unknown")),
        at_us=now_us,
    )
    headers = letter.headers()
    value, value_masked = without_cards(record.value or b"")
    key, key_masked = without_cards(record.key or b"")
    if value_masked or key_masked:
        headers.append(("koban_masked", b"1"))
    headers += [(name, text) for name, text in record.headers if name == REPLAY_OF and text is not None]
    batch.emit(
        DEAD,
        None if record.value is None else value,
        key=None if record.key is None else key,
        headers=headers,
        timestamp_ms=timestamp_ms,
        partition=batch.partition,
    )
    return f"dead_lettered_{rejected.code}"


def _origin(batch: Batch, record: Record) -> Origin:
    if batch.topic == REKEYED:
        return origin_of(record.headers, Origin(REKEYED, batch.partition, record.offset))
    return Origin(batch.topic, batch.partition, record.offset)
