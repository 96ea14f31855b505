"""What other programs do meanwhile: a time that was measured beside them says little."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

QUIET = 0.05
"""The share of the processors that others may take before the page warns."""
IDLE_FIELDS = (3, 4)
"""``idle`` and ``iowait`` in the first line of ``/proc/stat`` (man 5 proc)."""
GUEST_FIELD = 8
"""From here on the line repeats what ``user`` and ``nice`` have."""


@dataclass(frozen=True)
class Load:
    """Processor seconds so far: of all programs, and of this one with the processes that it has waited for."""

    all_s: float
    own_s: float

    @classmethod
    def now(cls, read: Callable[[], str] = lambda: Path("/proc/stat").read_text(encoding="utf-8")) -> "Load":
        """As the kernel counts them."""
        fields = [int(field) for field in read().splitlines()[0].split()[1:]][:GUEST_FIELD]
        busy = sum(field for index, field in enumerate(fields) if index not in IDLE_FIELDS)
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return cls(busy / os.sysconf("SC_CLK_TCK"), own)

    def others(self, later: "Load", seconds: float, processors: int | None = None) -> float:
        """The share of the processors that other programs took between two moments."""
        spent = (later.all_s - self.all_s) - (later.own_s - self.own_s)
        return min(1.0, max(0.0, spent / (seconds * (processors or os.cpu_count() or 1))))
