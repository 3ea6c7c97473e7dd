"""A lane: partition p of all topics that a stage reads together, worked on by one worker at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from streams.transport.batch import Batch, Record

if TYPE_CHECKING:
    from streams.transport.lane_log import LaneLog


class Lane:
    """State and steps of one partition number. A worker has one object a lane it was given.

    The calls of a lane never overlap: ``restore``, then ``on_batch`` for one batch after another with ``on_written``
    and ``on_timer`` in between, then ``close``.
    An exception in any of them stops the worker; its supervisor starts it afresh from what is committed, so an
    object never goes on with half-changed state.
    """

    timer_s: float | None = None
    """How often ``on_timer`` is called, in seconds; None: never."""

    def __init__(self, partition: int) -> None:
        self.partition = partition

    async def restore(self, log: LaneLog) -> None:
        """Builds the state up from the log, before the first batch. Older workers of this lane are fenced by now."""

    async def on_batch(self, batch: Batch) -> None:
        """Works on one batch; what it emits is written, and the batch committed, once it has returned."""
        raise NotImplementedError

    async def on_timer(self, batch: Batch, at_us: int, read: Collection[str]) -> None:
        """Time passes, whether records come or not; ``batch`` has none, and takes what is written because of it.

        At ``at_us`` (UTC microseconds), all that was committed in the lane's partitions of the ``read`` topics had been
        worked on.
        """

    async def on_written(self, ends: Mapping[tuple[str, int], int]) -> None:
        """What the batches before emitted is written, and committed with their offsets when the stage is exactly-once.

        ``ends``: topic, partition → the offset behind the last record that was written there; without those that the
        brokers did not tell.
        """

    async def close(self) -> None:
        """Lets go of what the lane holds: it went to another worker, or the worker stops. Not called on a crash."""


RecordLists = AsyncIterator[Sequence[Record]]
