"""What the keeper knows of the components, and the file it reports it in."""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

REPORT_AGE_S_MAX = 30.0
"""An older report says nothing of now: the keeper is gone or can't keep up."""


class Health(enum.StrEnum):
    """How a component is."""

    WAITING = "waiting"
    """Not started: something it needs is not healthy yet, or its back-off runs."""
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """It was healthy, lives, and gives no good answer."""


class State(msgspec.Struct, kw_only=True):
    """What the keeper knows of a component; times are seconds of the keeper's clock."""

    health: Health = Health.WAITING
    reason: str = ""
    """Why it is not healthy."""
    failures: int = 0
    """Deaths and hangs in a row; the back-off grows with them."""
    starts: int = 0
    pid: int = 0
    """0: none; ``ASKED_FOR``: asked of supervisord and not seen yet."""
    not_before: float = 0.0
    well_at: float = 0.0
    """Last good answer, or the start."""
    calm_since: float = 0.0
    since: float = 0.0
    """Since when its health is what it is: wall clock, s UTC."""
    resident_bytes: int = 0
    """Memory of its process and all it started, when last measured."""

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return max(0, self.starts - 1)

    def health_of(self, pid: int) -> Health:
        """Of a process that is seen now: until the keeper has looked, what is known is of the one before it."""
        return Health.STARTING if pid not in (0, self.pid) else self.health


class Report(msgspec.Struct, kw_only=True):
    """``run/state.json``: written by the keeper, read by ``koban status`` and ``koban up``."""

    at: float
    """Wall clock, s UTC."""
    keeper_pid: int
    components: dict[str, State]


def report_file(data_dir: Path) -> Path:
    return data_dir / "run" / "state.json"


def read_report(data_dir: Path) -> Report | None:
    """The keeper's last report, or None."""
    try:
        return msgspec.json.decode(report_file(data_dir).read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return None
