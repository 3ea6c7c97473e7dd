"""Topic contracts: what a file must say, and what is refused."""

from pathlib import Path

import pytest

from schemas.topics import load, load_file, topics

GOOD = """
name: orders
meaning: Orders as they come.
key: The wallet.
keyed: true
producers: [gate]
consumers: {ledger: all, volumes: [occurred_at_us, body.amount_minor]}
partitions: lanes
retention: 7 days
value: event
versions: {1: First.}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "orders.yaml"
    path.write_text(text)
    return path


def test_every_topic_of_the_platform_is_there() -> None:
    """The names that stages and tools rely on."""
    assert set(topics()) == {
        *("payments", "payments-rekeyed", "payments-valid", "payments-dlq", "journal", "ledger-legs", "balances"),
        *("ledger-seals", "ledger-seal-leaves"),
        *("campaigns", "cashback", "volumes", "fraud-signals", "alerts", "simulator-truth"),
        *("refunds-waiting", "ledger-replays", "dlq-replays"),
    }


def test_no_stage_reads_the_ground_truth() -> None:
    """Only tools that judge the platform may."""
    assert set(topics()["simulator-truth"].consumers) <= {"verify", "bench"}


def test_a_contract_knows_its_figures(tmp_path: Path) -> None:
    """Retention in milliseconds, partitions by the platform's lanes, the broker's settings."""
    topic = load_file(written(tmp_path, GOOD))
    assert topic.retention_ms == 7 * 24 * 3600 * 1000
    assert topic.partition_count(8) == 8
    assert topic.broker_config(3)["min.insync.replicas"] == "2"
    assert topic.broker_config(1)["cleanup.policy"] == "delete"


@pytest.mark.parametrize(
    ("field", "readers"),
    [
        ("occurred_at_us", ["ledger", "volumes"]),
        ("body.amount_minor", ["ledger", "volumes"]),
        ("body", ["ledger", "volumes"]),
        ("body.memo", ["ledger"]),
        ("body.amount", ["ledger"]),
    ],
)
def test_a_contract_knows_who_reads_a_field(tmp_path: Path, field: str, readers: list[str]) -> None:
    """A consumer that reads a part of a field, or a field around it, reads it."""
    assert load_file(written(tmp_path, GOOD)).readers_of(field) == readers


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("orders\n", "Orders\n"), "name"),
        (("[gate]", "[gaet]"), "unknown component 'gaet'"),
        (("ledger: all", "legder: all"), "unknown component 'legder'"),
        (("7 days", "7d"), "retention"),
        (("7 days", "forever\ncleanup: compacted"), "cleanup"),
        (("7 days", "7 days\ncleanup: compact"), "kept forever"),
        (("{1: First.}", "{2: Second.}"), "without a gap"),
        (("value: event", "value: evnet"), "value"),
        (("value: event", "value: alert\nevent_types: [LoggedIn]"), "event_types"),
        (("keyed: true", "keyed: true\ncolour: red"), "unknown field `colour`"),
        (("name: orders", "name: others"), "named like its topic"),
        (("keyed: true\n", ""), "keyed"),
        (("partitions: lanes", "partitions: 0"), "partitions"),
    ],
)
def test_a_broken_contract_is_refused(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    """The message names the file and what is wrong."""
    with pytest.raises(ValueError, match=complaint) as caught:
        load_file(written(tmp_path, GOOD.replace(*change, 1)))
    assert str(caught.value).startswith("orders.yaml: ")


def test_a_dead_letter_topic_must_exist(tmp_path: Path) -> None:
    """A contract can't point to a topic that has none."""
    written(tmp_path, GOOD + "dead_letter_topic: orders-dlq\n")
    with pytest.raises(ValueError, match="orders-dlq has no contract"):
        load(tmp_path)
