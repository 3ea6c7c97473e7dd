"""Logs: lines for people in a terminal, one JSON object a line everywhere else."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

QUIET = ("aiokafka", "mode", "faust", "kafka", "asyncio")
"""Libraries that are heard from warnings on."""


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


def configure(stage: str) -> None:
    """Sets up the root logger on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter(stage))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
