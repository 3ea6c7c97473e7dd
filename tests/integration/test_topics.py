"""Topics made from the contracts on a real broker: created once, mended when they drift, never repartitioned."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.partitioner.default import murmur2 as client_murmur2

from koban.settings import Settings
from ops import topics as cluster
from ops.cli.topics import topics as command
from ops.platform import platform
from ops.topics import BrokerUnreachableError, Change, TopicsRefusedError, apply, plan
from schemas.partitioning import lane_of
from schemas.topics import topics
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with platform(tmp_path_factory.mktemp("topics"), only=("kafka",), keep=False) as settings:
        yield settings


@pytest.fixture
def settings(broker: Settings) -> Settings:
    """Settings of a broker that has the contracts' topics and no others."""
    if any(change.action == "refuse" for change in plan(broker)):
        delete_all(broker)
    apply(broker)
    return broker


def delete_all(settings: Settings) -> None:
    """Deletes the contracts' topics and waits until the broker has forgotten them."""
    admin = admin_of(settings)

    def gone() -> bool:
        there = set(topics()) & set(admin.list_topics())
        if there:
            admin.delete_topics(sorted(there), raise_errors=False)
        return not there

    wait_for(gone, "topics are still there")
    admin.close()


def admin_of(settings: Settings) -> Any:
    return KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)


def plan_with(settings: Settings, changes: int) -> list[Change]:
    """The plan, once the broker shows so many differences: what the controller accepts takes it a moment."""
    wait_for(lambda: len(plan(settings)) == changes, lambda: f"{plan(settings)}")
    return plan(settings)


def test_applying_creates_every_topic_and_then_changes_nothing(settings: Settings) -> None:
    """What the broker says of each topic is what its contract says."""
    assert plan(settings) == []
    assert apply(settings) == []
    admin = admin_of(settings)
    described = {topic["name"]: topic for topic in admin.describe_topics(list(topics()))}
    admin.close()
    for name, topic in topics().items():
        assert len(described[name]["partitions"]) == topic.partition_count(settings.payment_partitions)
        assert all(partition["leader_id"] >= 0 for partition in described[name]["partitions"])


def test_drift_is_planned_and_mended(settings: Settings) -> None:
    """A changed retention is set back, a setting beyond the contract is taken off."""
    admin = admin_of(settings)
    drift = {"retention.ms": "1000", "segment.bytes": "2097152"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "journal", drift)])
    planned = plan_with(settings, 2)
    assert {(change.action, change.what, change.before) for change in planned} == {
        ("set", "retention.ms", "1000"),
        ("unset", "segment.bytes", "2097152"),
    }
    assert apply(settings) == planned
    assert plan(settings) == []
    admin.close()


def test_a_keyed_topic_is_refused_more_partitions_and_the_rest_is_done(settings: Settings) -> None:
    """Every keyed topic is named with what to do; topics without keys have grown."""
    wider = msgspec.structs.replace(settings, payment_partitions=settings.payment_partitions + 1)
    with pytest.raises(TopicsRefusedError, match=r"balances: is keyed and has 4 partitions.*") as caught:
        apply(wider)
    refused = {line.split(":")[0] for line in str(caught.value).splitlines()}
    assert refused == {topic.name for topic in topics().values() if topic.keyed and topic.partitions == "lanes"}
    assert [change.topic for change in plan(wider) if change.action != "refuse"] == []
    admin = admin_of(settings)
    [dead_letters] = admin.describe_topics(["payments-dlq"])
    admin.close()
    assert len(dead_letters["partitions"]) == wider.payment_partitions


def test_a_foreign_topic_is_shown_and_left_alone(settings: Settings) -> None:
    """Nothing is ever deleted."""
    admin = admin_of(settings)
    admin.create_topics({"somebodys": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    assert [(change.action, change.topic) for change in apply(settings)] == [("note", "somebodys")]
    assert "somebodys" in admin.list_topics()
    admin.delete_topics(["somebodys"])
    admin.close()


def test_two_who_apply_at_once_both_succeed(broker: Settings) -> None:
    """Whoever comes second finds the topics there."""
    delete_all(broker)
    failures: list[BaseException] = []

    def applied() -> None:
        try:
            apply(broker)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=applied) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert plan(broker) == []


def test_records_of_an_owner_arrive_in_the_owner_s_lane(settings: Settings) -> None:
    """What a stock producer does with a key is what every stage expects of it."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    owners = [f"u-{number}" for number in range(40)] + ["渋谷"]
    sent = {owner: producer.send("payments", key=owner.encode(), value=b"{}") for owner in owners}
    producer.flush()
    for owner, future in sent.items():
        assert future.get(10).partition == lane_of(owner, settings.payment_partitions), owner
    producer.close()
    assert client_murmur2(b"u-1") & 0x7FFFFFFF == cluster_hash("u-1")


def cluster_hash(owner: str) -> int:
    """The lane among so many that no two hashes share one."""
    return lane_of(owner, 2**31)


def test_the_command_plans_and_applies(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's exit code says whether anything is to be done; both speak JSON."""
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    run = CliRunner()
    done = run.invoke(command, ["plan", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"ok": True, "changes": []})
    admin = admin_of(settings)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "alerts", {"retention.ms": "5"})])
    admin.close()
    plan_with(settings, 1)
    assert run.invoke(command, ["plan"]).exit_code == 1
    applied = run.invoke(command, ["apply", "--json"])
    assert applied.exit_code == 0
    assert [change["what"] for change in json.loads(applied.stdout)["changes"]] == ["retention.ms"]
    assert "as the contracts say" in run.invoke(command, ["plan"]).stdout
    monkeypatch.setenv("KOBAN_PAYMENT_PARTITIONS", "9")
    refused = run.invoke(command, ["apply"])
    assert refused.exit_code == 1
    assert "its keys would move to other partitions" in refused.stderr


def test_a_broker_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """After a bounded time, with the address."""
    monkeypatch.setattr(cluster, "LOOK_S_MAX", 0.5)
    nowhere = msgspec.structs.replace(settings, kafka_bootstrap="127.0.0.1:1")
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1"):
        plan(nowhere)
