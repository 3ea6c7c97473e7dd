"""A payment's records found by their time: in each partition a short window, whatever lies around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from koban.settings import Settings
from streams import committed_reader
from streams.tracing import nearby
from streams.tracing.nearby import BEHIND_MS, WINDOWS_MAX, trace_nearby, windows

PAYMENT = "0472993188201143902"
SETTINGS = Settings(data_dir=Path("data"), lake_dir=Path("lake"))
AT_MS = 1_763_780_400_000


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Log:
    """The part of kafka-python's consumer that a trace uses, over records in memory."""

    def __init__(self, records: list[Record]) -> None:
        self._by_tp: dict[Any, list[Record]] = {}
        for record in records:
            self._by_tp.setdefault(nearby.TopicPartition(record.topic, record.partition), []).append(record)
        self._at: dict[Any, int] = {}
        self._paused: set[Any] = set()
        self.given = 0

    def topics(self) -> set[str]:
        return {tp.topic for tp in self._by_tp}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {tp.partition for tp in self._by_tp if tp.topic == topic}

    def offsets_for_times(self, times: dict[Any, int]) -> dict[Any, Any]:
        return {tp: next((r for r in self._by_tp[tp] if r.timestamp >= at), None) for tp, at in times.items()}

    def end_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return {tp: self._by_tp[tp][-1].offset + 1 for tp in tps}

    def assign(self, tps: list[Any]) -> None:
        self._at, self._paused = dict.fromkeys(tps, 0), set()

    def seek(self, tp: Any, offset: int) -> None:
        self._at[tp] = offset

    def pause(self, *tps: Any) -> None:
        self._paused.update(tps)

    def position(self, tp: Any) -> int:
        return self._at[tp]

    def poll(self, timeout_ms: int) -> dict[Any, list[Record]]:
        answer = {}
        for tp, at in self._at.items():
            if tp not in self._paused:
                answer[tp] = [record for record in self._by_tp[tp] if record.offset >= at][:50]
                self.given += len(answer[tp])
                if answer[tp]:
                    self._at[tp] = answer[tp][-1].offset + 1
        return answer

    def close(self, autocommit: bool) -> None:
        self._at = {}


def _value(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _around(topic: str, mine: bytes, at: int = 500) -> list[Record]:
    """A thousand records of other payments, one every 100 ms, and one of ours among them."""
    others = _value(event_type="PaymentCompleted", body={"amount_minor": 1})
    return [
        Record(topic, 0, offset, AT_MS + (offset - at) * 100, mine if offset == at else others)
        for offset in range(2 * at)
    ]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    event = _value(event_type="PaymentCompleted", aggregate_id=PAYMENT, body={"amount_minor": 1200})
    lines = [{"account": "U.w.money", "debit_minor": 1200}, {"account": "M.m.payable", "debit_minor": -1200}]
    entry = _value(entry_id="j1", event_type="PaymentCompleted", payment_id=PAYMENT, lines=lines)
    balance = _value(account="U.w.money", entry_id="j1", posted_minor=5, version=2)
    made = Log(
        [
            *(*_around("payments", event), *_around("payments-valid", event), *_around("journal", entry)),
            *(*_around("balances", balance), *_around("volumes", event)),
        ]
    )
    monkeypatch.setattr(committed_reader, "connect", lambda *_, **__: made)
    return made


def test_a_payment_is_found_in_every_topic_by_its_time(log: Log) -> None:
    """With the balances that its entry made; topics that no trace is about are left alone."""
    result, whole = trace_nearby(SETTINGS, PAYMENT, [AT_MS], within_s=60)
    assert whole
    assert [(hop["topic"], hop["offset"]) for hop in result.hops] == [
        (topic, 500) for topic in ("payments", "payments-valid", "journal", "balances")
    ]
    assert [entry["entry_id"] for entry in result.entries] == ["j1"]
    assert log.given < 4 * 300, "a window, not the topic"


def test_what_could_not_be_read_in_time_is_told(log: Log) -> None:
    """The clock is the caller's; when it has run out the trace is as far as it came."""
    ticks = iter([0.0, 0.0, 99.0, 99.0, 99.0])
    result, whole = trace_nearby(SETTINGS, PAYMENT, [AT_MS], within_s=1, clock=lambda: next(ticks))
    assert not whole
    assert len(result.hops) <= 4


def test_another_time_finds_nothing(log: Log) -> None:
    """The payment is not there, and no more was read than a window."""
    result, whole = trace_nearby(SETTINGS, PAYMENT, [AT_MS - 40_000], within_s=60)
    assert (whole, result.hops) == (True, [])


def test_near_times_share_a_window_and_their_number_is_bounded() -> None:
    """A payment with a thousand refunds is traced through its latest."""
    assert list(windows([])) == []
    assert list(windows([5_000, 0, 0])) == [(0, BEHIND_MS), (5_000, 5_000 + BEHIND_MS)]
    assert list(windows([0, 2_000])) == [(0, 2_000 + BEHIND_MS)]
    assert len(list(windows(range(0, 10_000_000, 10_000)))) == WINDOWS_MAX
