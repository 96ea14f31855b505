"""Word and character error rate of a set of transcripts."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any

from shrota_client.alignment import Alignment, Edits, align_words, count_characters
from shrota_client.bootstrap import LEVEL, REPLICATES, interval
from shrota_client.text import normalize

METHOD = "percentile bootstrap over utterances (Bisani & Ney 2004)"


@dataclass(frozen=True)
class UtteranceScore:
    """One transcript against its reference.

    Attributes:
        name: of the utterance.
        reference: what was said, normalised.
        hypothesis: the transcript, normalised.
        alignment: of the words.
        characters: edits of the characters, the spaces between words included.
        duration: seconds of audio, where known.
        elapsed_s: seconds from request to answer, where known.
    """

    name: str
    reference: str
    hypothesis: str
    alignment: Alignment
    characters: Edits
    duration: float | None = None
    elapsed_s: float | None = None

    @property
    def words(self) -> Edits:
        """Edits of the words."""
        return self.alignment.edits

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of waiting for each second of audio, where known."""
        if not self.duration or self.elapsed_s is None:
            return None
        return self.elapsed_s / self.duration


@dataclass(frozen=True)
class ErrorRate:
    """An error rate over all utterances.

    Attributes:
        value: all errors over the length of all references; an empty reference adds its insertions and no length.
        interval: its 95 % interval; None for fewer than two utterances.
        edits: what it is made of.
    """

    value: float
    interval: tuple[float, float] | None
    edits: Edits


@dataclass(frozen=True)
class Score:
    """The error rates of a set of utterances; ``seed`` is the one of the bootstrap."""

    utterances: tuple[UtteranceScore, ...]
    seed: int = 0

    @cached_property
    def words(self) -> ErrorRate:
        """The word error rate."""
        return self._rate([utterance.words for utterance in self.utterances])

    @cached_property
    def characters(self) -> ErrorRate:
        """The character error rate."""
        return self._rate([utterance.characters for utterance in self.utterances])

    def _rate(self, edits: list[Edits]) -> ErrorRate:
        total = reduce(add, edits, Edits())
        bounds = interval([each.errors for each in edits], [each.reference_length for each in edits], self.seed)
        return ErrorRate(total.rate, bounds, total)

    def worst(self, count: int) -> list[UtteranceScore]:
        """The utterances with errors that have the highest word error rates; among equals, the most errors first."""
        wrong = [utterance for utterance in self.utterances if utterance.words.errors]
        return sorted(wrong, key=lambda each: (-each.words.rate, -each.words.errors))[:count]

    def as_dict(self) -> dict[str, Any]:
        """The score in plain types, as JSON carries it."""
        return {
            "word_error_rate": _rate_fields(self.words),
            "character_error_rate": _rate_fields(self.characters),
            "interval": {"method": METHOD, "level": LEVEL, "replicates": REPLICATES, "seed": self.seed},
            "utterances": [_utterance_fields(each) for each in self.utterances],
        }


def score_utterance(
    name: str, reference: str, hypothesis: str, duration: float | None = None, elapsed_s: float | None = None
) -> UtteranceScore:
    """Compares a transcript with its reference, after :func:`shrota_client.text.normalize` of both."""
    old, new = normalize(reference), normalize(hypothesis)
    return UtteranceScore(name, old, new, align_words(old, new), count_characters(old, new), duration, elapsed_s)


def score_texts(pairs: Iterable[tuple[str, str]], seed: int = 0) -> Score:
    """Scores (reference, hypothesis) pairs; the utterances are named by their number, from 1."""
    utterances = (score_utterance(str(number), *pair) for number, pair in enumerate(pairs, start=1))
    return Score(tuple(utterances), seed)


def _rate_fields(rate: ErrorRate) -> dict[str, Any]:
    bounds = None if rate.interval is None else list(rate.interval)
    counts = {**asdict(rate.edits), "reference_length": rate.edits.reference_length}
    return {"value": rate.value, "interval": bounds, **counts}


def _utterance_fields(utterance: UtteranceScore) -> dict[str, Any]:
    fields = {
        "audio": utterance.name,
        "reference": utterance.reference,
        "hypothesis": utterance.hypothesis,
        "word_error_rate": utterance.words.rate,
        "character_error_rate": utterance.characters.rate,
        "words": asdict(utterance.words),
        "characters": asdict(utterance.characters),
        "alignment": utterance.alignment.marked(),
    }
    if utterance.real_time_factor is not None:
        fields["duration"] = utterance.duration
        fields["elapsed_s"] = utterance.elapsed_s
        fields["real_time_factor"] = utterance.real_time_factor
    return fields
