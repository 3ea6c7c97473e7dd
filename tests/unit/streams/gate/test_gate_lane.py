"""What the gate makes of a batch: each record is let through, moved, dropped or dead-lettered, and nothing stops it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from koban.settings import Settings
from schemas.cloudevents import texts
from schemas.dead_letters import DeadLetter
from schemas.partitioning import lane_of
from streams.gate.lane import GateLane
from streams.gate.origins import Origin, origin_of, sent_ms
from streams.transport import Batch
from streams.transport.batch import Output
from tests.unit.koban.gate.examples import SENT_MS, raw

OWNER = "w-00012345"
HERE = lane_of(OWNER, 4)
CARD = "4111111111111111"


class Sent(NamedTuple):
    """A record as the transport hands it over."""

    offset: int
    value: bytes | None
    key: bytes | None = OWNER.encode()
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = SENT_MS


class Gate:
    """A lane with its counts, fed batch by batch."""

    def __init__(self, partition: int = HERE, **limits: int) -> None:
        self.counts: Counter[str] = Counter()
        settings = Settings.from_environ({f"KOBAN_{name.upper()}": str(n) for name, n in limits.items()})
        self.lane = GateLane(settings, self._count, partition)

    def _count(self, outcome: str, n: int) -> None:
        self.counts[outcome] += n

    def take(self, *records: Sent, topic: str = "payments") -> list[Output]:
        batch = Batch(topic, self.lane.partition, list(records), records[-1].offset + 1)
        asyncio.run(self.lane.on_batch(batch))
        return batch.outputs

    def restore(self, outputs: Sequence[Output]) -> None:
        lane_log: Any = Log(outputs)
        asyncio.run(self.lane.restore(lane_log))


class Log:
    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = outputs

    async def read(self, topic: str, last: int | None = None) -> AsyncIterator[list[Sent]]:
        yield [Sent(n, o.value, o.key, o.headers) for n, o in enumerate(self._outputs) if o.topic == topic]


def letter(output: Output) -> DeadLetter:
    assert output.topic == "payments-dlq"
    return DeadLetter.read(output.headers)


def test_a_valid_event_goes_on_with_its_origin_and_time() -> None:
    """Canonical value, keyed by the owner in its lane, with the raw record's place and Kafka timestamp."""
    gate = Gate()
    (out,) = gate.take(Sent(7, raw(), key=b"anything"))
    headers = texts(out.headers)
    assert (out.topic, out.partition, out.key, out.timestamp_ms) == ("payments-valid", HERE, OWNER.encode(), SENT_MS)
    assert headers["ce_type"] == "koban.PaymentCompleted"
    assert headers["ce_source"] == "/koban/gate"
    assert len(headers["koban_body_hash"]) == 32
    assert origin_of(out.headers, Origin("", 0, 0)) == Origin("payments", HERE, 7)
    assert gate.counts == {"valid": 1}


def test_duplicates_are_dropped_and_conflicts_dead_lettered() -> None:
    """The first body counts; sent again or recorded anew it is dropped; changed, it is a conflict."""
    gate = Gate()
    out = gate.take(
        Sent(0, raw()), Sent(1, raw()), Sent(2, raw(recorded_at_us=None)), Sent(3, raw(body__memo="x")), Sent(4, raw())
    )
    assert [o.topic for o in out] == ["payments-valid", "payments-dlq"]
    assert letter(out[1]).reason_code == "conflict"
    assert letter(out[1]).producer == "core-payments"
    assert gate.counts == {"valid": 1, "duplicate": 3, "dead_lettered_conflict": 1}


def test_a_new_worker_knows_the_old_one_s_events() -> None:
    """What went through before a restart is a duplicate or a conflict after it."""
    before = Gate().take(Sent(0, raw()))
    gate = Gate()
    gate.restore(before)
    gate.take(Sent(1, raw()), Sent(2, raw(body__memo="x")))
    assert gate.counts == {"duplicate": 1, "dead_lettered_conflict": 1}


def test_the_window_of_duplicates_is_a_setting() -> None:
    """Behind the window an event counts as new: that is what the setting means."""
    gate = Gate(duplicate_window_events=2)
    gate.take(*(Sent(n, raw(event_id=f"e{n % 3}")) for n in range(6)))
    assert gate.counts == {"valid": 6}


def test_an_event_in_the_wrong_lane_is_moved_whole_and_judged_there() -> None:
    """Its bytes are untouched, its origin goes along, and the owner's lane tells duplicates from either way."""
    (moved,) = Gate(partition=(HERE + 1) % 4).take(Sent(9, b" " + raw(), headers=[("koban_replay_of", b"0:3")]))
    assert (moved.topic, moved.partition, moved.key) == ("payments-rekeyed", HERE, OWNER.encode())
    assert moved.value == b" " + raw()
    assert texts(moved.headers)["koban_replay_of"] == "0:3"
    gate = Gate()
    out = gate.take(Sent(0, moved.value, moved.key, moved.headers, SENT_MS), topic="payments-rekeyed")
    assert origin_of(out[0].headers, Origin("", 0, 0)) == Origin("payments", (HERE + 1) % 4, 9)
    gate.take(Sent(0, raw()))
    assert gate.counts == {"valid": 1, "duplicate": 1}


def test_a_moved_event_that_conflicts_names_where_it_came_in() -> None:
    """The dead letter's origin is the raw topic, not the topic in between."""
    moved = [("koban_origin_topic", b"payments"), ("koban_origin_partition", b"3"), ("koban_origin_offset", b"17")]
    gate = Gate()
    gate.take(Sent(0, raw()))
    (out,) = gate.take(Sent(5, raw(body__memo="x"), headers=moved), topic="payments-rekeyed")
    got = letter(out)
    assert (got.origin_topic, got.origin_partition, got.origin_offset) == ("payments", 3, 17)


def test_nobody_s_events_are_moved_twice() -> None:
    """A record on the topic in between is judged where it is, even if it is in the wrong lane: no record circles."""
    gate = Gate(partition=(HERE + 1) % 4)
    gate.take(Sent(0, raw()), topic="payments-rekeyed")
    assert gate.counts == {"valid": 1}


def test_a_dead_letter_holds_the_original_bytes() -> None:
    """Value, key and time as they came; the reason, producer and place as headers."""
    (out,) = Gate().take(Sent(3, b'{"event_type":', key=b"\xff\x00key", headers=[("ce_source", b"/pos")]))
    got = letter(out)
    assert (out.value, out.key, out.timestamp_ms, out.partition) == (b'{"event_type":', b"\xff\x00key", SENT_MS, HERE)
    assert (got.reason_code, got.stage, got.producer) == ("not_json", "gate", "/pos")
    assert (got.origin_topic, got.origin_partition, got.origin_offset) == ("payments", HERE, 3)
    assert "koban_masked" not in texts(out.headers)


def test_ten_megabytes_are_kept_whole() -> None:
    """A value that is too large is dead-lettered as it came."""
    value = b'{"memo":"' + b"x" * 10_000_000 + b'"}'
    (out,) = Gate().take(Sent(0, value))
    assert out.value == value
    assert letter(out).reason_code == "too_large"


def test_card_numbers_are_masked_in_every_dead_letter() -> None:
    """Whatever the reason, neither value, key, reason nor producer carries a card number on."""
    values = [raw(body__memo=CARD), raw(body__memo=CARD)[:-1], raw(body__memo=CARD, aggregate_seq=0), CARD.encode()]
    gate = Gate()
    outs = gate.take(
        *(Sent(n, value, key=CARD.encode(), headers=[("ce_source", CARD.encode())]) for n, value in enumerate(values))
    )
    assert [letter(out).reason_code for out in outs] == ["card_number", "not_json", "out_of_bounds", "wrong_type"]
    for out in outs:
        assert CARD.encode() not in b"".join((out.value or b"", out.key or b"", *(value for _, value in out.headers)))
        assert texts(out.headers)["koban_masked"] == "1"


def test_records_without_key_or_value_are_no_trouble() -> None:
    """A tombstone is dead-lettered as a tombstone; a missing key or odd headers change nothing."""
    gate = Gate()
    odd: list[tuple[str, bytes | None]] = [("", None), ("ce_source", b"\xff"), ("koban_origin_offset", b"x")]
    out = gate.take(Sent(0, None, key=None, headers=odd), Sent(1, raw(), key=None, headers=odd))
    assert (out[0].topic, out[0].value, out[0].key) == ("payments-dlq", None, None)
    assert letter(out[0]).reason_code == "empty"
    assert gate.counts == {"dead_lettered_empty": 1, "valid": 1}


def test_an_impossible_timestamp_is_replaced_by_now() -> None:
    """No producer's clock makes a time before 2010 or to come: such records count as sent now."""
    now_us = SENT_MS * 1_000
    assert sent_ms(SENT_MS - 5, now_us, 60) == SENT_MS - 5
    assert sent_ms(SENT_MS + 60_000, now_us, 60) == SENT_MS + 60_000
    for odd in (-1, 0, 1_262_303_999_999, SENT_MS + 60_001, 2**62):
        assert sent_ms(odd, now_us, 60) == SENT_MS


def test_an_event_from_the_future_is_stopped_whatever_its_record_says() -> None:
    """A record's timestamp in 2100 does not help an event in 2100 through."""
    gate = Gate()
    future_us = 4_000_000_000_000_000
    gate.take(Sent(0, raw(occurred_at_us=future_us), timestamp=future_us // 1_000))
    assert gate.counts == {"dead_lettered_clock": 1}
    assert future_us > time.time_ns() // 1_000


VALUES = st.none() | st.binary(max_size=60) | st.sampled_from([raw(), raw(event_id="e2"), raw(body__memo="x"), b"{}"])


@given(st.lists(st.tuples(VALUES, st.none() | st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1)), max_size=12))
def test_every_record_has_one_outcome(records: list[tuple[bytes | None, bytes | None, int]]) -> None:
    """In = valid + moved + duplicates + dead letters, and each but a duplicate is written exactly once."""
    if not records:
        return
    gate = Gate()
    out = gate.take(*(Sent(n, value, key, (), at) for n, (value, key, at) in enumerate(records)))
    assert gate.counts.total() == len(records)
    assert len(out) == len(records) - gate.counts["duplicate"]
    assert all(o.timestamp_ms is not None and o.timestamp_ms > 0 for o in out)
