"""Whether perf_analyzer's windows agree.

It would judge that itself, but where they differ by more than it allows it writes no report at all.
"""

import math
from collections.abc import Sequence

WINDOWS = 3
"""That are measured; perf_analyzer wants three at least."""
MOST_APART = 0.25
"""By which a window may differ from the mean of all: with utterances of mixed lengths, few windows are alike."""
CHANCE = 3.0
"""Standard deviations by which a count of random arrivals may differ from its mean."""
BEHIND = 0.1
"""The share of the arrivals of an open loop, whose number is known, that may be under way at the end."""
GROWN = 2.0
"""Times the latency of the first window that the last may have in an open loop, where it has risen all the time."""

Window = tuple[float, float]
"""Inferences a second, mean latency in milliseconds."""


def why_unstable(windows: Sequence[Window], window_s: float, rate: float | None = None) -> str | None:
    """What speaks against taking the mean of some windows.

    In a closed loop neither throughput nor latency may differ by more than :data:`MOST_APART`. In an open loop arrivals
    are random: throughput may differ from window to window by as much as chance makes it (:data:`CHANCE`), latency
    must not keep growing, and all together must be answered, but for :data:`BEHIND`.

    Args:
        windows: in their order.
        window_s: seconds of each.
        rate: arrivals a second of an open loop; None for a closed loop.

    Returns:
        A few words, also where fewer than :data:`WINDOWS` windows are known; None where nothing does.
    """
    if len(windows) < WINDOWS:
        count = f"only {len(windows)}" if windows else "none"
        return f"{count} of its {WINDOWS} windows {'is' if len(windows) == 1 else 'are'} known"
    throughput, latency = ([window[index] for window in windows] for index in (0, 1))
    if rate is not None:
        return _why_overrun(throughput, latency, window_s, rate)
    if _apart(throughput) > MOST_APART:
        return f"throughput of its windows differs by {100 * _apart(throughput):.0f} %"
    if _apart(latency) > MOST_APART:
        return f"latency of its windows differs by {100 * _apart(latency):.0f} %"
    return None


def _why_overrun(throughput: Sequence[float], latency: Sequence[float], window_s: float, rate: float) -> str | None:
    """The same of an open loop."""
    answered = sum(throughput) / len(throughput)
    if answered < rate * (1 - BEHIND):
        return f"{answered:.3g} of {rate:g} requests a second are answered, the server does not keep up"
    if _apart(throughput) > max(MOST_APART, CHANCE / math.sqrt(rate * window_s)):
        return f"throughput of its windows differs by {100 * _apart(throughput):.0f} %"
    if list(latency) == sorted(latency) and latency[-1] > GROWN * latency[0]:
        return "latency grows all the time, the server does not keep up"
    return None


def _apart(values: Sequence[float]) -> float:
    """How far the furthest is from the mean, as a share of it."""
    mean = sum(values) / len(values)
    return max(abs(value - mean) for value in values) / mean if mean else 0.0
