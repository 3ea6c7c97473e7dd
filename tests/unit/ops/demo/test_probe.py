"""Percentiles are of the samples themselves, and what can't be measured is not made up."""

import pytest

from ops.demo.probe import percentile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_percentile_is_one_of_the_samples(share: float, expected: float):
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_no_samples_have_no_percentile():
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)
