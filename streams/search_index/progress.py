"""How far the index is complete, told by the stage and kept beside the documents, so that every search can say it.

A lane that is caught up is complete to a moment ago, one that is behind to the last record it indexed. The moment
allows for the two delays that nobody sees: a fetch that is still on its way, and the index's refresh.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sinks.contract import Item
from sinks.opensearch_schema import PROGRESS, REFRESH_INTERVAL_S

FETCH_S = 1.0
_SETTLED_US = int((FETCH_S + REFRESH_INTERVAL_S) * 1_000_000)


class LaneProgress(msgspec.Struct, frozen=True):
    """A lane's mark: every payment of it that came in before ``complete_to_us`` can be found."""

    stage: str
    partition: int
    complete_to_us: int


class Progress:
    """Remembers each lane's last record; says on demand how far each lane is complete."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._last_us: dict[int, int] = {}

    def indexed(self, partition: int, ingested_at_us: int) -> None:
        """A batch of a lane is indexed, its last record came in at this time."""
        self._last_us[partition] = ingested_at_us

    def marks(self, lags: Iterable[tuple[int, int]], now_us: int) -> list[LaneProgress]:
        """The marks of (lane, records behind) at an instant. A lane that is behind from its start has none."""
        return [
            LaneProgress(self._stage, lane, (self._last_us[lane] if behind else now_us) - _SETTLED_US)
            for lane, behind in lags
            if not behind or lane in self._last_us
        ]


def item_of(mark: LaneProgress) -> Item:
    """A mark as it is written; the latest stays."""
    return Item(PROGRESS, f"{mark.stage}-{mark.partition}", msgspec.json.encode(mark), mark.complete_to_us)
