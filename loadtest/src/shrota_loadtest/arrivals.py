"""When requests arrive in an open loop: a Poisson process, which does not wait for anybody's answer.

The sum of independent Poisson processes is one, with the sum of their rates: so Locust's number of users, each of them
one source, sets the rate of all arrivals, in one process or in many.
"""

from collections.abc import Iterator

import numpy as np


def arrival_times(rate: float, start: float, generator: np.random.Generator) -> Iterator[float]:
    """Moments of arrivals after ``start``, without end: the gaps between them are exponential with mean ``1 / rate``.

    Args:
        rate: arrivals a second, on the average.
        start: in seconds of any clock.
        generator: of the gaps.
    """
    moment = start
    while True:
        moment += generator.exponential(1.0 / rate)
        yield moment
