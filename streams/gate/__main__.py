"""Runs the gate: `python -m streams.gate`, set up by `KOBAN_*` variables."""

from __future__ import annotations

import os

from koban.settings import Settings
from streams.gate.lane import RAW, REKEYED, STAGE, gate_lane
from streams.transport import BatchApp


def gate_app(settings: Settings) -> BatchApp:
    """Raw and moved events in; valid ones, moved ones and dead letters out, exactly once."""
    app = BatchApp(STAGE, settings, exactly_once=True)
    app.lanes((RAW, REKEYED), gate_lane(settings, app.count))
    return app


if __name__ == "__main__":
    gate_app(Settings.from_environ(os.environ)).main()
