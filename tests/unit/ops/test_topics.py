"""What is done about the differences between the topics' contracts and a cluster."""

import pytest

from ops.topics import Change, TopicState, changes
from schemas.topics import Topic, topics

KEYED = topics()["payments-valid"]
UNKEYED = topics()["simulator-truth"]


def state_of(topic: Topic, partitions: int | None = None, **config: str) -> TopicState:
    """The topic as its contract says, but for the given differences (dots are written as underscores)."""
    different = {name.replace("_", "."): value for name, value in config.items()}
    wanted = topic.partition_count(4) if partitions is None else partitions
    return TopicState(partitions=wanted, replicas=1, config={**topic.broker_config(1), **different})


def found(topic: Topic, state: TopicState | None, lanes: int = 4, replicas: int = 1) -> list[Change]:
    states = {} if state is None else {topic.name: state}
    return changes({topic.name: topic}, states, lanes, replicas)


def test_a_missing_topic_is_created() -> None:
    """The summary says partitions, policy and retention."""
    [change] = found(KEYED, None)
    assert (change.action, change.after) == ("create", "4 partitions, delete, kept 30 days")


@pytest.mark.parametrize("topic", topics().values(), ids=lambda topic: topic.name)
def test_a_topic_as_its_contract_says_needs_nothing(topic: Topic) -> None:
    """Applying a second time finds nothing to do."""
    assert found(topic, state_of(topic)) == []


@pytest.mark.parametrize("topic", [topic for topic in topics().values() if topic.keyed], ids=lambda topic: topic.name)
def test_a_keyed_topic_never_grows(topic: Topic) -> None:
    """More partitions would move keys to other lanes; the message says so and what to do instead."""
    grown = TopicState(partitions=1, replicas=1, config=topic.broker_config(1))
    for change in found(topic, grown, lanes=8) if topic.partitions == "lanes" else []:
        assert change.action == "refuse"
        assert "keys would move" in change.why
        assert "Replay it" in change.why


def test_an_unkeyed_topic_may_grow() -> None:
    """Nothing hangs on the partition of a record without a key."""
    topic = topics()["payments-dlq"]
    assert not topic.keyed
    [change] = found(topic, state_of(topic), lanes=8)
    assert (change.action, change.before, change.after) == ("grow", "4", "8")


def test_no_topic_shrinks() -> None:
    """Kafka can't take partitions away."""
    [change] = found(UNKEYED, state_of(UNKEYED, partitions=3))
    assert change.action == "refuse"
    assert "can't shrink" in change.why


def test_drifted_settings_are_shown_and_set_back() -> None:
    """Both values are in the change."""
    [change] = found(KEYED, state_of(KEYED, retention_ms="1000"))
    assert (change.action, change.what, change.before, change.after) == ("set", "retention.ms", "1000", "2592000000")


def test_settings_beyond_the_contract_are_taken_off() -> None:
    """A setting made by hand is drift too."""
    [change] = found(KEYED, state_of(KEYED, segment_bytes="1048576"))
    assert (change.action, change.what, change.before) == ("unset", "segment.bytes", "1048576")


def test_unknown_topics_are_shown_and_left_alone() -> None:
    """An engine's own topics and foreign ones are nobody's to delete."""
    [change] = changes({}, {"somebodys": TopicState(partitions=1, replicas=1, config={})}, 4, 1)
    assert (change.action, change.topic) == ("note", "somebodys")


def test_another_number_of_copies_is_noted() -> None:
    """Reassigning partitions is no part of applying contracts, but the wanted in-sync copies are."""
    found_changes = found(KEYED, state_of(KEYED), replicas=3)
    assert [(change.action, change.what) for change in found_changes] == [
        ("set", "min.insync.replicas"),
        ("note", "replicas"),
    ]
