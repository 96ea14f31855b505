"""Transcripts under load against those of the same audio alone, which they must equal."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shrota_client.score import UtteranceScore, score_utterance
from shrota_loadtest.workload import Clip

WARM_UP = 3


class Transcribes(Protocol):
    """What is needed of a client: the text of an utterance."""

    def __call__(self, clip: Clip, /) -> str:
        """The transcript."""


@dataclass(frozen=True)
class Alone:
    """One utterance, when nothing else was sent.

    Attributes:
        text: the transcript.
        latency_s: from sending to the answer.
    """

    text: str
    latency_s: float


def take_alone(
    clips: Sequence[Clip], transcribe: Transcribes, clock: Callable[[], float] = time.monotonic
) -> list[Alone]:
    """The transcripts of all clips, one after the other, after a few that warm the server up.

    Raises:
        ShrotaError: the server cannot be reached, or refuses a clip.
    """
    for clip in clips[:WARM_UP]:
        transcribe(clip)
    found = []
    for clip in clips:
        start = clock()
        text = transcribe(clip)
        found.append(Alone(text, clock() - start))
    return found


def compare(clips: Sequence[Clip], alone: Sequence[Alone], answers: Iterable[tuple[int, str]]) -> dict[str, Any]:
    """Answers under load, as (number of the clip, transcript), against the transcripts alone.

    The word error rates count each answer: ``word_error_rate`` is against the transcript alone and must be 0;
    ``word_error_rate_alone`` and ``word_error_rate_loaded`` are against what is said, over the answers to clips of
    which that is known, and must be equal.
    """
    counts = Counter(answers)
    different = {key: count for key, count in counts.items() if key[1] != alone[key[0]].text}
    against_alone = [(score_utterance("", alone[clip].text, text), count) for (clip, text), count in counts.items()]
    spoken = [(clip, text, count) for (clip, text), count in counts.items() if clips[clip].text]
    loaded = [(score_utterance("", clips[clip].text or "", text), count) for clip, text, count in spoken]
    before = [(score_utterance("", clips[clip].text or "", alone[clip].text), count) for clip, _, count in spoken]
    return {
        "compared": counts.total(),
        "different": sum(different.values()),
        "examples": [
            {"clip": clips[clip].name, "alone": alone[clip].text, "loaded": text} for clip, text in list(different)[:5]
        ],
        "word_error_rate": _rate(against_alone),
        "word_error_rate_alone": _rate(before),
        "word_error_rate_loaded": _rate(loaded),
    }


def exceeds(found: Mapping[str, Any], word_errors: float) -> bool:
    """Whether transcripts differ from those alone by more than an allowed word error rate, at all where it is 0.

    A rate that is not known, where none of those alone has a word, is over every allowed one below 1, which allows all.
    """
    rate = found["word_error_rate"]
    return bool(found["different"]) and word_errors < 1 and (not word_errors or rate is None or rate > word_errors)


def _rate(scores: Sequence[tuple[UtteranceScore, int]]) -> float | None:
    """Word error rate over scores that count several times each; None where no words are known."""
    errors = sum(count * score.words.errors for score, count in scores)
    words = sum(count * score.words.reference_length for score, count in scores)
    return errors / words if words else None
