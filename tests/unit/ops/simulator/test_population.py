"""The world's people and shops: ids of their own, Japanese names, a few giants and many dwarfs, shops that close."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from koban.events import EVENT_TYPES
from ops.simulator.catalogue import ALWAYS_THERE, TRADES
from ops.simulator.population import Population, Streets
from ops.simulator.prices import AMOUNT_MINOR_MAX, price_table

FOUR_US = 1_748_804_400_000_000
"""2025-06-02 04:00 in Japan."""


def test_ids_are_unique_and_say_their_kind():
    population = Population(1, 5_000, 800)
    ids = [
        *population.wallets,
        *population.devices,
        *(merchant.id for merchant in population.merchants),
        *(store.id for store in population.stores),
        *(till.terminal_id for till in population.tills),
    ]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[wdmst]-[0-9A-HJKMNP-TV-Z]{8}", each) for each in ids)


def test_kinds_share_no_signs_behind_the_prefix():
    population = Population(1, 5_000, 800)
    wallets = {wallet[2:] for wallet in population.wallets}
    assert not wallets & {merchant.id[2:] for merchant in population.merchants}


def test_names_are_japanese_and_merchants_names_are_their_own():
    population = Population(2, 10, 3_000)
    names = [merchant.name for merchant in population.merchants]
    assert len(set(names)) == len(names)
    assert all(re.search(r"[ぁ-んァ-ヶ一-龠]", name) for name in names)
    assert any(re.search(r" .+(駅前店|2号店)$", store.name) for store in population.stores)
    assert max(len(store.name) for store in population.stores) <= 60


def test_popularity_follows_zipfs_law(run):
    """On double logarithmic paper the sales over the rank are a line that falls by about one decade per decade."""
    sales = Counter(event["body"]["merchant_id"] for event in run.events if event["event_type"] == "PaymentCompleted")
    counts = np.array(sorted(sales.values(), reverse=True)[:100], dtype=float)
    slope, _ = np.polyfit(np.log(np.arange(1, len(counts) + 1)), np.log(counts), 1)
    assert -1.6 < slope < -0.8
    assert counts[0] > 0.05 * sum(sales.values())


def test_some_shop_is_open_at_any_hour_in_any_world():
    for merchants in (1, 2, 20):
        streets = Streets(Population(3, 10, merchants))
        assert all(streets.pull(hour, weekend)[-1] > 0 for hour in range(24) for weekend in (False, True))
    assert "0" not in TRADES[ALWAYS_THERE[0]].hours


def test_nobody_pays_where_it_is_closed(make_run):
    """At four in the morning in Japan, only shops with business at that hour sell."""
    night = make_run(users=500, merchants=100, tps=20, stream={"seconds": 300, "start_us": FOUR_US})
    open_mccs = {trade.mcc for trade in TRADES if trade.hours[4] != "0"}
    sold = {
        event["body"]["mcc"]
        for event in night.events
        if event["event_type"] == "PaymentCompleted" and 0 <= event["occurred_at_us"] - FOUR_US < 300_000_000
    }
    assert sold
    assert sold <= open_mccs


def test_prices_rise_with_their_quantile_and_end_as_prices_do():
    table = price_table()
    assert (np.diff(table, axis=1) >= 0).all()
    assert table.min() >= 1
    assert table.max() <= AMOUNT_MINOR_MAX
    for trade, amounts in zip(TRADES, table, strict=True):
        assert 0.6 * trade.median_minor < np.median(amounts) < 1.6 * trade.median_minor
        if trade.style == "ten":
            assert (amounts % 10 == 0).all()
        if trade.style == "tag":
            assert (amounts[amounts < AMOUNT_MINOR_MAX] % 100 == 90).all()


def test_the_simulator_knows_no_event_that_the_contracts_do_not(run):
    assert {message.event_type for message in run.messages if message.event_type} <= set(EVENT_TYPES)
