"""``koban simulate``: files with their truth, one JSON object when asked, plain words when asked for nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli.simulate import simulate

SMALL = ["--users", "200", "--merchants", "20", "--tps", "50", "--seconds", "40", "--malformed", "100"]


def invoke(*arguments: str):
    return CliRunner().invoke(simulate, arguments)


def test_a_file_its_truth_and_the_summary_agree(tmp_path: Path):
    out, truth = tmp_path / "out.jsonl", tmp_path / "truth.jsonl"
    result = invoke("--out", str(out), "--truth", str(truth), "--balances", "--json", *SMALL)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    lines = truth.read_bytes().splitlines()
    assert json.loads(lines[-1]) == {k: v for k, v in summary.items() if k not in ("took_s", "seed")}
    assert out.read_bytes().count(b"\n") == summary["produced"]
    dead = [line for line in map(json.loads, lines) if line.get("verdict") == "dead_letter"]
    assert len(dead) == sum(summary["dead_letters"].values()) > 0
    assert any(account.startswith("M.") for account in summary["balances"])


def test_the_same_seed_writes_the_same_file_and_another_seed_another(tmp_path: Path):
    files = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert invoke("--out", str(tmp_path / name), "--seed", seed, *SMALL).exit_code == 0
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] != files[2]


def test_days_follow_the_rhythm(tmp_path: Path):
    out = tmp_path / "day.jsonl"
    options = ["--users", "100", "--merchants", "20", "--tps", "0.05", "--days", "1", "--start", "2025-06-02"]
    assert invoke("--out", str(out), *options, "--malformed", "0").exit_code == 0
    hours = [json.loads(line)["occurred_at_us"] // 3_600_000_000 for line in out.read_bytes().splitlines()]
    midnight = 1_748_790_000_000_000 // 3_600_000_000
    assert hours.count(midnight + 18) > 3 * hours.count(midnight + 3)


def test_a_table_says_what_was_written(tmp_path: Path):
    result = invoke("--out", str(tmp_path / "out.jsonl"), *SMALL)
    assert "bursts of fraud" in result.stdout


def test_too_few_users_for_the_rate_are_pointed_out(tmp_path: Path):
    result = invoke("--out", str(tmp_path / "out.jsonl"), "--users", "20", "--tps", "50", "--seconds", "2")
    assert result.exit_code == 0
    assert "--users 1,000 would do" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], "--out FILE or --topic NAME"),
        (["--out", "x", "--topic", "y"], "--out FILE or --topic NAME"),
        (["--out", "-", "--json"], "write to a file"),
        (["--out", "x", "--real-time"], "a file has no pauses"),
        (["--topic", "x", "--real-time", "--tps", "0"], "needs a rate"),
        (["--out", "x", "--days", "1", "--seconds", "1"], "not both"),
        (["--out", "x", "--start", "yesterday"], "no ISO date"),
        (["--out", "x", "--spike", "big"], "FACTOR@SECOND"),
        (["--topic", "x", "--real-time", "--start", "2025-06-02"], "leave --start out"),
    ],
)
def test_nonsense_is_answered_with_what_to_do(tmp_path: Path, monkeypatch, arguments, answer):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert answer in result.output
