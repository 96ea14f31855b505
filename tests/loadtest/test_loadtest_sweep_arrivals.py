"""Arrivals of an open loop."""

import numpy as np
import pytest

from shrota_loadtest.perf_analyzer.arrivals import poisson_intervals


@pytest.mark.parametrize(
    ("rate", "period_s", "count"), [(4.0, 8.6, 34), (2.5, 10.0, 25), (100.0, 3.0, 300), (0.05, 9.0, 1)]
)
def test_there_are_as_many_as_the_rate_says(rate: float, period_s: float, count: int) -> None:
    intervals = poisson_intervals(rate, period_s)
    assert len(intervals) == count
    assert (intervals >= 0).all()
    assert intervals.sum() / 1e6 == pytest.approx(count / rate)


def test_they_are_random_as_poisson_s() -> None:
    """Intervals are exponential: their deviation is their mean; the variance of counts is their mean."""
    intervals = poisson_intervals(100.0, 100.0) / 1e6
    assert intervals.std() == pytest.approx(0.01, rel=0.03)
    assert np.quantile(intervals, 0.5) == pytest.approx(0.01 * np.log(2), rel=0.05)
    counts = np.histogram(intervals.cumsum(), bins=1000, range=(0, 100))[0]
    assert counts.var() == pytest.approx(10, rel=0.1)


def test_the_same_seed_gives_the_same() -> None:
    np.testing.assert_array_equal(poisson_intervals(4.0, 8.6), poisson_intervals(4.0, 8.6))
    assert (poisson_intervals(4.0, 8.6) != poisson_intervals(4.0, 8.6, seed=1)).any()
