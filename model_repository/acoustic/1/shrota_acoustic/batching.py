"""Which windows go into the next engine batch.

The policy, in three rules.

*Who is first.* Requests share the engine by start-time fair queueing (Goyal, Vin and Cheng, "Start-time fair
queueing", SIGCOMM 1996), in samples of audio. A request that arrives gets the current turn; each of its windows that
is put into a batch moves its turn on by the window's length; the seed of a batch is the next window of the request
whose turn is lowest, of several one that has had no window in a batch yet, of several the one that came first. So
short requests are first come, first served; long files share the engine evenly; and a request that arrives beside
long files that are being run is in the very next batch that is formed.

*Nobody is forgotten.* If the request that has waited longest has not been in any of the last ``patience`` batches,
it is the seed of the next one, whatever its turn. So the oldest request has a window in at least one of any
``patience + 1`` batches, and as every request becomes the oldest or is done before, all end.

*Who goes along.* The batch is filled with windows of like length for the same engine: such that the rows times the
longest row stay within the budget, there are at most ``max_rows`` rows, and padding is at most ``max_padding`` of the
whole. Of all such batches that hold the seed, the one with the most audio is taken; of windows of one length, those
whose turn is lower. The windows of one request all have one length, and go in order. Where more waits than sixteen
batches hold, only those requests that are first go along: to choose among more hardly fills batches better, but lets
late requests overtake early ones for longer.

A batch is formed when the engine can take one, from what waits then: nothing is held back to fill it up.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

Owner = TypeVar("Owner")

HORIZON = 16
"""Full batches: so much of the audio that waits, in the order of who is first, is what a batch is chosen from."""


@dataclass(frozen=True)
class Limits:
    """What an engine batch must keep to."""

    budget: int
    """Rows times the longest row, samples. One window alone is always allowed."""
    max_rows: int
    max_padding: float
    """Share of the batch that may be padding, 0 to 1; what ``length_step`` adds is not counted."""
    length_step: int = 0
    """Batches are padded to a multiple of this many samples; 0 pads to the longest row only."""
    patience: int = 4
    """Batches in a row that may be formed without the oldest request."""

    def padded(self, longest: int) -> int:
        """Samples of each row of a batch whose longest row has ``longest``."""
        return math.ceil(longest / self.length_step) * self.length_step if self.length_step else longest


@dataclass(eq=False)
class Waiting(Generic[Owner]):
    """One request's windows: ``total`` of them, all of ``length`` samples, of which ``taken`` have been in a batch."""

    owner: Owner
    engine: str
    length: int
    total: int
    arrival: int
    turn: int
    taken: int = 0
    passed_over: int = 0

    @property
    def rank(self) -> tuple[int, bool, int]:
        """Who is first: the lowest."""
        return self.turn, self.taken > 0, self.arrival

    @property
    def remaining(self) -> int:
        """Samples of its windows that wait."""
        return self.length * (self.total - self.taken)


@dataclass(frozen=True)
class Row(Generic[Owner]):
    """One window in a batch."""

    owner: Owner
    index: int
    """Which of the owner's windows."""
    length: int


@dataclass(frozen=True)
class Batch(Generic[Owner]):
    """Windows that are run in one engine call."""

    engine: str
    rows: Sequence[Row[Owner]]
    padded_length: int
    """Samples of each row, padding included."""

    @property
    def owners(self) -> list[Owner]:
        """The requests that have a row here, each once, in the order of their first row."""
        return list(dict.fromkeys(row.owner for row in self.rows))


@dataclass(frozen=True)
class _Candidate(Generic[Owner]):
    """A window that may go into the batch."""

    rank: tuple[int, bool, int]
    index: int
    waiting: Waiting[Owner]

    @property
    def length(self) -> int:
        return self.waiting.length


class FairQueue(Generic[Owner]):
    """All windows that wait, and the policy that picks the next batch among them. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[Owner, Waiting[Owner]] = {}
        self._arrivals = 0
        self._now = 0

    def __len__(self) -> int:
        """How many requests have windows that wait."""
        return len(self._waiting)

    def owners(self) -> list[Owner]:
        """The requests that have windows that wait, oldest first."""
        return list(self._waiting)

    def add(self, owner: Owner, engine: str, length: int, count: int) -> None:
        """Adds a request of ``count`` windows of ``length`` samples each."""
        if not self._waiting:
            self._now = 0
        self._waiting[owner] = Waiting(owner, engine, length, count, self._arrivals, self._now)
        self._arrivals += 1

    def remove(self, owner: Owner) -> None:
        """Forgets what still waits of a request, if anything does."""
        self._waiting.pop(owner, None)

    def next_batch(self) -> Batch[Owner]:
        """Forms the next batch and takes its windows out.

        Raises:
            IndexError: Nothing waits.
        """
        seed = self._seed()
        chosen = self._fill(seed)
        self._now = max(self._now, min(waiting.turn for waiting in self._waiting.values()))
        for waiting in self._waiting.values():
            waiting.passed_over += 1
        for candidate in chosen:
            waiting = candidate.waiting
            waiting.taken += 1
            waiting.turn += waiting.length
            waiting.passed_over = 0
            if waiting.taken == waiting.total:
                self.remove(waiting.owner)
        rows = [Row(candidate.waiting.owner, candidate.index, candidate.length) for candidate in chosen]
        return Batch(seed.engine, rows, self._limits.padded(max(row.length for row in rows)))

    def _seed(self) -> Waiting[Owner]:
        if not self._waiting:
            raise IndexError("no window waits")
        oldest = next(iter(self._waiting.values()))
        if oldest.passed_over >= self._limits.patience:
            return oldest
        return min(self._waiting.values(), key=lambda waiting: waiting.rank)

    def _fill(self, seed: Waiting[Owner]) -> list[_Candidate[Owner]]:
        """The batch with the most audio that holds the seed's next window, in each request's order."""
        first, *others = self._candidates(seed, seed)
        for waiting in self._near(seed.engine):
            if waiting is not seed:
                others += self._candidates(waiting, seed)
        # nearest in length first: a batch takes so many from the front of each
        longer = sorted((c for c in others if c.length >= seed.length), key=lambda c: (c.length, c.rank))
        shorter = sorted((c for c in others if c.length < seed.length), key=lambda c: (-c.length, c.rank))
        audio_longer = _running_audio(longer)
        audio_shorter = _running_audio(shorter)
        best_audio, best = 0, (0, 0)
        for more in range(len(longer) + 1):
            padded = self._limits.padded(longer[more - 1].length if more else seed.length)
            rows = min(self._limits.budget // padded, self._limits.max_rows)
            if more and 1 + more > rows:
                break
            longest = longer[more - 1].length if more else seed.length
            for less in range(min(len(shorter), max(0, rows - 1 - more)) + 1):
                audio = first.length + audio_longer[more] + audio_shorter[less]
                if audio < (1 - self._limits.max_padding) * longest * (1 + more + less):
                    break
                if audio > best_audio:
                    best_audio, best = audio, (more, less)
        more, less = best
        return sorted([first, *longer[:more], *shorter[:less]], key=lambda c: (c.waiting.arrival, c.index))

    def _near(self, engine: str) -> Iterable[Waiting[Owner]]:
        """An engine's requests that may go along: all, or those that are first where more waits than the horizon."""
        found = [waiting for waiting in self._waiting.values() if waiting.engine == engine]
        budget = self._limits.budget
        left = HORIZON * budget
        if sum(waiting.remaining for waiting in found) <= left:
            return found
        near = []
        for waiting in sorted(found, key=lambda waiting: waiting.rank):
            near.append(waiting)
            left -= min(waiting.remaining, budget)  # of a long file no more goes along
            if left <= 0:
                break
        return near

    def _candidates(self, waiting: Waiting[Owner], seed: Waiting[Owner]) -> list[_Candidate[Owner]]:
        """The request's next windows, as many as could possibly go beside the seed's."""
        fit = self._limits.budget // max(1, self._limits.padded(max(waiting.length, seed.length)))
        count = min(waiting.total - waiting.taken, max(1, min(fit, self._limits.max_rows)))
        turn, served, arrival = waiting.rank
        return [
            _Candidate((turn + ahead * waiting.length, served or ahead > 0, arrival), waiting.taken + ahead, waiting)
            for ahead in range(count)
        ]


def _running_audio(candidates: Iterable[_Candidate[Owner]]) -> list[int]:
    """Samples of the first 0, 1, 2, ... candidates."""
    return list(accumulate((candidate.length for candidate in candidates), initial=0))
