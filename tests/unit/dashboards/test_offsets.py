"""How late a group is, told from where a partition ended over time, without reading a record."""

from __future__ import annotations

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from dashboards.sources.offsets import ENDS_KEPT, Ends, made

VALID_0, VALID_1 = TopicPartition("payments-valid", 0), TopicPartition("payments-valid", 1)


def seen(*ends: tuple[float, int]) -> Ends:
    history = Ends()
    for at, end in ends:
        history.see(at, end)
    return history


def test_an_unread_record_is_as_old_as_the_look_that_first_saw_it() -> None:
    """A group at 150 has not read what was first seen at 102 s; one at the end has read all."""
    history = seen((100, 100), (102, 200), (104, 300), (106, 300))
    assert history.age_s(150, now=110) == 8
    assert history.age_s(200, now=110) == 6
    assert history.age_s(300, now=110) == 0
    assert history.age_s(0, now=110) == 10, "at least: nobody looked before"


def test_a_topic_made_anew_has_no_past() -> None:
    """Its offsets begin again; the old ones say nothing."""
    assert seen((100, 900), (200, 5)).age_s(0, now=201) == 1


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """Unknown at the first look."""
    assert seen((100, 100)).rate_per_s() is None
    assert seen((100, 100), (102, 300)).rate_per_s() == 100
    assert seen((0, 0), (100, 5_000), (105, 5_050), (110, 5_100)).rate_per_s() == 10


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(0, 5_000))
def test_the_age_is_right_whatever_was_seen(steps: list[int], offset: int) -> None:
    """The same as asking every look ever made, as long as all are kept."""
    history, looks, end = Ends(), [], 0
    for at, step in enumerate(steps):
        end += step
        history.see(at, end)
        looks.append((at, end))
    expected = next((len(steps) - at for at, seen_end in looks if seen_end > offset), 0)
    assert history.age_s(offset, now=len(steps)) == expected


def test_what_is_remembered_is_bounded() -> None:
    """A long standstill is told as at least as long as what is kept."""
    history = seen(*((at, at + 1) for at in range(3 * ENDS_KEPT)))
    assert history.age_s(0, now=3 * ENDS_KEPT) == ENDS_KEPT


def test_topics_with_the_groups_that_read_them() -> None:
    """Lag in records is the sum over partitions, in seconds that of the worst one."""
    ends = {VALID_0: 120, VALID_1: 80}
    history = {VALID_0: seen((90, 100), (99, 120)), VALID_1: seen((90, 70), (98, 80))}
    committed = {"koban-ledger": {VALID_0: 110, VALID_1: 75}, "koban-lake": {VALID_0: 120, VALID_1: 80}}
    found = made(ends, {VALID_0: 20, VALID_1: 0}, history, committed, now=100)
    topic = found.topics["payments-valid"]
    assert (topic.begins, topic.ends, topic.offsets) == ({0: 20, 1: 0}, {0: 120, 1: 80}, 180)
    assert [(lag.group, lag.records, lag.seconds) for lag in found.lags()] == [
        ("koban-lake", 0, 0.0),
        ("koban-ledger", 15, 2),
    ]


def test_a_topic_that_is_gone_is_not_lagged_behind() -> None:
    """A group keeps its offsets for a while after a topic is deleted."""
    assert made({}, {}, {}, {"koban-ledger": {VALID_0: 3}}, now=1).topics == {}
