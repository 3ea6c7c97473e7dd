"""Gives lanes, not partitions, to the members of a group: partition p of all topics of a lane to one worker.

Members say which lanes they have, and keep them as long as the shares stay even: a lane that moves must be restored
elsewhere. A member that does not read all topics of a set (the older version, while a new one rolls out) gets no lane
of the set as long as another reads them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

TopicSet = tuple[str, ...]
"""Topics, sorted, whose equal partition numbers belong together."""
Owned = dict[str, list[int]]
"""First topic of a set → lanes."""


class LaneAssignor(AbstractPartitionAssignor):
    """aiokafka asks ``metadata`` of every member, ``assign`` of one of them, and ``on_assignment`` of every member."""

    name = "koban-lanes"
    version = 0

    def __init__(self, topic_sets: Iterable[Iterable[str]]) -> None:
        self.topic_sets: list[TopicSet] = [tuple(sorted(topics)) for topics in topic_sets]
        self.owned: Owned = {}

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), msgspec.json.encode(self.owned))

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        mine = {topic: sorted(partitions) for topic, partitions in assignment.assignment}
        self.owned = {topics[0]: mine[topics[0]] for topics in self.topic_sets if topics[0] in mine}

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        subscriptions = {member: set(metadata.subscription) for member, metadata in members.items()}
        owned = {member: _owned(metadata.user_data) for member, metadata in members.items()}
        given: dict[str, dict[str, list[int]]] = {member: {} for member in members}
        for topics in self._sets(subscriptions.values()):
            counts = {len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
            readers = _readers(topics, subscriptions)
            claims = {member: owned[member].get(topics[0], []) for member in readers}
            for member, lanes in share(max(counts), claims).items():
                for topic in topics:
                    if topic in subscriptions[member]:
                        given[member][topic] = lanes
        return {
            member: ConsumerProtocolMemberAssignment(self.version, sorted(topics.items()), b"")
            for member, topics in given.items()
        }

    def _sets(self, subscriptions: Iterable[set[str]]) -> list[TopicSet]:
        """This member's topic sets, and each topic that only others read on its own."""
        known = {topic for topics in self.topic_sets for topic in topics}
        strange = {topic for subscription in subscriptions for topic in subscription} - known
        return [*self.topic_sets, *((topic,) for topic in sorted(strange))]


def share(lanes: int, claims: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    """Lanes 0 to ``lanes`` - 1 over the members, as evenly as can be; claims are kept up to a member's share."""
    members = sorted(claims, key=lambda member: (-len(list(claims[member])), member))
    if not members:
        return {}
    small, rest = divmod(lanes, len(members))
    free = set(range(lanes))
    shares: dict[str, list[int]] = {}
    for place, member in enumerate(members):
        room = small + (place < rest)
        shares[member] = [lane for lane in sorted(set(claims[member])) if lane in free][:room]
        free.difference_update(shares[member])
    for place, member in enumerate(members):
        while len(shares[member]) < small + (place < rest):
            lane = min(free)
            free.remove(lane)
            shares[member].append(lane)
        shares[member].sort()
    return shares


def _readers(topics: TopicSet, subscriptions: Mapping[str, set[str]]) -> list[str]:
    """The members that read most topics of a set."""
    read = {member: len(subscription.intersection(topics)) for member, subscription in subscriptions.items()}
    most = max(read.values(), default=0)
    return [member for member, count in read.items() if count == most and count]


def _owned(user_data: bytes | None) -> Owned:
    try:
        return msgspec.json.decode(user_data or b"{}", type=Owned)
    except msgspec.DecodeError:
        return {}
