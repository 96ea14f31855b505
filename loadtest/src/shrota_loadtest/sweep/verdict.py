"""Which of several settings won, and whether more than chance speaks for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

LEAST_ROUNDS = 3
"""Of a setting and of the reference, to tell a difference from chance."""
CHANCE = 0.05
"""How often chance alone may make any setting win."""
DRAWS = 100_000


@dataclass(frozen=True)
class Spread:
    """Values of one setting over the rounds: median, least and greatest."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """From at least one value."""
        return cls(float(np.median(values)), min(values), max(values), len(values))

    def overlaps(self, other: "Spread") -> bool:
        """Whether a value of one could have been one of the other's."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Verdict:
    """The setting with the best median.

    Attributes:
        best: its name.
        spread: its values.
        tied: others from which the rounds do not tell it apart, see :func:`judge`.
        gain: its median over that of the reference, as a share (0.1: a tenth more); None where that was not measured.
        rounds: of the setting or of the reference, whichever has fewer.
    """

    best: str
    spread: Spread
    tied: tuple[str, ...]
    gain: float | None
    rounds: int

    @property
    def is_known(self) -> bool:
        """Whether there were rounds enough to know a spread."""
        return self.rounds >= LEAST_ROUNDS


def judge(values: Mapping[str, Sequence[float]], reference: str, *, highest: bool) -> Verdict | None:
    """Picks the best setting.

    Two settings are told apart where their ranges do not overlap and their means differ by more than a margin. Ranges
    alone would not do: the three rounds of one setting lie above the three of another by chance one time in twenty, and
    among several settings the one that looks best is picked afterwards. The margin is that of Dunnett's comparison of
    several settings with one reference: :func:`critical` standard errors, of the standard deviation within settings,
    which is taken from all settings together, because three values tell little of it, or of the two alone where theirs
    is greater. It is reckoned in logarithms: noise grows with what is measured, and gains are shares. So, whatever the
    number of settings, chance alone makes one of them win at most :data:`CHANCE` of the time, in each sentence; with
    three rounds and noise of which one setting has five times that of the others, 7 % (simulated; the ranges, as a
    second hurdle, keep it there).

    Args:
        values: of each setting over the rounds; those without any are left out.
        reference: the setting that others are compared with.
        highest: whether more is better.

    Returns:
        None where fewer than two settings have values.
    """
    known = {name: list(each) for name, each in values.items() if each}
    if len(known) < 2:  # noqa: PLR2004 - one alone wins nothing
        return None
    spreads = {name: Spread.of(each) for name, each in known.items()}
    sign = -1 if highest else 1
    # among equals the reference: nobody should change a setting for nothing
    best = min(spreads, key=lambda name: (sign * spreads[name].median, name != reference))
    apart = _apart_from(best, known)
    tied = tuple(
        name for name in spreads if name != best and (name not in apart or spreads[name].overlaps(spreads[best]))
    )
    base = spreads.get(reference)
    gain = spreads[best].median / base.median - 1 if base and base.median else None
    return Verdict(best, spreads[best], tied, gain, min(spreads[best].rounds, base.rounds if base else 0))


def _apart_from(best: str, values: Mapping[str, Sequence[float]]) -> set[str]:
    """The settings whose mean differs from that of ``best`` by more than the margin."""
    logs = {name: np.log(np.maximum(each, np.finfo(float).tiny)) for name, each in values.items()}
    if all(each.size == 1 for each in logs.values()):
        return set()
    common = _variance(list(logs.values()))
    limit = critical(tuple(sorted(each.size for each in logs.values())))
    own = logs[best]
    return {
        name
        for name, each in logs.items()
        if abs(each.mean() - own.mean())
        > limit * math.sqrt(max(common, _variance([each, own])) * (1 / each.size + 1 / own.size))
    }


def _variance(groups: Sequence[NDArray[np.float64]]) -> float:
    """Within groups; 0 where all have one value."""
    freedom = sum(each.size - 1 for each in groups)
    return sum(float(((each - each.mean()) ** 2).sum()) for each in groups) / freedom if freedom else 0.0


@cache
def critical(rounds: tuple[int, ...]) -> float:
    """Standard errors by which, without any true difference, none of several settings exceeds a reference.

    With a probability of 1 - :data:`CHANCE`; Dunnett's one-sided critical value, by simulation, whose seed is fixed.

    Args:
        rounds: of each setting, the reference among them, rising: the one with the fewest is taken for the reference.
    """
    generator = np.random.default_rng(0)
    counts = np.array(rounds, dtype=float)
    means = generator.standard_normal((DRAWS, counts.size)) / np.sqrt(counts)
    freedom = counts.sum() - counts.size
    deviation = np.sqrt(generator.chisquare(freedom, DRAWS) / freedom)
    errors = np.sqrt(1 / counts[1:] + 1 / counts[0])
    return float(np.quantile(((means[:, 1:] - means[:, :1]) / errors).max(axis=1) / deviation, 1 - CHANCE))


def sentence(
    verdict: Verdict | None, what: str, unit: str, reference: str, unstable: Mapping[str, str] | None = None
) -> str:
    """What a verdict says.

    Args:
        verdict: of :func:`judge`.
        what: that was judged: "throughput".
        unit: of its values.
        reference: as given to :func:`judge`.
        unstable: for settings with unstable rounds, how many: "1 of 3".
    """
    if verdict is None:
        return f"For {what}: fewer than two settings could be measured."
    doubts = "".join(f" Unstable: {count} rounds of {name}." for name, count in (unstable or {}).items())
    return f"For {what}: {_outcome(verdict, unit, reference)}{doubts}"


def _outcome(verdict: Verdict, unit: str, reference: str) -> str:
    spread = verdict.spread
    values = f"{spread.median:.4g} {unit} ({spread.low:.4g} to {spread.high:.4g} in {_rounds(spread.rounds)})"
    gain = ""
    if verdict.gain is not None and verdict.best != reference:
        gain = f", {100 * abs(verdict.gain):.1f} % {'above' if verdict.gain > 0 else 'below'} {reference}"
    if not verdict.is_known:
        why = f"no spread is known from {_rounds(verdict.rounds)}" if verdict.rounds else f"no round of {reference}"
        return f"{verdict.best} had the best median, {values}{gain}; {why}."
    if verdict.best == reference:
        others = f", and no difference beyond the spread from {', '.join(verdict.tied)}" if verdict.tied else ""
        return f"nothing is better than {reference}, {values}{others}."
    if reference in verdict.tied:
        return (
            f"no difference beyond the spread. {verdict.best} had the best median, {values}, and its rounds do not "
            f"tell it from {', '.join(verdict.tied)}."
        )
    others = f" No difference beyond the spread from {', '.join(verdict.tied)}." if verdict.tied else ""
    return f"{verdict.best} won, {values}{gain}.{others}"


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"
