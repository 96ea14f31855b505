"""Cuts long audio for the beam search, whose time and memory grow faster than the audio's length."""

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.vocabulary import Vocabulary


def segment_starts(log_probs: NDArray[np.float32], longest: int, vocabulary: Vocabulary) -> list[int]:
    """The first frame of each segment, 0 first.

    A segment ends behind the delimiter in the widest pause between words of its second half; where there is no pause
    there, in the widest of all; and where there is none at all, when it is full.

    Args:
        log_probs: Natural log of the token probabilities, [frames, vocabulary].
        longest: Frames of a segment.
        vocabulary: The tokens. Without a delimiter among them, any pause is one between words.
    """
    frames = log_probs.shape[0]
    starts = [0]
    if frames <= longest:
        return starts
    cuts, widths = _pauses(log_probs.argmax(axis=1), vocabulary)
    while frames - starts[-1] > longest:
        start = starts[-1]
        chosen = start + longest
        for least in (start + longest // 2, start):
            within = (cuts > least) & (cuts <= start + longest)
            if within.any():
                chosen = int(cuts[within][widths[within].argmax()])
                break
        starts.append(chosen)
    return starts


def _pauses(best: NDArray[np.int64], vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The frames behind delimiters, or in the middle of pauses if there is none, and how wide each pause is."""
    is_letter = np.isin(best, list(vocabulary.letters.values()))
    # numbers the pauses: as many letters' frames have passed
    passed = np.cumsum(is_letter)
    width = np.bincount(passed[~is_letter], minlength=int(passed[-1]) + 1)
    if vocabulary.delimiter_id is None:
        cuts = np.flatnonzero(~is_letter[1:] & ~is_letter[:-1]) + 1
    else:
        cuts = np.flatnonzero(best == vocabulary.delimiter_id) + 1
    return cuts, width[passed[cuts - 1]]
