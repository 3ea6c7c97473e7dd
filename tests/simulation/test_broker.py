"""The simulated broker is as strict as Kafka: what it promises, and what it refuses."""

from __future__ import annotations

from random import Random

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from ops.drill.simulation.broker import (
    REBALANCE_S_MAX,
    SESSION_S,
    TRANSACTION_TIMEOUT_S,
    Broker,
    Draft,
    Group,
    Member,
)
from ops.drill.simulation.clockwork import Clockwork

TP, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def drafts(*values: bytes) -> list[Draft]:
    return [Draft(0, value[:1], value) for value in values]


@pytest.fixture
def broker() -> Broker:
    return Broker(Clockwork(Random(1)), {"t": 2})


def visible(broker: Broker, tp: TopicPartition = TP) -> list[bytes | None]:
    return [record.value for record in broker.logs[tp].read(0, 1_000)[0]]


def pass_time(broker: Broker, seconds: float) -> None:
    until = broker.clock.now_s + seconds
    broker.clock.at(until, lambda: None)
    broker.clock.run(lambda: broker.clock.now_s >= until, until)


def test_a_transaction_is_seen_as_a_whole_with_its_offsets(broker: Broker) -> None:
    epoch = broker.fence("x")
    broker.produce("x", epoch, TP, drafts(b"a", b"b"))
    broker.send_offsets("x", epoch, {OTHER: 7})
    assert visible(broker) == []
    assert broker.committed([OTHER]) == {OTHER: 0}
    broker.commit("x", epoch)
    assert visible(broker) == [b"a", b"b"]
    assert broker.committed([OTHER]) == {OTHER: 7}
    assert broker.logs[TP].end == 3, "the marker takes an offset"


def test_an_aborted_transaction_is_never_seen_and_its_offsets_do_not_hold(broker: Broker) -> None:
    epoch = broker.fence("x")
    broker.produce("x", epoch, TP, drafts(b"a"))
    broker.send_offsets("x", epoch, {OTHER: 7})
    broker.abort("x", epoch)
    assert visible(broker) == []
    assert broker.committed([OTHER]) == {OTHER: 0}
    assert broker.logs[TP].read(0, 10) == ([], 2), "readers move over what they don't see"


def test_readers_stop_at_the_first_open_transaction(broker: Broker) -> None:
    first, second = broker.fence("x"), broker.fence("y")
    broker.produce("x", first, TP, drafts(b"a"))
    broker.produce("y", second, TP, drafts(b"b"))
    broker.commit("y", second)
    assert visible(broker) == []
    broker.commit("x", first)
    assert visible(broker) == [b"a", b"b"]


def test_an_older_producer_is_fenced_and_what_it_left_open_is_aborted(broker: Broker) -> None:
    old = broker.fence("x")
    broker.produce("x", old, TP, drafts(b"a"))
    new = broker.fence("x")
    for step in (
        lambda: broker.produce("x", old, TP, drafts(b"b")),
        lambda: broker.send_offsets("x", old, {TP: 1}),
        lambda: broker.commit("x", old),
        lambda: broker.abort("x", old),
    ):
        with pytest.raises(ProducerFenced):
            step()
    broker.produce("x", new, TP, drafts(b"c"))
    broker.commit("x", new)
    assert visible(broker) == [b"c"]


def test_a_transaction_that_stays_open_is_given_up_and_its_producer_fenced(broker: Broker) -> None:
    epoch = broker.fence("x")
    broker.produce("x", epoch, TP, drafts(b"a"))
    pass_time(broker, TRANSACTION_TIMEOUT_S + 1)
    assert broker.logs[TP].stable_end == 2
    with pytest.raises(ProducerFenced):
        broker.commit("x", epoch)


def test_compaction_leaves_the_newest_committed_record_of_a_key_at_its_offset(broker: Broker) -> None:
    epoch = broker.fence("x")
    for values, end in (((b"a1", b"b1"), broker.commit), ((b"a2",), broker.commit), ((b"a3",), broker.abort)):
        broker.produce("x", epoch, TP, drafts(*values))
        end("x", epoch)
    open_epoch = broker.fence("y")
    broker.produce("y", open_epoch, TP, drafts(b"b9"))
    broker.logs[TP].compact()
    broker.commit("y", open_epoch)
    found, _ = broker.logs[TP].read(0, 10)
    assert [(record.offset, record.value) for record in found] == [(1, b"b1"), (3, b"a2"), (7, b"b9")]


class Listening:
    """A member and what it was told."""

    def __init__(self, name: str) -> None:
        self.told: list[tuple[int, list[int]]] = []
        self.member = Member(name, lambda generation, lanes: self.told.append((generation, lanes)))


def test_lanes_are_shared_out_when_all_members_have_given_theirs_back(broker: Broker) -> None:
    group, first, second = Group(broker, 4), Listening("a"), Listening("b")
    group.join(first.member)
    assert first.told == [(1, [0, 1, 2, 3])]
    group.join(second.member)
    assert second.told == []
    assert not group.heartbeat("a", 1), "the first one must give back its lanes"
    group.join(first.member)
    assert first.told[1:] == [(2, [0, 1])]
    assert second.told == [(2, [2, 3])]
    assert group.commit("a", 2, {TP: 5})
    assert not group.commit("a", 1, {TP: 6}), "an older generation commits nothing"
    assert broker.committed([TP]) == {TP: 5}


def test_a_member_that_is_not_heard_of_loses_its_lanes(broker: Broker) -> None:
    group, first, second = Group(broker, 2), Listening("a"), Listening("b")
    group.join(first.member)
    group.join(second.member)
    pass_time(broker, min(SESSION_S, REBALANCE_S_MAX) + 1)
    assert second.told == [(2, [0, 1])]
    assert not group.heartbeat("a", 1)
    assert not group.commit("a", 1, {TP: 5})
