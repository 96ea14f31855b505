"""The points of a sweep over load, one after the other, as long as there is time."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from shrota_loadtest.sweep.measure import Addresses, Order, described, measure
from shrota_loadtest.sweep.plan import Point
from shrota_loadtest.sweep.rounds import Say, outcome

LEFT_OUT = "left out: the time was over"


class Deadline:
    """The end of a sweep: nothing new is begun after it."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def is_over(self) -> bool:
        """Whether it has passed; never where there is none."""
        return self._end is not None and time.monotonic() > self._end


def measure_points(
    order: Order, addresses: Addresses, points: Sequence[Point], say: Say, is_over: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Plain data of each point; one that fails or for which no time is left says so, and the others go on."""
    found = []
    for number, point in enumerate(points, start=1):
        if is_over():
            found.append({**described(point), "failed": LEFT_OUT})
            continue
        found.append(measure(order, addresses, point))
        say(f"{number} of {len(points)}: {point.label}: {outcome(found[-1])}")
    return found
