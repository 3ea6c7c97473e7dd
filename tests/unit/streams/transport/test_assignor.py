"""How lanes are shared out among the members of a group."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.assignor import LaneAssignor, share


class Cluster:
    """Topics with their partition counts."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._counts[topic]))


def assign(
    assignor: LaneAssignor, cluster: Cluster, members: dict[str, ConsumerProtocolMemberMetadata]
) -> dict[str, dict[str, list[int]]]:
    given_out = assignor.assign(cluster, members)
    return {member: dict(assignment.assignment) for member, assignment in given_out.items()}


def member(topics: Iterable[str], owned: dict[str, list[int]] | None = None) -> ConsumerProtocolMemberMetadata:
    assignor = LaneAssignor([topics])
    assignor.owned = owned or {}
    return assignor.metadata(topics)


def test_partitions_of_one_number_go_to_one_member() -> None:
    topics = ("payments", "payments-rekeyed")
    found = assign(
        LaneAssignor([topics]),
        Cluster(**{"payments": 4, "payments-rekeyed": 4}),
        {name: member(topics) for name in ("a", "b", "c")},
    )
    assert all(lanes["payments"] == lanes["payments-rekeyed"] for lanes in found.values())
    assert sorted(lane for lanes in found.values() for lane in lanes["payments"]) == [0, 1, 2, 3]


def test_members_keep_what_they_have_when_another_joins() -> None:
    found = assign(
        LaneAssignor([("t",)]), Cluster(t=4), {"a": member(("t",)), "z": member(("t",), {"t": [0, 1, 2, 3]})}
    )
    assert found == {"a": {"t": [2, 3]}, "z": {"t": [0, 1]}}


def test_what_a_member_says_it_has_comes_from_its_last_assignment() -> None:
    assignor = LaneAssignor([("t", "u")])
    assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [("u", [3]), ("t", [3])], b""))
    found = assign(assignor, Cluster(t=4, u=4), {"a": member(("t", "u")), "b": assignor.metadata(("t", "u"))})
    assert 3 in found["b"]["t"]


def test_an_older_version_that_reads_fewer_topics_gets_no_lane_of_the_set() -> None:
    """Otherwise two workers would both own a lane, each with a part of its topics."""
    found = assign(LaneAssignor([("t", "u")]), Cluster(t=2, u=2), {"old": member(("t",)), "new": member(("t", "u"))})
    assert found == {"old": {}, "new": {"t": [0, 1], "u": [0, 1]}}


def test_a_topic_that_only_others_know_is_shared_out_too() -> None:
    found = assign(LaneAssignor([("t",)]), Cluster(t=2, x=2), {"a": member(("t",)), "b": member(("t", "x"))})
    assert found["b"]["x"] == [0, 1]
    assert sorted(found["a"]["t"] + found["b"]["t"]) == [0, 1]


def test_user_data_of_a_stranger_counts_as_none() -> None:
    stranger = ConsumerProtocolMemberMetadata(0, ["t"], b"\x00\x01")
    assert assign(LaneAssignor([("t",)]), Cluster(t=1), {"a": stranger}) == {"a": {"t": [0]}}


@given(
    lanes=st.integers(1, 12),
    claims=st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.lists(st.integers(0, 15)), min_size=1),
)
def test_every_lane_has_one_owner_and_shares_differ_by_one_at_most(lanes: int, claims: dict[str, list[int]]) -> None:
    shares = share(lanes, claims)
    assert sorted(lane for owned in shares.values() for lane in owned) == list(range(lanes))
    sizes = {len(owned) for owned in shares.values()}
    assert max(sizes) - min(sizes) <= 1


@given(lanes=st.integers(1, 12), members=st.integers(1, 5), leaves=st.integers(0, 4))
def test_only_lanes_of_who_left_move(lanes: int, members: int, leaves: int) -> None:
    before = share(lanes, {f"m{number}": [] for number in range(members + 1)})
    gone = f"m{leaves % (members + 1)}"
    after = share(lanes, {name: owned for name, owned in before.items() if name != gone})
    assert all(set(before[name]) <= set(after[name]) for name in after)
