"""Runs the sealer: ``python -m streams.seals``, set up by ``KOBAN_*`` variables."""

from __future__ import annotations

import os

import msgspec
from prometheus_client import Gauge

from koban.ledger.seals import LaneSealer
from koban.settings import Settings
from streams.seals.lane import STAGE, TOPICS, Figures, SealsLane
from streams.transport import BatchApp


def seals_app(settings: Settings) -> BatchApp:
    """Journal and balances in; seals and the leaves under them out, each record sealed once."""
    settings = msgspec.structs.replace(settings, transaction_interval_ms=settings.seal_interval_ms)
    app = BatchApp(STAGE, settings, exactly_once=True)
    figures = _figures(app)
    window_us, grace_us = settings.seal_window_s * 1_000_000, settings.seal_grace_s * 1_000_000
    app.lanes(TOPICS, lambda lane: SealsLane(lane, LaneSealer(lane, window_us, grace_us), app.count, figures))
    return app


def _figures(app: BatchApp) -> Figures:
    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ["lane", *labels], registry=app.metrics.registry)

    return Figures(
        totals=gauge("koban_journal_total_minor", "Yen posted by a lane's entries since the first", "family", "side"),
        unbalanced=gauge("koban_journal_unbalanced_entries", "Entries whose lines don't sum to zero; must be 0"),
        number=gauge("koban_seal_number", "The number of a lane's last seal"),
        sealed_to=gauge("koban_seal_to_seconds", "All that a lane wrote before is sealed; seconds since the epoch"),
    )


if __name__ == "__main__":
    seals_app(Settings.from_environ(os.environ)).main()
