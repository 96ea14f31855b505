"""Rare words as hotwords: which words are rare, and how many are recognised where they are said, and where not."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arpa import n_grams
from shrota_client.bootstrap import interval
from shrota_client.score import Score

LEAST_LETTERS = 3
"""Shorter words are particles, or letters of an abbreviation."""
MOST = 500
"""Hotwords of one kind at most: the server takes 1000 in all."""
SEED = 0


@dataclass(frozen=True)
class Lexicon:
    """The words of a language model: all, and those that its text holds, which stand in a pair of words at least."""

    words: frozenset[str]
    seen: frozenset[str]

    @classmethod
    def read(cls, arpa: Path) -> "Lexicon":
        """Reads an ARPA file.

        Raises:
            OSError: There is none.
        """
        words: set[str] = set()
        seen: set[str] = set()
        with arpa.open(encoding="utf-8") as lines:
            for order, spoken, _ in n_grams(lines):
                if order == 1:
                    words.update(spoken)
                elif order == 2:
                    seen.update(spoken)
        return cls(frozenset(words) - {"<s>", "</s>", "<unk>"}, frozenset(seen))


def rare_words(references: Iterable[str], lexicon: Lexicon) -> list[str]:
    """The words of the references that the language model's text does not hold, in alphabetical order."""
    said = {word for reference in references for word in reference.split()}
    return sorted(word for word in said - lexicon.seen if len(word) >= LEAST_LETTERS)[:MOST]


def words_not_said(references: Iterable[str], lexicon: Lexicon, count: int) -> list[str]:
    """As many words that are as rare and in none of the references, drawn from the language model's list of words."""
    said = {word for reference in references for word in reference.split()}
    unseen = sorted(word for word in lexicon.words - lexicon.seen - said if len(word) >= LEAST_LETTERS)
    return sorted(random.Random(SEED).sample(unseen, min(count, len(unseen))))  # noqa: S311 - nothing is secret


@dataclass(frozen=True)
class Share:
    """A part of a whole, counted utterance by utterance."""

    parts: tuple[int, ...]
    wholes: tuple[int, ...]

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return sum(self.parts) / sum(self.wholes) if sum(self.wholes) else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % bootstrap interval over utterances; None where the share is None, or of fewer than two."""
        return interval(self.parts, self.wholes) if sum(self.wholes) else None


@dataclass(frozen=True)
class Detection:
    """Where words were said and recognised, in each utterance; a word that is said twice counts twice."""

    hits: tuple[int, ...]
    misses: tuple[int, ...]
    false_alarms: tuple[int, ...]

    @property
    def recall(self) -> Share:
        """Of what was said, what was recognised."""
        return Share(self.hits, tuple(map(sum, zip(self.hits, self.misses, strict=True))))

    @property
    def precision(self) -> Share:
        """Of what was recognised, what was said."""
        return Share(self.hits, tuple(map(sum, zip(self.hits, self.false_alarms, strict=True))))


def detect(score: Score, words: Collection[str]) -> Detection:
    """Counts these words in the references and transcripts of a score."""
    wanted = frozenset(words)
    counts = [_count(each.reference.split(), each.hypothesis.split(), wanted) for each in score.utterances]
    hits, misses, false_alarms = zip(*counts, strict=True) if counts else ((), (), ())
    return Detection(hits, misses, false_alarms)


def _count(reference: Sequence[str], hypothesis: Sequence[str], wanted: frozenset[str]) -> tuple[int, int, int]:
    said = Counter(word for word in reference if word in wanted)
    heard = Counter(word for word in hypothesis if word in wanted)
    hits = (said & heard).total()
    return hits, said.total() - hits, heard.total() - hits
