"""How a transcript differs from its reference: the edits of a shortest alignment, found by jiwer."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import jiwer


@dataclass(frozen=True)
class Edits:
    """Counts of a Levenshtein alignment, of words or of characters."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Words or characters of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over the length of the reference; it may exceed 1.

        By definition an empty reference counts as one long: the rate is the number of insertions, zero if nothing was
        inserted. (jiwer defines it so too.)
        """
        return self.errors / max(1, self.reference_length)

    def __add__(self, other: Self) -> "Edits":
        return Edits(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Pair:
    """One place of an alignment: a word of each side; None on the side that has none."""

    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class Alignment:
    """Word by word, how a hypothesis matches its reference."""

    pairs: tuple[Pair, ...]

    @property
    def edits(self) -> Edits:
        """The counts."""
        deletions = sum(pair.hypothesis is None for pair in self.pairs)
        insertions = sum(pair.reference is None for pair in self.pairs)
        hits = sum(pair.reference == pair.hypothesis for pair in self.pairs)
        return Edits(hits, len(self.pairs) - hits - deletions - insertions, deletions, insertions)

    def marked(self, context: int | None = None) -> str:
        """One line in which differences stand as in a word diff: ``[-of the reference-]{+of the hypothesis+}``.

        With ``context``, at most so many equal words are shown on either side of a difference; … stands for the rest.
        """
        runs = [
            (kind, list(pairs))
            for kind, pairs in groupby(self.pairs, key=lambda pair: pair.reference == pair.hypothesis)
        ]
        parts = []
        for index, (equal, pairs) in enumerate(runs):
            if equal:
                words = [str(pair.reference) for pair in pairs]
                parts.append(_shorten(words, context, first=index == 0, last=index == len(runs) - 1))
            else:
                old = " ".join(pair.reference for pair in pairs if pair.reference is not None)
                new = " ".join(pair.hypothesis for pair in pairs if pair.hypothesis is not None)
                parts.append((f"[-{old}-]" if old else "") + (f"{{+{new}+}}" if new else ""))
        return " ".join(parts)


def _shorten(words: list[str], context: int | None, *, first: bool, last: bool) -> str:
    """Equal words of which only those beside a difference are kept."""
    before = 0 if context is None or first else context
    after = 0 if context is None or last else context
    if context is None or len(words) <= before + after + 1:
        return " ".join(words)
    return " ".join([*words[:before], "…", *words[len(words) - after :]])


def align_words(reference: str, hypothesis: str) -> Alignment:
    """A shortest alignment of two normalised texts, word by word."""
    result = jiwer.process_words(reference, hypothesis)
    old, new = result.references[0], result.hypotheses[0]
    pairs: list[Pair] = []
    for chunk in result.alignments[0]:
        olds: Sequence[str | None] = old[chunk.ref_start_idx : chunk.ref_end_idx]
        news: Sequence[str | None] = new[chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(olds), len(news))
        olds, news = [*olds, *[None] * (length - len(olds))], [*news, *[None] * (length - len(news))]
        pairs += [Pair(*words) for words in zip(olds, news, strict=True)]
    return Alignment(tuple(pairs))


def count_characters(reference: str, hypothesis: str) -> Edits:
    """Edits between the characters of two normalised texts.

    Characters are Unicode code points, so a letter and its vowel sign are two; the single space between words is one
    too, as is usual (jiwer, ESPnet): a word that is wrongly joined or parted costs one error.
    """
    result = jiwer.process_characters(reference, hypothesis)
    return Edits(result.hits, result.substitutions, result.deletions, result.insertions)
