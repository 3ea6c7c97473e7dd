"""The batched transport: Faust workers that read, work on and commit micro-batches of one partition.

An app says what it reads and what works on it; see ``BatchApp``, ``Lane`` and ``Batch``.
"""

from streams.transport.app import BatchApp, group_of
from streams.transport.batch import Batch, Record
from streams.transport.driver import LostRecordsError
from streams.transport.lane import Lane
from streams.transport.lane_log import LaneLog, MissingTopicError, Span

__all__ = [
    "Batch",
    "BatchApp",
    "Lane",
    "LaneLog",
    "LostRecordsError",
    "MissingTopicError",
    "Record",
    "Span",
    "group_of",
]
