"""The benchmarks' own arithmetic: inputs, answers, medians, ratios, the page."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from koban.records import Balance
from ops.bench.accounts import answer_of_records, digest_of_balances, opening_balances
from ops.bench.contest import Contender, ContenderFailedError, _turn, run_program
from ops.bench.ledger import PARTS as LEDGER_PARTS
from ops.bench.ledger import TARGETS
from ops.bench.meter import Cost, Meter
from ops.bench.payments import PAYERS, Skew, answer, digest, digest_of_values, payments
from ops.bench.report import Latency, Report, Row, Run, load, page, ratio, save
from ops.bench.task import Task
from ops.bench.transport import CONTENDERS
from ops.cli.bench import PARTS, bench


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert list(payments(50, "zipf", 4)) == list(payments(50, "zipf", 4))
    assert list(payments(50, "zipf", 4)) != list(payments(50, "zipf", 4, seed=2))


@pytest.mark.parametrize(("skew", "hot"), [("uniform", False), ("zipf", True)])
def test_zipf_has_a_hot_merchant(skew: Skew, hot: bool) -> None:
    merchants = Counter(json.loads(one.value)["body"]["merchant_id"] for one in payments(2000, skew, 4))
    assert (merchants.most_common(1)[0][1] > 200) is hot


def test_payments_are_of_the_promised_size_and_in_the_lane_of_their_wallet() -> None:
    found = list(payments(500, "uniform", 4))
    assert {one.lane for one in found} == {0, 1, 2, 3}
    assert 300 <= sum(len(one.value) for one in found) / len(found) <= 420
    assert len({one.key for one in payments(5000, "uniform", 4)}) > 4000 < PAYERS


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_the_meter_reaches_the_oracles_answer_however_the_events_come(at_once: int) -> None:
    values = [one.value for one in payments(300, "uniform", 4)]
    meter = Meter(len(values))
    for start in range(0, len(values), at_once):
        last = meter.add_all(values[start : start + at_once]) if at_once > 1 else meter.add(values[start])
    assert last
    assert meter.cost().digest == answer(values)


def test_answers_do_not_depend_on_order_but_on_every_value() -> None:
    values = [one.value for one in payments(300, "uniform", 4)]
    assert answer(values) == answer(values[::-1]) != answer(values[1:])
    assert digest_of_values(values) == digest_of_values(values[::-1]) != digest_of_values([*values, values[0]])
    assert digest({"w": (1, 2)}) != digest({"w": (2, 1)})


def run(rate: float, cost: float) -> Run:
    return Run(events=1_000_000, wall_s=1e6 / rate, cpu_s=cost, rss_mb=100, correct=True)


def row(name: str, *runs: Run) -> Row:
    return Row.of(list(runs), contender=name, layout="one core", input="uniform", guarantee="at least once", note="n")


def test_a_row_is_the_median_of_its_runs_and_wrong_if_one_is() -> None:
    made = row("a", run(100, 5), run(300, 1), run(200, 3))
    assert (round(made.rate_per_s), round(made.cpu_s_per_million, 6), made.correct) == (200, 3, True)
    wrong = Run(events=1, wall_s=1, cpu_s=1, rss_mb=1, correct=False)
    assert not row("a", run(100, 5), wrong).correct


def test_a_ratio_is_ours_over_the_peers_in_events_per_cpu_second() -> None:
    assert ratio(row("ours", run(1, 2)), row("peer", run(1, 50))) == 25


def test_contenders_take_turns_a_b_b_a() -> None:
    names = [[c.name for c in _turn(CONTENDERS, turn)] for turn in range(3)]
    assert names[0] == names[1][::-1] == names[2]


def test_the_page_holds_every_row_ratio_and_note() -> None:
    report = Report(
        stage="transport",
        date="2026-11-23T00:00:00+00:00",
        command="koban bench transport",
        machine={"cores": "2 cores"},
        versions={"Python": "3.11"},
        rows=[row("batched", run(100_000, 5), run(300_000, 1))],
        ratios={"stock Faust": 21.5},
        target="at least 10 × stock Faust",
        ok=True,
        latency=[Latency(contender="batched", rate_per_s=50, events=9, p50_ms=1.2, p99_ms=3.4, p999_ms=5.6)],
        absent={"quixstreams": "not installed"},
    )
    text = page([report])
    assert "| batched | at least once | uniform | one core | 200,000 (100,000-300,000) | 3.00 (1.00-5.00) |" in text
    for part in ("21.5 × stock Faust", "reached", "| batched | 50 | 1.2 | 3.4 | 5.6 |", "quixstreams: not installed"):
        assert part in text


def test_opening_balances_sum_to_zero_in_each_lane_and_nobody_has_gained_anything() -> None:
    lanes: defaultdict[int, int] = defaultdict(int)
    values = []
    for lane, key, value in opening_balances(50, 4, 1_000):
        record = msgspec.json.decode(value, type=Balance)
        assert record.account == key.decode()
        lanes[lane] += record.posted_minor if record.account.startswith("U.") else -record.posted_minor
        values.append(value)
    assert dict(lanes) == dict.fromkeys(range(4), 0)
    assert answer_of_records(values, 1_000) == digest_of_balances({})


def test_a_stages_full_run_takes_the_place_of_its_parts(tmp_path: Path) -> None:
    def measured(stage: str) -> Report:
        return Report.of_now(stage, (), rows=[row("a", run(100, 5))], ratios={}, target="t", ok=True)

    for stage in ("ledger-hot", "ledger-peers", "book"):
        save(measured(stage), tmp_path)
    assert [report.stage for report in load(tmp_path)] == ["book", "ledger-hot", "ledger-peers"]
    save(measured("ledger"), tmp_path)
    assert [report.stage for report in load(tmp_path)] == ["book", "ledger"]
    assert measured("ledger-hot").command == "koban bench ledger"


def test_only_the_ledger_is_measured_in_parts() -> None:
    refused = CliRunner().invoke(bench, ["transport", "--part", "hot"])
    assert refused.exit_code == 2
    assert "transport is measured as a whole" in refused.output
    assert set(LEDGER_PARTS) == set(PARTS) == set(TARGETS)


TASK = Task(bootstrap="127.0.0.1:1", topic="t", target="", events=1, group="g")


def test_a_contender_that_ends_without_a_result_is_no_silence() -> None:
    silent = Contender(name="silent", module="__init__")
    with pytest.raises(ContenderFailedError, match="silent ended with 0 and no result"):
        run_program(silent, TASK, os.sched_getaffinity(0), Cost)


def test_a_contender_that_takes_too_long_is_ended() -> None:
    slow = Contender(name="slow", module="ledger_flink_sql", run_s_max=0.01)
    with pytest.raises(ContenderFailedError, match="slow took more than 0 s"):
        run_program(slow, TASK, os.sched_getaffinity(0), Cost)
