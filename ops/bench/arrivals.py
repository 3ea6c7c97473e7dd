"""Notes when events arrive, against when they were due; the same object in every latency contender."""

from __future__ import annotations

import os
import sys
import time

import msgspec


class Arrivals:
    """The first event only tells that the contender runs; the last one ends the process."""

    def __init__(self, events: int) -> None:
        self._left = events
        self._delays_ms: list[float] = []

    def add(self, value: bytes) -> None:
        now = time.time()
        due = float(value)
        if due == 0:
            print("ready", flush=True)  # noqa: T201  # the sender waits for it
        else:
            self._delays_ms.append((now - due) * 1000)
        self._left -= 1
        if self._left == 0:
            sys.stdout.buffer.write(msgspec.json.encode({"delays_ms": self._delays_ms}) + b"\n")
            sys.stdout.flush()
            os._exit(0)
