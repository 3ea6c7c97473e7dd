"""Logs: lines for people in a terminal, one JSON object a line everywhere else."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

QUIET = ("aiokafka", "mode", "faust", "kafka", "asyncio")
"""Libraries that are heard from warnings on."""


THROTTLE_S = 5.0


class JsonFormatter(logging.Formatter):
    """``{"at", "level", "logger", "stage", "message"}`` and ``error`` with the traceback, if there is one."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "stage": self._stage,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            row["error"] = self.formatException(record.exc_info)
        return orjson.dumps(row).decode()


class Throttle(logging.Filter):
    """Lets one line of a kind through in a while: a broker that is away makes aiokafka say so hundreds of times a
    second. The next line that passes says how many did not."""

    def __init__(self, interval_s: float = THROTTLE_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, str(record.msg))
        now = self._clock()
        passed_at, held = self._kinds.get(kind, (-math.inf, 0))
        if now - passed_at < self._interval_s:
            self._kinds[kind] = (passed_at, held + 1)
            return False
        self._kinds[kind] = (now, 0)
        if held:
            record.msg = f"{record.msg} (and {held} more like it)"
        return True


def configure(stage: str) -> None:
    """Sets up the root logger on standard error."""
    throttle = Throttle()
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter(stage))
    handler.addFilter(lambda record: record.name.partition(".")[0] not in QUIET or throttle.filter(record))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
