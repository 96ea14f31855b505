"""How fast the engine runs what waits: from that follows which request can be answered in time."""

from dataclasses import dataclass

DECAY = 0.9
"""Weight of a batch beside the next one: the last ten count."""
LEAST_BATCHES = 4
"""Before so many have been measured, nothing is said: the first runs of an engine are slow."""


@dataclass
class Pace:
    """Audio that the engine runs in a second while work waits, and how long one batch takes.

    Only batches count that left windows waiting behind: a batch of what little there is says nothing of the throughput.
    Where several calls run at a time, the time that they share counts once.
    """

    _samples: float = 0.0
    _busy_s: float = 0.0
    _wall_s: float = 0.0
    _weight: float = 0.0
    _batches: int = 0
    _running: int = 0
    _since: float = 0.0

    def begin(self, now: float) -> None:
        """A call of the engine begins."""
        if not self._running:
            self._since = now
        self._running += 1

    def end(self, now: float, samples: int, wall_s: float, *, counts: bool) -> None:
        """A call has ended.

        Args:
            now: on the clock of :meth:`begin`.
            samples: audio in it, without padding.
            wall_s: that it took.
            counts: whether windows waited when it was formed, and it succeeded.
        """
        elapsed, self._since = now - self._since, now
        self._running -= 1
        if not counts:
            return
        self._samples = DECAY * self._samples + samples
        self._busy_s = DECAY * self._busy_s + elapsed
        self._wall_s = DECAY * self._wall_s + wall_s
        self._weight = DECAY * self._weight + 1
        self._batches += 1

    @property
    def rate(self) -> float | None:
        """Samples a second; None where too little is known."""
        if self._batches < LEAST_BATCHES or self._busy_s <= 0:
            return None
        return self._samples / self._busy_s

    @property
    def batch_s(self) -> float:
        """Wall seconds of one batch; 0 where too little is known."""
        return self._wall_s / self._weight if self._batches >= LEAST_BATCHES else 0.0
