"""Runs the ledger: `python -m streams.ledger`, set up by `KOBAN_*` variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from prometheus_client import Gauge

from koban.ledger.lives import Store
from koban.ledger.standing import PATH
from koban.settings import Settings
from streams.ledger.lane import TOPICS, LedgerLane
from streams.ledger.standing_page import StandingPage
from streams.ledger.store import LaneStore
from streams.transport import BatchApp


def ledger_app(settings: Settings) -> BatchApp:
    """Valid events, cashback and legs in; journal, balances, legs to other lanes and dead letters out, exactly once."""
    app = BatchApp("ledger", settings, exactly_once=True)
    imbalance = Gauge(
        "koban_ledger_imbalance_minor",
        "Yen by which a lane's accounts and its legs in flight don't sum to zero; must be 0",
        ["lane"],
        registry=app.metrics.registry,
    )
    balance = Gauge(
        "koban_ledger_balance_minor",
        "Yen on the accounts of a family, debits positive; with the legs in flight a lane's sum is 0",
        ["lane", "family"],
        registry=app.metrics.registry,
    )

    def tell(lane: int, families: Mapping[str, int]) -> None:
        for family, minor in families.items():
            balance.labels(str(lane), family).set(minor)

    lanes = settings.payment_partitions
    app.pages[PATH] = standings = StandingPage(lanes, settings.ledger_token)
    app.lanes(
        TOPICS,
        lambda lane: standings.has(
            LedgerLane(
                lane,
                lanes,
                app.count,
                imbalance.labels(str(lane)).set,
                trial_balance=partial(tell, lane),
                store=LaneStore(settings.data_dir / "ledger" / f"lane-{lane}", lane, lanes),
                checkpoint_s=settings.ledger_checkpoint_s,
                lives=partial(Store, settings.ledger_late_days, settings.ledger_tombstone_days),
            )
        ),
    )
    return app


if __name__ == "__main__":
    ledger_app(Settings.from_environ(os.environ)).main()
