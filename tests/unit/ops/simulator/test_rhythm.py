"""The moments of events: exactly as many as the rate says, with the breath of day and week when asked for."""

from __future__ import annotations

import numpy as np
import pytest

from ops.simulator.rhythm import HOUR_US, SPIKE_S, Clock, Spike, busyness

MONDAY_MIDNIGHT_US = 1_748_790_000_000_000
"""2025-06-02 00:00 in Japan."""


def moments(tps: float, seconds: float, **given: object) -> np.ndarray:
    end_us = MONDAY_MIDNIGHT_US + int(seconds * 1_000_000)
    clock = Clock(MONDAY_MIDNIGHT_US, end_us, tps, np.random.default_rng(1), **given)
    return np.concatenate([slots.times_us for slots in clock.slots(1_000)])


@pytest.mark.parametrize(("tps", "seconds"), [(300, 60), (7, 10_000), (0.01, 50_000), (50_000, 1.5)])
def test_a_steady_rate_gives_its_number_of_events(tps, seconds):
    times = moments(tps, seconds)
    assert abs(len(times) - tps * seconds) <= 1
    assert (np.diff(times) >= 0).all()
    assert times[0] >= MONDAY_MIDNIGHT_US
    assert times[-1] < MONDAY_MIDNIGHT_US + seconds * 1_000_000


def test_a_spike_multiplies_the_rate_for_half_a_minute():
    times = moments(100, 120, spike=Spike(10, 40)) - MONDAY_MIDNIGHT_US
    inside = ((times >= 40_000_000) & (times < (40 + SPIKE_S) * 1_000_000)).sum()
    assert inside == 10 * 100 * SPIKE_S
    assert len(times) - inside == 100 * (120 - SPIKE_S)


def test_a_rhythmic_day_has_a_busy_evening_and_about_the_mean_rate():
    times = moments(1, 86_400, rhythmic=True) - MONDAY_MIDNIGHT_US
    by_hour = np.bincount(times // HOUR_US, minlength=24)
    assert by_hour[18] > 10 * by_hour[3]
    assert 0.85 * 86_400 < len(times) < 1.05 * 86_400


def test_fridays_and_paydays_are_busier_than_mondays():
    day_us = 24 * HOUR_US
    noon_us = MONDAY_MIDNIGHT_US + 12 * HOUR_US
    assert busyness(noon_us + 4 * day_us) > busyness(noon_us)
    assert busyness(noon_us + 8 * day_us) > busyness(noon_us + 7 * day_us), "10 June is a payday"


def test_moments_of_one_block_lie_in_one_hour():
    clock = Clock(MONDAY_MIDNIGHT_US, MONDAY_MIDNIGHT_US + 3 * HOUR_US, 1, np.random.default_rng(1))
    for slots in clock.slots(500):
        assert len(set((slots.times_us // HOUR_US).tolist())) == 1
