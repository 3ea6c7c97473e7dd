"""What a contender does with each payment, and what it cost: the same object in every one of them."""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ops.bench.payments import digest

WARM_UP = 0.1
"""This part of the events is worked on before the meter starts: imports, joining the group and first fetches."""


class Body(msgspec.Struct, gc=False):
    wallet_id: str
    merchant_id: str
    amount_minor: int


class Payment(msgspec.Struct, gc=False):
    event_id: str
    occurred_at_us: int
    body: Body


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a contender prints as one JSON line."""

    events: int
    """Metered, so without the warm-up."""
    wall_s: float
    cpu_s: float
    """User and system time of all threads and ended children."""
    rss_mb: float
    """At its highest."""
    digest: str
    restored_s: float = 0.0
    """Of a contender that rebuilds its state: from its start until it was ready to work."""


STANDARD_OUTPUT = 1
"""Written to as it is: Faust puts a logger in place of ``sys.stdout``."""
ONE = msgspec.json.Decoder(Payment)
MANY = msgspec.json.Decoder(list[Payment])


class Meter:
    """Keeps count and sum of every wallet; ends the process with the result when the last event was seen."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.seen = 0
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.sums: defaultdict[str, int] = defaultdict(int)
        self._start_at = int(events * WARM_UP)
        self._started: tuple[int, float, float] | None = None

    def add(self, value: bytes) -> bool:
        """One payment. True when it was the last."""
        body = ONE.decode(value).body
        self.counts[body.wallet_id] += 1
        self.sums[body.wallet_id] += body.amount_minor
        return self.tick(1)

    def add_all(self, values: Sequence[bytes]) -> bool:
        """Payments at once. True when the last was among them."""
        counts, sums = self.counts, self.sums
        for payment in MANY.decode(b"[" + b",".join(values) + b"]"):
            body = payment.body
            counts[body.wallet_id] += 1
            sums[body.wallet_id] += body.amount_minor
        return self.tick(len(values))

    def discard_all(self, values: Sequence[bytes]) -> bool:
        """Decodes and forgets: the roofline."""
        MANY.decode(b"[" + b",".join(values) + b"]")
        return self.tick(len(values))

    def tick(self, count: int) -> bool:
        """True when all events were seen."""
        self.seen += count
        if self._started is None and self.seen >= self._start_at:
            self._started = (self.seen, time.perf_counter(), cpu_s())
        return self.seen >= self.events

    def cost(self) -> Cost:
        assert self._started is not None
        seen, wall, cpu = self._started
        spent = (time.perf_counter() - wall, cpu_s() - cpu)
        return Cost(
            events=self.seen - seen,
            wall_s=spent[0],
            cpu_s=spent[1],
            rss_mb=peak_rss_mb(),
            digest=self.answer(),
        )

    def answer(self) -> str:
        """The contender's answer: count and sum of every wallet."""
        return digest({wallet: (count, self.sums[wallet]) for wallet, count in self.counts.items()})

    def finish(self, cost: Cost | None = None) -> None:
        finish(cost or self.cost())


def finish(cost: Cost) -> None:
    """Prints the cost and ends the process at once: how fast a library stops is another question."""
    os.write(STANDARD_OUTPUT, msgspec.json.encode(cost) + b"\n")
    os._exit(0)


def peak_rss_mb(process: int | Literal["self"] = "self") -> float:
    """Of one program alone: ``ru_maxrss`` would also count what the process was before it became this program."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
