"""One lane of the alerts stage: signals in, the latest state of each alert out."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from koban.fraud.episodes import Episodes
from koban.records import Alert, Signal
from schemas.cloudevents import HeaderMaker
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent, ReasonCode
from streams.transport import Batch, Lane, LaneLog, Record

STAGE = "alerts"
SIGNALS, ALERTS, DEAD_LETTERS = "fraud-signals", "alerts", "payments-dlq"
RESTORED_ALERTS = 50_000
"""Alert states of a lane that are read back at a start: far more than can be open at a time."""

_signal = msgspec.json.Decoder(Signal)
_alert = msgspec.json.Decoder(Alert)
_encoder = msgspec.json.Encoder()


class AlertsLane(Lane):
    """Merges the signals of one lane's wallets into episodes."""

    def __init__(self, partition: int, count: Callable[[str, int], None] = lambda outcome, n: None) -> None:
        super().__init__(partition)
        self._episodes = Episodes()
        self._count = count
        self._headers = HeaderMaker(STAGE)

    async def restore(self, log: LaneLog) -> None:
        """Take the open episodes back from the alerts that were written."""
        async for records in log.read(ALERTS, last=RESTORED_ALERTS):
            for record in records:
                self._episodes.restore(_alert.decode(record.value or b""))

    async def on_batch(self, batch: Batch) -> None:
        """Emit each alert that a signal begins or moves on."""
        for record in batch.records:
            try:
                signal = _signal.decode(record.value or b"")
            except msgspec.DecodeError as error:
                self._reject(batch, record, InvalidEvent(ReasonCode.WRONG_TYPE, f"no signal: {error}"))
                continue
            alert = self._episodes.on_event(signal)
            if alert is None:
                self._count("repeated", 1)
                continue
            self._count("raised" if alert.signals == 1 else "grown", 1)
            self._emit(batch, record, signal, alert)

    def _emit(self, batch: Batch, record: Record, signal: Signal, alert: Alert) -> None:
        headers = self._headers.derived(
            "alert", f"{alert.alert_id}-{alert.signals}", time.time_ns() // 1000, causation_id=signal.signal_id
        )
        batch.emit(
            ALERTS,
            _encoder.encode(alert),
            key=alert.wallet_id.encode(),
            headers=headers,
            timestamp_ms=record.timestamp,
            partition=self.partition,
        )

    def _reject(self, batch: Batch, record: Record, error: InvalidEvent) -> None:
        letter = DeadLetter.of(
            error,
            stage=STAGE,
            topic=batch.topic,
            partition=batch.partition,
            offset=record.offset,
            at_us=time.time_ns() // 1000,
            producer="fraud-patterns",
        )
        batch.emit(DEAD_LETTERS, record.value, key=record.key, headers=letter.headers(), timestamp_ms=record.timestamp)
        self._count("rejected", 1)
