"""The alerts lane: signals in, the latest state of each alert out, and taken back after a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from koban.records import Alert
from schemas.cloudevents import read
from schemas.dead_letters import DeadLetter
from streams.alerts.lane import ALERTS, DEAD_LETTERS, SIGNALS, AlertsLane
from streams.transport import Batch

T0 = 1_763_780_400_000_000


@dataclass(frozen=True)
class Rec:
    """A record as the transport hands it over."""

    offset: int
    value: bytes | None
    timestamp: int = 1_763_780_400_123
    key: bytes | None = b"w-1"
    headers: Sequence[tuple[str, bytes | None]] = ()


def signal(at_s: int, payments: int = 6) -> bytes:
    at_us = T0 + at_s * 1_000_000
    return msgspec.json.encode(
        {
            "signal_id": f"T01-w-1-{at_s}",
            "typology": "T01",
            "wallet_id": "w-1",
            "at_us": at_us,
            "window_start_us": at_us - 60_000_000,
            "payments": payments,
            "merchants": 4,
            "amount_minor": 6000,
        }
    )


class Log:
    """What a lane wrote before it was restarted."""

    def __init__(self, values: list[bytes | None]) -> None:
        self._values = values

    async def read(self, topic: str, last: int | None = None) -> AsyncIterator[list[Rec]]:
        assert topic == ALERTS
        assert last
        yield [Rec(offset, value) for offset, value in enumerate(self._values)]


def work(lane: AlertsLane, *values: bytes) -> Batch:
    batch = Batch(SIGNALS, 2, [Rec(offset, value) for offset, value in enumerate(values)], len(values))
    asyncio.run(lane.on_batch(batch))
    return batch


def test_an_alert_goes_to_its_wallets_lane_with_the_payments_time() -> None:
    """Each change is one record, keyed by wallet, in the lane's own partition, under the causing record's time."""
    counts: Counter[str] = Counter()
    lane = AlertsLane(2, lambda outcome, n: counts.update({outcome: n}))
    batch = work(lane, signal(0), signal(5, payments=7), signal(5, payments=7))
    assert [(o.topic, o.partition, o.key, o.timestamp_ms) for o in batch.outputs] == [
        (ALERTS, 2, b"w-1", 1_763_780_400_123)
    ] * 2
    first, second = (msgspec.json.decode(output.value or b"", type=Alert) for output in batch.outputs)
    assert first.alert_id == second.alert_id
    assert (second.payments, second.signals) == (7, 2)
    assert read(batch.outputs[1].headers).causation_id == "T01-w-1-5"
    assert counts == {"raised": 1, "grown": 1, "repeated": 1}


def test_a_restarted_lane_goes_on_with_the_same_alert() -> None:
    """What was written is read back, so that a signal after the restart grows the alert instead of raising another."""
    written = [output.value for output in work(AlertsLane(2), signal(0), signal(5, payments=7)).outputs]
    lane = AlertsLane(2)
    asyncio.run(lane.restore(Log(written)))  # type: ignore[arg-type]  # a log of the test's own
    (output,) = work(lane, signal(5, payments=7), signal(9, payments=9)).outputs
    alert = msgspec.json.decode(output.value or b"", type=Alert)
    before = msgspec.json.decode(written[0] or b"", type=Alert)
    assert (alert.alert_id, alert.signals, alert.payments) == (before.alert_id, 3, 9)


def test_what_is_no_signal_is_dead_lettered_alone() -> None:
    """Broken bytes stop nothing."""
    batch = work(AlertsLane(2), b"{", signal(0))
    letter, alert = batch.outputs
    assert (letter.topic, letter.value, alert.topic) == (DEAD_LETTERS, b"{", ALERTS)
    told = DeadLetter.read(letter.headers)
    assert (told.stage, told.origin_topic, told.origin_partition, told.origin_offset) == ("alerts", SIGNALS, 2, 0)
