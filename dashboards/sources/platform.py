"""The platform's components as its keeper last reported them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

REPORT_AGE_S_MAX = 15.0
"""An older report means that nobody watches the components."""


class Component(msgspec.Struct):
    """One process of the platform."""

    health: str = "waiting"
    reason: str = ""
    starts: int = 0
    pid: int = 0
    failures: int = 0
    """Deaths and hangs in a row; forgotten after a while in good health."""
    since: float = 0.0
    """Since when its health is what it is, in seconds since the epoch; 0 when the keeper does not say."""
    resident_bytes: int = 0
    """Memory of its process and all it started; 0 when not measured."""

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return max(0, self.starts - 1)

    @property
    def broken(self) -> bool:
        """It was at work once and is not now; one that comes up for the first time is not broken."""
        return self.health == "unhealthy" or (self.health != "healthy" and self.failures > 0)


class _Report(msgspec.Struct):
    at: float
    components: dict[str, Component]


class Platform:
    """Reads ``run/state.json`` of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / "run" / "state.json"

    async def ask(self) -> dict[str, Component]:
        """Component → how it is. Raises OSError or ValueError when nobody watches them."""
        report = msgspec.json.decode(self._file.read_bytes(), type=_Report)
        age_s = time.time() - report.at
        if age_s > REPORT_AGE_S_MAX:
            raise ValueError(f"the keeper's last report is {age_s:.0f} s old")
        return report.components
