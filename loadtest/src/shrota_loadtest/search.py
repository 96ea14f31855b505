"""The search for the highest load that a server carries: first steps that grow by a factor, then halves between."""

import math
from dataclasses import dataclass, field

from shrota_loadtest.errors import LoadTestError


@dataclass
class Search:
    """Asks for one load after the other; each answer says whether it was carried.

    Attributes:
        start: the first load.
        factor: from one load of the climb to the next, over 1.
        precision: the search ends when the lowest load that was not carried is at most so much above the highest that
            was, as a share of it.
        quantum: loads are multiples of it; the search also ends when no multiple lies between.
        most_steps: how many loads are tried at most.
        tried: the loads so far, with what became of them.
    """

    start: float
    factor: float = 1.6
    precision: float = 0.1
    quantum: float = 0.1
    most_steps: int = 12
    tried: list[tuple[float, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = (self.start, self.factor, self.precision, self.quantum)
        if not all(math.isfinite(number) and number > 0 for number in numbers) or self.factor <= 1:
            raise LoadTestError(
                f"a search from {self.start:g} in steps of a factor of {self.factor:g}, to a precision of "
                f"{self.precision:g}: the numbers must be positive, and the factor over 1"
            )
        if self.most_steps < 1:
            raise LoadTestError("a search needs at least one step")

    @property
    def best(self) -> float | None:
        """The highest load that was carried, below all that were not; None where none was."""
        carried = [load for load, good in self.tried if good and (self.too_much is None or load < self.too_much)]
        return max(carried, default=None)

    @property
    def too_much(self) -> float | None:
        """The lowest load that was not carried."""
        return min((load for load, good in self.tried if not good), default=None)

    def next(self) -> float | None:
        """The load to try now; None when the search is over."""
        if len(self.tried) >= self.most_steps:
            return None
        if not self.tried:
            return self._rounded(self.start)
        best, too_much = self.best, self.too_much
        if too_much is None:
            assert best is not None  # noqa: S101 - all that was tried was carried
            return max(self._rounded(best * self.factor), self._rounded(best + self.quantum))
        if best is None:
            lower = self._rounded(too_much / self.factor)
            if lower >= too_much:
                lower = self._rounded(too_much - self.quantum)
            return lower if 0 < lower < too_much else None
        middle = self._rounded(math.sqrt(best * too_much))
        if too_much / best <= 1 + self.precision or not best < middle < too_much:
            return None
        return middle

    def tell(self, load: float, good: bool) -> None:
        """What became of a load."""
        self.tried.append((load, good))

    def _rounded(self, load: float) -> float:
        # through the number of quanta, and without the digits that are only the arithmetic's
        return float(f"{max(1, round(load / self.quantum)) * self.quantum:.9g}")
