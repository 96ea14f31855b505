"""When requests arrive in an open loop.

perf_analyzer's own ``--request-distribution poisson`` draws as many arrivals as its windows may last, always with the
same seed (a default-constructed ``std::mt19937`` in ``RequestRateManager``): of the 34 arrivals in 8.6 s at 4 a second
it has 21, in every run. So the arrivals are drawn here, and given to it as ``--request-intervals``.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_client.writing import writing


def poisson_intervals(rate: float, period_s: float, seed: int = 0) -> NDArray[np.int64]:
    """Microseconds between arrivals [N]: a Poisson process, of which as many arrive in the period as the rate says.

    Given their number, the arrivals of a Poisson process are independent and uniform over the period. perf_analyzer
    goes round the intervals, so any stretch as long as the period has all of them.

    Args:
        rate: arrivals a second.
        period_s: seconds after which they come again.
        seed: the same gives the same arrivals.
    """
    count = max(1, round(rate * period_s))
    period = round(1e6 * count / rate)  # what whole arrivals take
    times = np.sort(np.random.default_rng(seed).integers(period, size=count))
    return np.diff(times, prepend=times[-1] - period)


def write_intervals(path: Path, rate: float, period_s: float) -> None:
    """Writes a line for each interval.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(path):
        path.write_text("".join(f"{each}\n" for each in poisson_intervals(rate, period_s)), encoding="utf-8")
