"""The lake's check: which hour it takes, and that each broken promise is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from koban.settings import Settings
from ops.lake import LakeError, check, choose, partitions

HOUR = "dt=2025-10-09/hour=17"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, lake_dir=tmp_path / ".hidden-parent" / "lake")


def rows(start_us: int) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"e-{n}",
            "event_type": "PaymentCompleted",
            "occurred_at_us": start_us + n,
            "amount_minor": 100,
            "kafka_partition": 0,
            "kafka_offset": n,
            "value": json.dumps({"event_id": f"e-{n}", "body": {"memo": "coffee"}}),
        }
        for n in range(5)
    ]


def write(settings: Settings, name: str, content: list[dict[str, Any]], *, closed: bool = True) -> None:
    folder = settings.lake_dir / "payments" / name
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(content), folder / "part-0-0")
    (folder / ".part-0-1.inprogress.x").write_bytes(b"not yet Parquet")
    if closed:
        (folder / "_SUCCESS").touch()


def start_of(settings: Settings) -> int:
    return choose(settings, HOUR).starts_at_us


def test_the_newest_closed_hour_is_taken(settings: Settings) -> None:
    for name, closed in (("dt=2025-10-08/hour=23", True), (HOUR, True), ("dt=2025-10-09/hour=18", False)):
        write(settings, name, rows(0), closed=closed)
    assert choose(settings, None).name == HOUR
    assert [(p.name[-2:], p.closed, len(p.files)) for p in partitions(settings)] == [
        ("23", True, 1),
        ("17", True, 1),
        ("18", False, 1),
    ]


def test_hours_are_hours_of_japan(settings: Settings) -> None:
    write(settings, HOUR, rows(0))
    assert start_of(settings) == 1_759_996_800_000_000
    assert choose(settings, HOUR).ends_at_us - start_of(settings) == 3_600_000_000


def test_without_a_closed_hour_there_is_nothing_to_check(settings: Settings) -> None:
    with pytest.raises(LakeError, match="no hour is closed yet"):
        choose(settings, None)
    write(settings, HOUR, rows(0), closed=False)
    with pytest.raises(LakeError, match=r"1 open"):
        choose(settings, None)
    with pytest.raises(LakeError, match="no partition dt=x"):
        choose(settings, "dt=x")


def test_a_sound_hour_passes_and_its_result_is_kept(settings: Settings) -> None:
    write(settings, HOUR, rows(1_759_996_800_000_000))
    report = check(settings, choose(settings, None))
    assert report.ok, [finding for finding in report.findings if not finding.ok]
    assert (report.rows, report.files) == (5, 1)
    kept = json.loads((settings.lake_dir / "_checks" / "dt=2025-10-09_hour=17.json").read_text("utf-8"))
    assert kept["ok"] is True


@pytest.mark.parametrize(
    ("field", "value", "expectation"),
    [
        ("event_id", "e-0", "event_id values to be unique"),
        ("event_id", None, "event_id values to not be null"),
        ("event_type", "PaymentInvented", "event_type values to be in set"),
        ("amount_minor", 0, "amount_minor values to be between"),
        ("occurred_at_us", 1_759_996_799_999_999, "occurred_at_us values to be between"),
        ("occurred_at_us", 1_760_000_400_000_000, "occurred_at_us values to be between"),
        ("kafka_offset", 0, "kafka_partition, kafka_offset compound columns to be unique"),
        ("value", '{"body":{"memo":"4111 1111 1111 1111"}}', "card_field values to be null"),
    ],
)
def test_a_broken_promise_is_found(settings: Settings, field: str, value: object, expectation: str) -> None:
    content = rows(1_759_996_800_000_000)
    content[3][field] = value
    write(settings, HOUR, content)
    report = check(settings, choose(settings, HOUR))
    assert [finding.expectation for finding in report.findings if not finding.ok] == [expectation]
    assert "4111" not in json.dumps([finding.examples for finding in report.findings])
