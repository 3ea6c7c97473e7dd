"""The simulator: realistic wallet traffic with a true ledger behind it, and the ground truth about it."""

from ops.simulator.rhythm import Spike
from ops.simulator.truth import Burst, Message, RecordTruth, Summary, Tally
from ops.simulator.world import World

__all__ = ["Burst", "Message", "RecordTruth", "Spike", "Summary", "Tally", "World"]
