"""Which pairs of the decoder's weights to try, and with what else; quick to import, for the command's defaults."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from shrota_client.decoding import Decoding, Hotword
from shrota_client.errors import ParameterError

DIGITS = 2
"""Weights have so many decimal places: the server rounds them, because it loads the language model for each pair."""
SMALLEST_STEP = 10**-DIGITS
METRICS = ("wer", "cer")
"""The error rates that may count: of words, or of characters."""


@dataclass(frozen=True, order=True)
class Weights:
    """How much the language model counts, and what is added to a transcript's score for each of its words."""

    lm_weight: float
    word_score: float

    def __str__(self) -> str:
        return f"lm_weight {self.lm_weight:g}, word_score {self.word_score:g}"


@dataclass(frozen=True)
class Range:
    """The values from ``low`` to ``high``, both of them included, ``step`` apart."""

    low: float
    high: float
    step: float

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Reads ``LOW:HIGH:STEP``, or one value alone.

        Args:
            text: what the user wrote.
            name: of the option, for the message.

        Raises:
            ParameterError: the text is neither, or no value lies in the range.
        """
        example = "write LOW:HIGH:STEP, such as 0.2:1.4:0.2, or one number"
        parts = text.split(":")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) not in {1, 3} or not all(map(math.isfinite, numbers)):
            raise ParameterError(f"{name} is {text!r}: {example}")
        low, high, step = numbers if len(numbers) > 1 else (numbers[0], numbers[0], 1.0)
        if low > high or step < SMALLEST_STEP:
            raise ParameterError(
                f"{name} is {text!r}, but LOW must not be above HIGH, and STEP at least {SMALLEST_STEP:g}: {example}"
            )
        return cls(low, high, step)

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}:{self.step:g}"

    def values(self) -> list[float]:
        """All of them, ascending, rounded as the server rounds them."""
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return list(dict.fromkeys(round(self.low + number * self.step, DIGITS) for number in range(count)))

    def near(self, value: float, refinement: int) -> list[float]:
        """The value, and those on either side of it, ``step / 2 ** refinement`` away, that lie in the range."""
        step = self.step / 2**refinement
        around = (round(value + side * step, DIGITS) for side in (-1, 0, 1))
        return [each for each in dict.fromkeys(around) if each == value or self.low <= each <= self.high]

    def extremes(self, refinements: int) -> list[float]:
        """The least and the greatest value that so many refinements may try; one where they are the same."""
        greatest = self.values()[-1]
        for refinement in range(1, refinements + 1):
            greatest = self.near(greatest, refinement)[-1]
        return list(dict.fromkeys((self.values()[0], greatest)))

    def ends_at(self, value: float) -> bool:
        """Whether the value is the first or last of several."""
        values = self.values()
        return len(values) > 1 and value in {values[0], values[-1]}


@dataclass(frozen=True)
class Space:
    """The pairs among which to search.

    Raises:
        ParameterError: a language model would count nothing, or against what it likes.
    """

    lm_weights: Range = Range(0.2, 1.4, 0.2)
    word_scores: Range = Range(0.0, 4.0, 1.0)

    def __post_init__(self) -> None:
        if self.lm_weights.low < SMALLEST_STEP:
            raise ParameterError(
                f"lm_weight begins at {self.lm_weights.low:g}: begin at {SMALLEST_STEP:g} or more; "
                "without the language model is tried in any case"
            )

    def grid(self) -> list[Weights]:
        """All pairs of the two ranges."""
        return [Weights(*pair) for pair in itertools.product(self.lm_weights.values(), self.word_scores.values())]

    def corners(self, refinements: int) -> list[Weights]:
        """The pairs of both ranges' extremes: a server that takes these takes all that are tried."""
        extremes = (self.lm_weights.extremes(refinements), self.word_scores.extremes(refinements))
        return [Weights(*pair) for pair in itertools.product(*extremes)]

    def around(self, center: Weights, refinement: int) -> list[Weights]:
        """The pair and its neighbours, at most nine, in a grid whose steps have been halved ``refinement`` times."""
        lm_weights = self.lm_weights.near(center.lm_weight, refinement)
        word_scores = self.word_scores.near(center.word_score, refinement)
        return [Weights(*pair) for pair in itertools.product(lm_weights, word_scores)]

    def ends_at(self, weights: Weights) -> list[str]:
        """The weights whose range ends at this pair, so that a better one may lie beyond."""
        names = {
            "lm_weight": self.lm_weights.ends_at(weights.lm_weight),
            "word_score": self.word_scores.ends_at(weights.word_score),
        }
        return [name for name, ends in names.items() if ends]


@dataclass(frozen=True)
class Plan:
    """How to search.

    Attributes:
        space: the pairs of the first, coarse grid.
        refinements: how often the steps are halved around the best pair.
        metric: ``wer`` or ``cer``, the error rate that counts.
        beam_width: of all searches of the decoder.
        hotwords: words or phrases that all searches favour, as in :class:`Decoding`; None for none.
        hotword_weight: the boost of those that have none of their own.

    Raises:
        ParameterError: the width is that of greedy decoding, which knows no weights; a metric that is none; a
            negative count of refinements; or hotwords that are none.
    """

    space: Space = field(default_factory=Space)
    refinements: int = 2
    metric: str = "wer"
    beam_width: int = 100
    hotwords: Sequence[Hotword] | None = None
    hotword_weight: float | None = None

    def __post_init__(self) -> None:
        if self.beam_width < 2:  # noqa: PLR2004 - 1 is greedy
            raise ParameterError(
                f"beam_width is {self.beam_width}, but the weights are those of a beam: give 2 or more"
            )
        if self.metric not in METRICS:
            raise ParameterError(f"metric is {self.metric!r}: give {' or '.join(METRICS)}")
        if self.refinements < 0:
            raise ParameterError(f"refinements is {self.refinements}: give 0 or more")
        self.decoding(None)  # checks the hotwords

    @property
    def most_trials(self) -> int:
        """How many pairs are tried at most."""
        return len(self.space.grid()) + 8 * self.refinements

    @property
    def greedy(self) -> Decoding:
        """The settings of greedy decoding, which knows neither weights nor hotwords."""
        return Decoding(beam_width=1, words=False)

    def decoding(self, weights: Weights | None) -> Decoding:
        """The decoder's settings for a pair; None does without the language model."""
        return Decoding(
            self.beam_width,
            lm_weight=0.0 if weights is None else weights.lm_weight,
            word_score=None if weights is None else weights.word_score,
            hotwords=self.hotwords,
            hotword_weight=self.hotword_weight,
            words=False,
        )

    def checks(self) -> list[Decoding]:
        """Ways to decode that a server must take, so that it takes all that are tried."""
        pairs: list[Weights | None] = [None, *self.space.corners(self.refinements)]
        return [self.greedy, *map(self.decoding, pairs)]
