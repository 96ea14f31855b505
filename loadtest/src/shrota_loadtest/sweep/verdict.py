"""Which of several settings won, and whether more than the spread of the rounds speaks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


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
        tied: others whose ranges overlap with its own: the rounds do not tell these apart.
        gain: its median over that of the reference, as a share (0.1: a tenth more); None where that was not measured.
        is_known: whether there were rounds enough, two of each, to know a spread.
    """

    best: str
    spread: Spread
    tied: tuple[str, ...]
    gain: float | None
    is_known: bool


def judge(values: Mapping[str, Sequence[float]], reference: str, *, highest: bool) -> Verdict | None:
    """Picks the best setting.

    Args:
        values: of each setting over the rounds; those without any are left out.
        reference: the setting that others are compared with.
        highest: whether more is better.

    Returns:
        None where fewer than two settings have values.
    """
    spreads = {name: Spread.of(each) for name, each in values.items() if each}
    if len(spreads) < 2:  # noqa: PLR2004 - one alone wins nothing
        return None
    sign = -1 if highest else 1
    # among equals the reference: nobody should change a setting for nothing
    best = min(spreads, key=lambda name: (sign * spreads[name].median, name != reference))
    tied = tuple(name for name, each in spreads.items() if name != best and each.overlaps(spreads[best]))
    base = spreads.get(reference)
    gain = spreads[best].median / base.median - 1 if base and base.median else None
    return Verdict(best, spreads[best], tied, gain, min(each.rounds for each in spreads.values()) > 1)


def sentence(verdict: Verdict | None, what: str, unit: str, reference: str) -> str:
    """What a verdict says.

    Args:
        verdict: of :func:`judge`.
        what: that was judged: "throughput".
        unit: of its values.
        reference: as given to :func:`judge`.
    """
    if verdict is None:
        return f"For {what}: fewer than two settings could be measured."
    spread = verdict.spread
    rounds = "1 round" if spread.rounds == 1 else f"{spread.rounds} rounds"
    values = f"{spread.median:.4g} {unit} ({spread.low:.4g} to {spread.high:.4g} in {rounds})"
    if not verdict.is_known:
        return f"For {what}: {verdict.best} had the best median, {values}; with so few rounds no spread is known."
    if verdict.best == reference:
        others = f", and no difference beyond the spread from {', '.join(verdict.tied)}" if verdict.tied else ""
        return f"For {what}: nothing is better than {reference}, {values}{others}."
    if reference in verdict.tied:
        return (
            f"For {what}: no difference beyond the spread. {verdict.best} had the best median, {values}, and its "
            f"rounds overlap with those of {', '.join(verdict.tied)}."
        )
    gain = ""
    if verdict.gain is not None:
        gain = f", {100 * abs(verdict.gain):.1f} % {'above' if verdict.gain > 0 else 'below'} {reference}"
    others = f" No difference beyond the spread from {', '.join(verdict.tied)}." if verdict.tied else ""
    return f"For {what}: {verdict.best} won, {values}{gain}.{others}"
