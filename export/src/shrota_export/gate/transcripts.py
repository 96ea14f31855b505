"""What log-probabilities say, and what a change of them costs in errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shrota_client.bootstrap import interval
from shrota_client.score import ErrorRate, Score
from shrota_export.vocabulary import Vocabulary


def greedy_text(path: NDArray[np.int64], vocabulary: Vocabulary) -> str:
    """The text of the best token of each frame, [F]: repeats joined, blanks and other special tokens dropped.

    As ``ctc_decoder`` does it (its package is the server's and is not installed with the export).
    """
    if path.size == 0:
        return ""
    silent = {*vocabulary.special_tokens}
    runs = path[np.r_[True, path[1:] != path[:-1]]]
    spelled = [vocabulary.tokens[index] for index in runs if vocabulary.tokens[index] not in silent]
    text = "".join(" " if token == vocabulary.word_delimiter else token for token in spelled)
    return " ".join(text.split())


@dataclass(frozen=True)
class Paired:
    """How much an error rate rises from the reference to the candidate, on the same utterances.

    Attributes:
        value: the difference of the two rates.
        interval: its 95 % interval (paired bootstrap over utterances); None for fewer than two.
        errors: more errors than the reference has; below zero for fewer.
    """

    value: float
    interval: tuple[float, float] | None
    errors: int


@dataclass(frozen=True)
class Transcripts:
    """Scores of the reference and of the candidate."""

    reference: Score
    candidate: Score

    @property
    def words(self) -> Paired:
        """Of the word error rate."""
        return _pair(
            self.reference.words,
            self.candidate.words,
            [each.words.errors for each in self.reference.utterances],
            [each.words.errors for each in self.candidate.utterances],
            [each.words.reference_length for each in self.reference.utterances],
        )

    @property
    def characters(self) -> Paired:
        """Of the character error rate."""
        return _pair(
            self.reference.characters,
            self.candidate.characters,
            [each.characters.errors for each in self.reference.utterances],
            [each.characters.errors for each in self.candidate.utterances],
            [each.characters.reference_length for each in self.reference.utterances],
        )


def _pair(
    old: ErrorRate, new: ErrorRate, old_errors: Sequence[int], new_errors: Sequence[int], lengths: Sequence[int]
) -> Paired:
    more = [after - before for before, after in zip(old_errors, new_errors, strict=True)]
    return Paired(new.value - old.value, interval(more, lengths), sum(more))
