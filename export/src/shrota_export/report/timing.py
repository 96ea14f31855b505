"""Times of several variants that take turns, so that whatever else the machine does meets all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Times of one variant, in seconds: median, quartiles, 95th percentile and how many there are."""

    median: float
    low: float
    high: float
    p95: float
    count: int

    @classmethod
    def of(cls, times: list[float]) -> "Spread":
        """Of at least one time."""
        low, middle, high, p95 = (float(value) for value in np.quantile(times, [0.25, 0.5, 0.75, 0.95]))
        return cls(middle, low, high, p95, len(times))

    def as_dict(self) -> dict[str, float]:
        """In plain types."""
        return asdict(self)


def run_of(engine: Callable[[Any, Any], object], batch: tuple[Any, Any]) -> Callable[[], object]:
    """A run of an engine on AUDIO [B, T], NUM_SAMPLES [B, 1], to be timed."""
    return lambda: engine(*batch)


def time_turns(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    most_s: float = 60.0,
    least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Runs all variants once to warm up, then in ``rounds`` rounds one after the other.

    Args:
        variants: what to run, by name.
        rounds: at most.
        most_s: no round begins after as many seconds, but the ``least`` are run in any case.
        least: rounds.
        clock: seconds.

    Returns:
        The times of each variant, by round.
    """
    for run in variants.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    begun = clock()
    for turn in range(rounds):
        if turn >= least and clock() - begun > most_s:
            break
        for name, run in variants.items():
            started = clock()
            run()
            times[name].append(clock() - started)
    return times


def take_turns(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    most_s: float = 60.0,
    least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Spread]:
    """The spread of the times of each variant, see :func:`time_turns`."""
    times = time_turns(variants, rounds, most_s=most_s, least=least, clock=clock)
    return {name: Spread.of(found) for name, found in times.items()}


def spread_text(found: Mapping[str, float]) -> str:
    """Median and quartiles in milliseconds."""
    return f"{1000 * found['median']:,.1f} ms ({1000 * found['low']:,.1f} to {1000 * found['high']:,.1f})"
