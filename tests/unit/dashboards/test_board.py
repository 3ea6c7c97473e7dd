"""The board is made of what the sources say, and never claims what they did not."""

from __future__ import annotations

import msgspec
import pytest

from dashboards.board import LAG_RECORDS_WARN, STALE_S, Answer, board, freshness
from dashboards.sources.index import IndexState
from dashboards.sources.platform import Component
from dashboards.sources.topics import Newest, Seen
from dashboards.sources.workers import History, Stage, samples
from koban.events import EVENT_TYPES
from schemas.codec import encode
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode

NOW = 1_763_780_400.0  # 2025-11-22 12:00:00 JST
NOW_US = int(NOW * 1e6)
SILENT = Answer()


def seen(value: object, *, offset: int = 0, at: float = NOW, headers: tuple[tuple[str, bytes], ...] = ()) -> Seen:
    """A record with a value: bytes as they are, anything else as JSON."""
    raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Seen(0, offset, int(at * 1000), raw, headers)


def decision(seq: int, left: int) -> Seen:
    """A campaign's decision."""
    event = msgspec.convert(
        {
            "event_id": f"c-{seq}",
            "occurred_at_us": NOW_US,
            "aggregate": "campaign",
            "aggregate_id": "spring",
            "aggregate_seq": seq,
            "correlation_id": "pay-1",
            "body": {
                "wallet_id": "w-1",
                "campaign_id": "spring",
                "definition_hash": "abc",
                "payment_id": "pay-1",
                "amount_minor": 10,
                "budget_left_minor": left,
            },
        },
        EVENT_TYPES["CashbackGranted"],
    )
    return seen(encode(event), offset=seq)


def test_nothing_said_yet() -> None:
    """Before any source has answered the board is empty and says so, without troubles or figures."""
    empty = board(NOW, SILENT, SILENT, SILENT, SILENT)
    assert {each.state for each in empty.fresh.values()} == {"empty"}
    assert empty.troubles == {}
    assert empty.intake is None
    assert set(empty.totals.values()) == {None}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(), "empty"),
        (Answer({}, at=NOW), "ok"),
        (Answer({}, at=NOW - STALE_S - 1), "behind"),
        (Answer({}, at=NOW - 60, down_since=NOW - 50), "down"),
        (Answer(down_since=NOW - 50), "down"),
    ],
)
def test_freshness(answer: Answer, state: str) -> None:
    """Answering, late, silent, or not heard of yet."""
    assert freshness(NOW, answer).state == state


def test_the_index_is_as_fresh_as_its_slowest_lane() -> None:
    """OpenSearch answers at once, but a lane of the indexing stage stopped a minute ago."""
    late = Answer(IndexState(10, 0, NOW_US - 60_000_000), at=NOW)
    made = board(NOW, SILENT, SILENT, late, SILENT)
    assert made.fresh["index"].state == "behind"
    assert made.fresh["index"].at == NOW - 60
    assert made.troubles == {"index": NOW - 60}


def test_stages_that_are_down_or_late_are_troubles() -> None:
    """A dead worker, a stopped job and a long queue are named, with the time since when."""
    stages = {
        "gate": Stage("gate", up=True, rate_per_s=10.0, lag_records=LAG_RECORDS_WARN + 1),
        "ledger": Stage("ledger", up=False, down_since=NOW - 9),
        "alerts": Stage("alerts", up=True, lag_records=0),
        "jobs": Stage("jobs", up=True, jobs={"lake": False, "volumes": True}),
    }
    made = board(NOW, Answer(stages, at=NOW), SILENT, SILENT, SILENT)
    assert {name: node.tone for name, node in made.nodes.items()} == {
        "gate": "warn",
        "ledger": "bad",
        "alerts": "ok",
        "lake": "bad",
        "volumes": "ok",
    }
    assert made.troubles == {"gate": NOW, "ledger": NOW - 9, "lake": NOW}
    later = board(NOW + 5, Answer(stages, at=NOW + 5), SILENT, SILENT, SILENT, made.troubles)
    assert later.troubles == made.troubles, "a trouble keeps the time since when"


def test_a_stage_that_stands_still_with_work_before_it_is_a_trouble() -> None:
    """However little is waiting: nothing of it moves."""
    stuck = {"search_index": Stage("search_index", up=True, rate_per_s=0.0, lag_records=3)}
    assert board(NOW, Answer(stuck, at=NOW), SILENT, SILENT, SILENT).nodes["search_index"].tone == "warn"


def test_where_every_event_went() -> None:
    """What came in is valid, duplicate, dead-lettered by reason, or waiting."""
    totals = {"valid": 90, "duplicate": 5, "rekeyed": 7, "dead_lettered_not_json": 1, "dead_lettered_conflict": 2}
    stages = {"gate": Stage("gate", up=True, lag_records=2, totals=totals)}
    intake = board(NOW, Answer(stages, at=NOW), Answer(Newest({}, {"payments": 100}), at=NOW), SILENT, SILENT).intake
    assert intake is not None
    assert (intake.sent, intake.valid, intake.duplicates, intake.dead_letters, intake.waiting) == (100, 90, 5, 3, 2)
    assert intake.by_reason == (("conflict", 2), ("not_json", 1))


def test_a_campaigns_pot_is_known_to_the_yen() -> None:
    """Of all decisions, in whatever order they are seen, the last one by number says what is left."""
    campaign = {
        "campaign_id": "spring",
        "version": 1,
        "name": "春の20%祭り",
        "starts_at_us": NOW_US,
        "ends_at_us": NOW_US + 1,
        "rate_bp": 2000,
        "cap_per_payment_minor": 300,
        "budget_minor": 1000,
    }
    older = campaign | {"budget_minor": 500}
    records = {
        "campaigns": [seen(campaign | {"version": 2}), seen(older)],
        "cashback": [decision(2, 70), decision(3, 0), decision(1, 990)],
    }
    (row,) = board(NOW, SILENT, Answer(Newest(records, {}), at=NOW), SILENT, SILENT).campaigns
    assert (row.budget_minor, row.left_minor, row.granted_minor, row.granted_bp) == (1000, 0, 1000, 10_000)
    assert row.decisions == 3


def test_broken_records_are_passed_over() -> None:
    """A topic may hold anything; the board shows what it can read."""
    letter = DeadLetter(
        reason_code=ReasonCode.NOT_JSON,
        reason="the value is not JSON",
        stage="gate",
        origin_topic="payments",
        origin_partition=0,
        origin_offset=7,
        at_us=NOW_US,
    )
    records = {
        "payments-valid": [seen(b"{")],
        "balances": [seen(b"[]")],
        "alerts": [seen(b"null")],
        "campaigns": [seen(b"")],
        "payments-dlq": [seen(b"\x00"), seen(b"\xff", headers=tuple(letter.headers()))],
    }
    made = board(NOW, SILENT, Answer(Newest(records, {}), at=NOW), SILENT, SILENT)
    assert (made.payments, made.balances, made.alerts, made.campaigns) == ([], [], [], [])
    assert [row.origin for row in made.letters] == ["payments/0@7"]


def test_components_come_from_the_keeper() -> None:
    """Restarts are starts after the first."""
    made = board(NOW, SILENT, SILENT, SILENT, Answer({"kafka": Component("healthy", starts=3)}, at=NOW))
    assert made.components["kafka"].restarts == 2


PAGE = """
# TYPE koban_outcomes_total counter
koban_outcomes_total{{stage="gate",outcome="valid"}} {valid}
# TYPE koban_records_in_total counter
koban_records_in_total{{stage="gate",topic="payments"}} {valid}
koban_records_in_total{{stage="gate",topic="payments-rekeyed"}} {valid}
# TYPE koban_consumer_lag_records gauge
koban_consumer_lag_records{{stage="gate",topic="payments",partition="0"}} 3
koban_consumer_lag_records{{stage="gate",topic="payments",partition="1"}} 4
# TYPE koban_event_end_to_end_seconds histogram
koban_event_end_to_end_seconds_bucket{{stage="gate",le="0.1"}} {fast}
koban_event_end_to_end_seconds_bucket{{stage="gate",le="1.0"}} {valid}
koban_event_end_to_end_seconds_bucket{{stage="gate",le="+Inf"}} {valid}
koban_event_end_to_end_seconds_count{{stage="gate"}} {valid}
koban_event_end_to_end_seconds_sum{{stage="gate"}} 1
"""


def page(valid: int, fast: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return samples(PAGE.format(valid=valid, fast=fast))


def test_rates_lag_and_latencies() -> None:
    """Rates are over the window, without records counted twice; latencies are of the window's records alone."""
    history = History("gate")
    history.add(NOW, page(1000, 0))
    history.add(NOW + 5, page(1500, 495))
    stage = history.stage()
    assert (stage.up, stage.rate_per_s, stage.lag_records) == (True, 100.0, 7)
    assert stage.p50_s == pytest.approx(0.0505, abs=0.001)
    assert stage.p99_s == pytest.approx(0.1)
    assert stage.totals == {"valid": 1500}


def test_totals_survive_a_restart_of_the_worker() -> None:
    """A counter that starts anew goes on from where it was, and no rate becomes negative."""
    history = History("gate")
    history.add(NOW, page(1000, 0))
    history.missed(NOW + 1)
    assert not history.stage().up
    history.add(NOW + 2, page(10, 0))
    stage = history.stage()
    assert stage.totals == {"valid": 1010}
    assert stage.rate_per_s == 5.0
