"""Runs the stage: ``python -m streams.alerts``, set up by ``KOBAN_*`` variables."""

from __future__ import annotations

import os
from functools import partial

from koban.settings import Settings
from streams.alerts.lane import SIGNALS, STAGE, AlertsLane
from streams.transport import BatchApp


def alerts_app(settings: Settings) -> BatchApp:
    """Signals in, alerts out, each signal with one effect."""
    app = BatchApp(STAGE, settings, exactly_once=True)
    app.lanes((SIGNALS,), partial(AlertsLane, count=app.count))
    return app


if __name__ == "__main__":
    alerts_app(Settings.from_environ(os.environ)).main()
