"""The search for the best pair of the decoder's weights; nothing here touches a network.

The error rate over the two weights is a smooth valley with noise: a coarse grid finds it, and grids of half, a quarter
... of the steps around the best pair so far find its bottom.
"""

from collections.abc import Generator
from dataclasses import dataclass
from functools import reduce
from operator import add

from shrota_client.alignment import Edits
from shrota_client.score import Score
from shrota_client.tuning_plan import Plan, Weights


@dataclass(frozen=True)
class Trial:
    """What a pair gave on the development set: all edits of words and of characters."""

    weights: Weights
    words: Edits
    characters: Edits

    def rank(self, metric: str) -> tuple[int, int, Weights]:
        """The less, the better: by the metric, among equals by the other one, then the smaller weights."""
        errors = (self.words.errors, self.characters.errors)
        return (*(errors if metric == "wer" else errors[::-1]), self.weights)


@dataclass(frozen=True)
class Found:
    """All pairs that were tried, in ascending order, and the best of them with its score."""

    trials: tuple[Trial, ...]
    best: Trial
    score: Score


def search(plan: Plan) -> Generator[Weights, Score, Found]:
    """Yields each pair to try, and must be sent the score that it gave; no pair is tried twice."""
    trials: dict[Weights, Trial] = {}
    best: tuple[Trial, Score] | None = None
    pairs = plan.space.grid()
    for refinement in range(plan.refinements + 1):
        if best is not None:
            pairs = plan.space.around(best[0].weights, refinement)
        for weights in pairs:
            if weights not in trials:
                score = yield weights
                trials[weights] = trial = Trial(weights, *edits_of(score))
                # alignments of every pair would fill the memory
                if best is None or trial.rank(plan.metric) < best[0].rank(plan.metric):
                    best = trial, score
    assert best is not None  # noqa: S101 - a range has a value
    return Found(tuple(trials[weights] for weights in sorted(trials)), *best)


def edits_of(score: Score) -> tuple[Edits, Edits]:
    """All edits of words and of characters, without the intervals that ``Score`` would draw."""
    words = reduce(add, (each.words for each in score.utterances), Edits())
    characters = reduce(add, (each.characters for each in score.utterances), Edits())
    return words, characters
