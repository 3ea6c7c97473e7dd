"""The catalogue: each job's SQL is complete, and its options keep the promises of exactly-once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.catalogue import (
    JOBS,
    TRANSACTION_TIMEOUT_MS,
    checkpoint_interval_s,
    checkpoints_dir,
    job,
    sql_values,
    transactional_id_prefix,
)
from jobs.environment import job_options
from jobs.statements import statements
from koban.records import Signal, Volume
from koban.settings import Settings
from schemas.topics import topics

BROKER_TRANSACTION_TIMEOUT_MS = 900_000
"""Kafka's default transaction.max.timeout.ms: a sink that asks for more does not start."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, lake_dir=tmp_path / "lake")


def sql(settings: Settings, name: str) -> list[str]:
    return [text for file in job(name).sql for text in statements(file, sql_values(settings, name))]


@pytest.mark.parametrize("name", [one.name for one in JOBS])
def test_the_sql_of_a_job_has_no_placeholder_left_and_reads_committed_records(settings: Settings, name: str) -> None:
    texts = sql(settings, name)
    assert not any("${" in text for text in texts)
    sources = [text for text in texts if "'topic' = 'payments-valid'" in text]
    assert len(sources) == 1
    assert "'properties.isolation.level' = 'read_committed'" in sources[0]


@pytest.mark.parametrize(
    ("name", "guarantee"),
    [("volumes", "exactly-once"), ("cashback", "exactly-once"), ("fraud_patterns", "at-least-once")],
)
def test_each_kafka_sink_says_its_guarantee(settings: Settings, name: str, guarantee: str) -> None:
    """The connector's default is no guarantee at all."""
    sinks = [text for text in sql(settings, name) if "'sink.delivery-guarantee'" in text]
    assert len(sinks) == 1
    assert f"'sink.delivery-guarantee' = '{guarantee}'" in sinks[0]
    if guarantee == "exactly-once":
        assert f"'sink.transactional-id-prefix' = '{transactional_id_prefix(settings, name)}'" in sinks[0]
        assert f"'properties.transaction.timeout.ms' = '{TRANSACTION_TIMEOUT_MS}'" in sinks[0]


def test_a_broker_allows_the_transaction_timeout() -> None:
    assert TRANSACTION_TIMEOUT_MS <= BROKER_TRANSACTION_TIMEOUT_MS


@pytest.mark.parametrize(("name", "record"), [("volumes", Volume), ("fraud_patterns", Signal)])
def test_a_job_writes_the_fields_of_its_contract(settings: Settings, name: str, record: type) -> None:
    table = next(text for text in sql(settings, name) if "sink.delivery-guarantee" in text)
    columns = set(re.findall(r"^  (\w+) (?:STRING|BIGINT)", table, re.MULTILINE))
    assert columns <= set(record.__struct_fields__)  # type: ignore[attr-defined]  # a msgspec Struct


def test_every_topic_of_the_jobs_has_a_contract(settings: Settings) -> None:
    named = {
        match for one in JOBS for text in sql(settings, one.name) for match in re.findall(r"'topic' = '([^']+)'", text)
    }
    assert named == {"payments-valid", "volumes", "fraud-signals", "cashback"}
    assert named <= set(topics())


def test_transactional_ids_differ_between_jobs_and_platforms(settings: Settings, tmp_path: Path) -> None:
    other = Settings(data_dir=tmp_path / "other", lake_dir=tmp_path / "lake")
    ids = [transactional_id_prefix(place, one.name) for place in (settings, other) for one in JOBS]
    assert len(set(ids)) == len(ids)
    assert ids[: len(JOBS)] == [transactional_id_prefix(settings, one.name) for one in JOBS]


def test_each_job_keeps_its_checkpoints_in_its_own_folder(settings: Settings) -> None:
    assert len({checkpoints_dir(settings, one.name) for one in JOBS}) == len(JOBS)


def test_each_job_is_checkpointed_as_often_as_its_setting_says(settings: Settings) -> None:
    for one in JOBS:
        options = job_options(settings, one)
        assert options["execution.checkpointing.interval"] == f"{checkpoint_interval_s(settings, one.name)} s"


def test_an_unknown_job_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="no job 'ledger'; there are volumes"):
        job("ledger")
