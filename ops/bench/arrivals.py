"""Notes when events arrive, against when they were due; the same object in every latency contender."""

from __future__ import annotations

import os
import time

import msgspec

from ops.bench.meter import STANDARD_OUTPUT


class Arrivals:
    """The first event only tells that the contender runs; the last one ends the process."""

    def __init__(self, events: int) -> None:
        self._left = events
        self._delays_ms: list[float] = []

    def add(self, value: bytes) -> None:
        now = time.time()
        due = float(value)
        if due == 0:
            os.write(STANDARD_OUTPUT, b"ready\n")
        else:
            self._delays_ms.append((now - due) * 1000)
        self._left -= 1
        if self._left == 0:
            os.write(STANDARD_OUTPUT, msgspec.json.encode({"delays_ms": self._delays_ms}) + b"\n")
            os._exit(0)
