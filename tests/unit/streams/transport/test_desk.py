"""What a worker can say of its lanes while they come and go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from koban.settings import Settings
from streams.transport import BatchApp, Lane


class Lagging:
    """A runner as the desk asks it."""

    def __init__(self, *tps: TopicPartition, done: int = 0, restored: bool = True) -> None:
        self.tps = list(tps)
        self.done = done
        self.restored = restored

    def lag(self, ends: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        return {tp: end - self.done for tp, end in ends.items()}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchApp:
    app = BatchApp("gate", Settings(data_dir=tmp_path, lake_dir=tmp_path))
    app.lanes(("payments", "refunds"), Lane)

    def ends(tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 10)

    monkeypatch.setattr(app.desk, "_stable_ends", ends)
    return app


def runners(app: BatchApp, made: Sequence[Lagging]) -> None:
    for at, runner in enumerate(made):
        app.desk.runners["payments", at] = runner  # type: ignore[assignment]


def test_lags_are_of_one_topic_and_of_restored_lanes(app: BatchApp) -> None:
    of = [[TopicPartition(topic, at) for topic in ("payments", "refunds")] for at in range(3)]
    runners(app, [Lagging(*of[0], done=10), Lagging(*of[1], done=7), Lagging(*of[2], restored=False)])
    assert app.desk.lags("payments") == [(0, 0), (1, 3)]
    assert app.desk.lags("elsewhere") == []


def test_lanes_may_go_while_someone_works_through_their_lags(app: BatchApp) -> None:
    runners(app, [Lagging(TopicPartition("payments", at)) for at in range(3)])
    seen = []
    for partition, _ in app.desk.lags("payments"):
        seen.append(partition)
        app.desk.runners.pop(("payments", 2), None)
    assert seen == [0, 1, 2]
