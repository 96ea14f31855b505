"""Optimisation profiles: the shapes that a plan is built for, as the batcher of ``acoustic`` makes them.

The batcher keeps rows times longest row within a budget. One profile from the smallest to the largest of both would
have to hold the most rows at the greatest length, many times the budget. So there is a profile for each class of
lengths, whose most rows are those that the budget allows at the least length of the class. See
docs/decisions/0003-plan-profiles.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrota_export.configuration import read_configuration
from shrota_export.errors import RepositoryError
from shrota_export.frontend import Frontend

GROWTH = 2
"""A class ends where the budget allows so many times the rows that it allows at the class's greatest length. So no
profile holds more than this many times the budget."""

Shape = tuple[int, int]
"""Rows and samples of AUDIO."""


@dataclass(frozen=True)
class Profile:
    """The least, the usual and the largest AUDIO [rows, samples] of one optimisation profile."""

    least: Shape
    usual: Shape
    """what the builder chooses its kernels for: a full batch at the greatest length"""
    largest: Shape

    def as_json(self) -> dict[str, list[int]]:
        """Under TensorRT's own names."""
        return {"min": list(self.least), "opt": list(self.usual), "max": list(self.largest)}

    def describe(self, sample_rate: int) -> str:
        """Its largest shape, with the length in seconds."""
        return f"{self.largest[0]} x {self.largest[1] / sample_rate:.2f} s"


@dataclass(frozen=True)
class Batcher:
    """What the settings of ``acoustic`` allow an engine batch to be; lengths in samples."""

    budget: int
    """rows times longest row"""
    longest: int
    """one window, padding included"""
    shortest: int
    """the receptive field: fewer samples give no frame"""
    max_rows: int
    sample_rate: int

    def as_json(self) -> dict[str, float]:
        """For ``plan.json``: what `shrota serve` compares with the settings that it finds."""
        return {
            "batch_budget_seconds": self.budget / self.sample_rate,
            "longest_seconds": self.longest / self.sample_rate,
            "max_batch_rows": self.max_rows,
        }

    def rows(self, samples: int) -> int:
        """The most rows of a batch whose longest has ``samples``."""
        return max(1, min(self.max_rows, self.budget // samples))


def make_profiles(batcher: Batcher) -> list[Profile]:
    """The profiles that together hold every batch that the batcher can make; shortest lengths first."""
    profiles: list[Profile] = []
    longest = batcher.longest
    while True:
        usual_rows = batcher.rows(longest)
        most_rows = min(GROWTH * usual_rows, batcher.max_rows)
        next_longest = batcher.budget // (most_rows + 1)
        is_last = most_rows == batcher.max_rows or next_longest < batcher.shortest
        least = batcher.shortest if is_last else next_longest + 1
        profiles.append(Profile((1, least), (usual_rows, longest), (most_rows, longest)))
        if is_last:
            return profiles[::-1]
        longest = next_longest


def read_batcher(repository: Path, frontend: Frontend) -> Batcher:
    """The batcher's settings, from ``acoustic/config.pbtxt``.

    Raises:
        RepositoryError: a setting is missing or no number.
    """
    path = repository / "acoustic" / "config.pbtxt"
    parameters = read_configuration(path).parameters
    rate = frontend.sample_rate
    window = round(_number(path, parameters, "window_seconds") * rate)
    step = round(_number(path, parameters, "length_step_seconds") * rate)
    longest = -(-window // step) * step if step else window
    return Batcher(
        budget=max(longest, round(_number(path, parameters, "batch_budget_seconds") * rate)),
        longest=longest,
        shortest=frontend.receptive_field,
        max_rows=int(_number(path, parameters, "max_batch_rows")),
        sample_rate=rate,
    )


def _number(path: Path, parameters: Any, name: str) -> float:
    try:
        if name not in parameters:
            raise RepositoryError(f"{path} lacks the parameter {name}; restore it from the source")
        value = float(parameters[name].string_value)
    except ValueError:
        raise RepositoryError(f"{path}: the parameter {name} is no number: {parameters[name].string_value!r}") from None
    return value
