"""Greedy CTC decoding: the best token of every frame, repeats joined, blanks dropped.

Graves et al., "Connectionist Temporal Classification", ICML 2006, section 3.2 (best path decoding). Tokens, repeats and
word delimiters are treated as ``Wav2Vec2CTCTokenizer`` of Hugging Face treats them, with three differences that keep a
transcript clean: special tokens (``<s>``, ``<unk>``, ...) are left out, several delimiters in a row are one space, and
those before a combining mark are silence (``marks.py``).

Times and confidences, in every mode of decoding, are those of a path, one token per frame: here the best path, of a
beam's text the most probable path that says it (``alignment.py``).

* A *token* lasts from the first to the last frame of its run of equal tokens in the path. Frame ``f`` stands for the
  time from ``f * frame_seconds`` to ``(f + 1) * frame_seconds``. CTC peaks: a token may be shorter than its sound.
* A *word* starts with its first token and ends with its last; both are clipped to the duration of the audio.
* The *confidence of a token* is the largest probability it has within its run; that of a *word* the geometric mean of
  its tokens' and that of an *utterance* the geometric mean of all its tokens', delimiters between words among them. An
  utterance without a token has the geometric mean of the blank's probability over its frames; one without a frame has
  0.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.marks import cut_marks_off
from shrota_decoder.result import Result, Word
from shrota_decoder.vocabulary import Vocabulary


@dataclass(frozen=True)
class Runs:
    """Tokens that remain after joining repeats and dropping what never stands in a transcript; arrays of [tokens]."""

    token_ids: NDArray[np.int64]
    first_frames: NDArray[np.int64]
    last_frames: NDArray[np.int64]
    log_confidences: NDArray[np.float64]


def collapse(log_probs: NDArray[np.float32], path: NDArray[np.int64], vocabulary: Vocabulary) -> Runs:
    """The runs of an utterance's path.

    Args:
        log_probs: Natural log of the token probabilities, [frames, vocabulary], at least one frame.
        path: The token of each frame, [frames].
        vocabulary: The tokens.
    """
    changes = np.flatnonzero(path[1:] != path[:-1])
    first_frames = np.concatenate(([0], changes + 1))
    last_frames = np.append(changes, path.size - 1)
    peaks = np.maximum.reduceat(log_probs[np.arange(path.size), path], first_frames)
    token_ids = path[first_frames]
    kept = ~vocabulary.is_special[token_ids]
    kept[kept] = ~cut_marks_off(token_ids[kept], vocabulary.delimiter_id, vocabulary.is_mark)
    return Runs(token_ids[kept], first_frames[kept], last_frames[kept], peaks[kept].astype(np.float64))


def decode(log_probs: NDArray[np.float32], duration: float, vocabulary: Vocabulary) -> Result:
    """One utterance's transcript.

    Args:
        log_probs: Natural log of the token probabilities, [frames, vocabulary]; no frame at all is allowed.
        duration: Seconds of audio.
        vocabulary: The tokens.
    """
    return describe(log_probs, log_probs.argmax(axis=1), duration, vocabulary)


def describe(
    log_probs: NDArray[np.float32], path: NDArray[np.int64], duration: float, vocabulary: Vocabulary
) -> Result:
    """What a path says, with its times and confidences: the best path here, the aligned one of a beam elsewhere.

    Args:
        log_probs: Natural log of the token probabilities, [frames, vocabulary]; no frame at all is allowed.
        path: The token of each frame, [frames].
        duration: Seconds of audio.
        vocabulary: The tokens.
    """
    if log_probs.shape[0] == 0:
        return Result(confidence=0.0, duration=duration, words=())
    runs = collapse(log_probs, path, vocabulary)
    if runs.token_ids.size == 0:
        return Result(float(np.exp(log_probs[:, vocabulary.blank_id].mean())), duration, ())
    # of words there are few tokens each: Python's own numbers are faster there than arrays
    letters = [vocabulary.tokens[token] for token in runs.token_ids.tolist()]
    first_frames, last_frames = runs.first_frames.tolist(), runs.last_frames.tolist()
    log_confidences = runs.log_confidences.tolist()
    words = tuple(
        Word(
            word="".join(letters[start:end]),
            start=min(first_frames[start] * vocabulary.frame_seconds, duration),
            end=min((last_frames[end - 1] + 1) * vocabulary.frame_seconds, duration),
            confidence=geometric_mean(log_confidences[start:end]),
        )
        for start, end in word_spans(runs.token_ids, vocabulary.delimiter_id)
    )
    return Result(geometric_mean(log_confidences), duration, words)


def word_spans(token_ids: NDArray[np.int64], delimiter_id: int | None) -> list[tuple[int, int]]:
    """Half-open ranges of ``token_ids`` between delimiters, the empty ones left out."""
    if delimiter_id is None:
        return [(0, token_ids.size)]
    edges = [-1, *np.flatnonzero(token_ids == delimiter_id).tolist(), token_ids.size]
    return [(left + 1, right) for left, right in itertools.pairwise(edges) if right > left + 1]


def geometric_mean(log_values: Sequence[float]) -> float:
    """The geometric mean of values whose natural logs these are, at most 1."""
    return min(1.0, math.exp(math.fsum(log_values) / len(log_values)))
