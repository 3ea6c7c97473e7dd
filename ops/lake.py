"""The lake's partitions, and whether one holds what it should: a Great Expectations checkpoint over one hour."""

from __future__ import annotations

import json
import os
import re
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow.dataset as parquet

from koban.business_time import JST, US_PER_S
from koban.events import EVENT_TYPES, MAX_AMOUNT_MINOR
from koban.gate.fields import card_field
from koban.settings import Settings

SUCCESS = "_SUCCESS"
"""The file that the lake's job puts into an hour's folder once event time has passed the hour."""
NEVER_NULL = ("event_id", "event_type", "occurred_at_us", "value", "kafka_partition", "kafka_offset")
COLUMNS = (*NEVER_NULL, "amount_minor")
_PARTITION = re.compile(r"dt=(?P<dt>\d{4}-\d{2}-\d{2})/hour=(?P<hour>[01]\d|2[0-3])\Z")


class LakeError(Exception):
    """There is nothing to check; says what is there instead."""


class Partition(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One hour in Japan; ``name`` is its folder below ``lake_dir/payments``."""

    name: str
    closed: bool
    files: tuple[Path, ...]
    """Committed files alone: what is being written is hidden."""

    @property
    def starts_at_us(self) -> int:
        match = _PARTITION.match(self.name)
        assert match is not None
        at = datetime.fromisoformat(f"{match['dt']}T{match['hour']}:00:00").replace(tzinfo=JST)
        return int(at.timestamp()) * US_PER_S

    @property
    def ends_at_us(self) -> int:
        return self.starts_at_us + int(timedelta(hours=1).total_seconds()) * US_PER_S


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one expectation."""

    expectation: str
    ok: bool
    unexpected: int
    examples: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one partition's checkpoint."""

    partition: str
    ok: bool
    rows: int
    files: int
    findings: tuple[Finding, ...]


def root(settings: Settings) -> Path:
    return settings.lake_dir / "payments"


def partitions(settings: Settings) -> list[Partition]:
    """All hours of the lake, oldest first."""
    base = root(settings)
    folders = sorted(folder for folder in base.glob("dt=*/hour=*") if _PARTITION.search(str(folder.relative_to(base))))
    return [
        Partition(
            name=str(folder.relative_to(base)),
            closed=(folder / SUCCESS).exists(),
            files=tuple(sorted(folder.glob("part-*"))),
        )
        for folder in folders
    ]


def choose(settings: Settings, name: str | None) -> Partition:
    """The named partition, else the newest closed one. Raises LakeError."""
    found = partitions(settings)
    if name is not None:
        for partition in found:
            if partition.name == name:
                return partition
        raise LakeError(f"no partition {name}; the newest is {found[-1].name if found else 'not written yet'}")
    closed = [partition for partition in found if partition.closed]
    if not closed:
        raise LakeError(
            f"no hour is closed yet ({len(found)} open): an hour closes when event time has passed it; "
            "name an open one with --partition to look at it all the same"
        )
    return closed[-1]


def check(settings: Settings, partition: Partition) -> Report:
    """Runs the checkpoint and keeps its result under ``lake_dir/_checks``."""
    if not partition.files:
        raise LakeError(f"{partition.name} has no committed file yet")
    rows = load(partition)
    result = _run_checkpoint(rows, partition)
    findings = tuple(_finding(one) for one in result)
    report = Report(
        partition=partition.name,
        ok=all(finding.ok for finding in findings),
        rows=len(rows),
        files=len(partition.files),
        findings=findings,
    )
    _keep(settings, report)
    return report


def load(partition: Partition) -> pd.DataFrame:
    """The rows of a partition, with ``card_field``: where in the event a card number stands, null as it should be."""
    rows = parquet.dataset([str(file) for file in partition.files], format="parquet").to_table(columns=list(COLUMNS))
    frame: pd.DataFrame = rows.to_pandas()
    frame["card_field"] = [card_field(value.encode()) if value else None for value in frame["value"]]
    return frame


def _run_checkpoint(rows: pd.DataFrame, partition: Partition) -> list[Any]:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import: nothing about anybody's data leaves the machine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Great Expectations imports modules that Python deprecates
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("lake").add_dataframe_asset("payments")
        batch = asset.add_batch_definition_whole_dataframe("hour")
        suite = context.suites.add(gx.ExpectationSuite(name="valid events", expectations=_expectations(gx, partition)))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name="valid events of an hour", data=batch, suite=suite)
        )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(name="newest closed hour", validation_definitions=[definition], result_format="BASIC")
        )
        result = checkpoint.run(batch_parameters={"dataframe": rows})
    return [one for validation in result.run_results.values() for one in validation.results]


def _expectations(gx: Any, partition: Partition) -> list[Any]:
    expect = gx.expectations
    return [
        expect.ExpectTableRowCountToBeBetween(min_value=1),
        *(expect.ExpectColumnValuesToNotBeNull(column=name) for name in NEVER_NULL),
        expect.ExpectColumnValuesToBeUnique(column="event_id"),
        expect.ExpectCompoundColumnsToBeUnique(column_list=["kafka_partition", "kafka_offset"]),
        expect.ExpectColumnValuesToBeInSet(column="event_type", value_set=list(EVENT_TYPES)),
        expect.ExpectColumnValuesToBeBetween(column="amount_minor", min_value=1, max_value=MAX_AMOUNT_MINOR),
        expect.ExpectColumnValuesToBeBetween(
            column="occurred_at_us", min_value=partition.starts_at_us, max_value=partition.ends_at_us, strict_max=True
        ),
        expect.ExpectColumnValuesToBeNull(column="card_field"),
    ]


def _finding(one: Any) -> Finding:
    config = one.expectation_config
    column = config.kwargs.get("column") or ", ".join(config.kwargs.get("column_list", ["rows"]))
    result = one.result or {}
    unexpected = result.get("unexpected_count")
    examples = () if column in ("value", "card_field") else tuple(map(str, result.get("partial_unexpected_list", [])))
    return Finding(
        expectation=f"{column} {config.type.removeprefix('expect_').removeprefix('column_').replace('_', ' ')}",
        ok=bool(one.success),
        unexpected=int(unexpected) if unexpected is not None else int(not one.success),
        examples=examples[:3],
    )


def _keep(settings: Settings, report: Report) -> None:
    folder = settings.lake_dir / "_checks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.partition.replace('/', '_')}.json"
    path.write_text(json.dumps(msgspec.to_builtins(report), indent=1, ensure_ascii=False) + "\n", "utf-8")
