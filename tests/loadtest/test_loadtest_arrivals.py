"""Arrivals of an open loop: their rate, that they are random, and that their sum is what one source would give."""

import itertools

import numpy as np
import pytest

from shrota_loadtest.arrivals import arrival_times


def gaps(rate: float, count: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Seconds between arrivals; the first one's from the start."""
    times = list(itertools.islice(arrival_times(rate, 100.0, np.random.default_rng(seed)), count))
    return np.diff(times, prepend=100.0)


def test_gaps_are_exponential_with_the_mean_of_the_rate() -> None:
    found = gaps(4.0, 20000, 0)
    assert found.mean() == pytest.approx(0.25, rel=0.02)
    assert found.std() == pytest.approx(0.25, rel=0.03)
    # exp(-1) of the gaps are longer than their mean
    assert (found > 0.25).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert np.corrcoef(found[1:], found[:-1])[0, 1] == pytest.approx(0.0, abs=0.02)


def test_many_sources_together_are_one_with_the_sum_of_the_rates() -> None:
    sources = [arrival_times(0.1, 0.0, np.random.default_rng(seed)) for seed in range(50)]
    moments = np.concatenate([list(itertools.takewhile(lambda moment: moment < 2000, source)) for source in sources])
    counts = np.histogram(moments, bins=2000, range=(0, 2000))[0]
    assert counts.mean() == pytest.approx(5.0, rel=0.03)
    # of a Poisson process, counts in a second vary by as much as their mean
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.1)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    np.testing.assert_array_equal(gaps(2.0, 10, 3), gaps(2.0, 10, 3))
    assert gaps(2.0, 10, 3)[0] != gaps(2.0, 10, 4)[0]
