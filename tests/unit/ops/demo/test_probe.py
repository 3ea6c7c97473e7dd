"""Percentiles are of the samples themselves, and what can't be measured is not made up."""

from pathlib import Path

import pytest

from koban.settings import Settings
from ops.demo.probe import Probe, percentile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_percentile_is_one_of_the_samples(share: float, expected: float):
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_no_samples_have_no_percentile():
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_a_stage_that_was_never_seen_is_left_out():
    probe = Probe(Settings(data_dir=Path("data"), lake_dir=Path("lake")))
    probe._take("cashback", 1_000, b"{}", 2_000.0)
    probe._take("journal", 1_000, b"{}", 1_250.0)
    assert probe.latency_ms() == {"ledger": {"p50": 250.0, "p99": 250.0, "samples": 1}}
