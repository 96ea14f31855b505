"""The most probable path that says a given text: Viterbi over CTC's trellis.

Graves et al., "Connectionist Temporal Classification", ICML 2006, section 4.1: between the tokens of the text, and at
both ends, a path may be silent. Here silence is the blank or another special token; at the edges of the text, and
behind a delimiter, it may be a further delimiter too, because several delimiters are one space (``greedy.py``). So
every path that says the text is in the trellis, and the text of the best path is aligned to the best path.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.vocabulary import Vocabulary

LEAST_LOG_PROB = -1e4
"""Impossible tokens are all but impossible, so that a text always has a path."""


def token_ids(words: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    """The tokens of the words, a delimiter between two.

    Raises:
        ValueError: A word has letters that the vocabulary lacks.
    """
    ids: list[int] = []
    for index, word in enumerate(words):
        if index and vocabulary.delimiter_id is not None:
            ids.append(vocabulary.delimiter_id)
        spelling = vocabulary.spell(word)
        if spelling is None:
            raise ValueError(f"{word!r} cannot be spelled with the vocabulary")
        ids += spelling
    return ids


def frames_needed(tokens: Sequence[int]) -> int:
    """The fewest frames that can say the tokens: one each, and a silent one between equal neighbours."""
    return len(tokens) + sum(left == right for left, right in itertools.pairwise(tokens))


def align(log_probs: NDArray[np.float32], tokens: Sequence[int], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The most probable path that says ``tokens``: the token of each frame, [frames].

    Args:
        log_probs: Natural log of the token probabilities, [frames, vocabulary], at least one frame.
        tokens: What is said, as ids; delimiters at the ends and repeated ones are found, not given.
        vocabulary: The tokens.

    Raises:
        ValueError: There are fewer frames than the tokens need.
    """
    frames, wanted = log_probs.shape[0], np.array(tokens, np.int64)
    if frames < frames_needed(tokens):
        raise ValueError(f"{len(tokens)} tokens do not fit into {frames} frames")
    finite = np.maximum(log_probs, LEAST_LOG_PROB)
    closed = _silence(vocabulary, delimiter=False)
    opened = _silence(vocabulary, delimiter=True)
    # even states are silence, odd ones the tokens: [silence, token, silence, token, ..., silence]
    states = 2 * wanted.size + 1
    is_open = np.zeros(wanted.size + 1, bool)
    is_open[0] = is_open[-1] = True
    if vocabulary.delimiter_id is not None:
        is_open[1:] |= wanted == vocabulary.delimiter_id
    scores = np.empty((frames, states))
    open_ids, closed_ids = (ids[finite[:, ids].argmax(axis=1)] for ids in (opened, closed))
    each = np.arange(frames)
    scores[:, 0::2] = np.where(is_open, finite[each, open_ids][:, None], finite[each, closed_ids][:, None])
    scores[:, 1::2] = finite[:, wanted]
    may_skip = np.zeros(states, bool)
    may_skip[3::2] = wanted[1:] != wanted[:-1]
    best = _best_states(scores, may_skip)
    path = np.where(is_open[best // 2], open_ids, closed_ids)
    spoken = best % 2 == 1
    path[spoken] = wanted[best[spoken] // 2]
    return path


def _silence(vocabulary: Vocabulary, *, delimiter: bool) -> NDArray[np.int64]:
    """The ids that say nothing, in ascending order."""
    ids = set(vocabulary.special_ids)
    if delimiter and vocabulary.delimiter_id is not None:
        ids.add(vocabulary.delimiter_id)
    return np.array(sorted(ids), np.int64)


def _best_states(scores: NDArray[np.float64], may_skip: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The best way through the trellis, [frames].

    A state is reached from itself, from the one before, and over silence where ``may_skip`` allows it.

    Args:
        scores: Natural log of each state's probability, [frames, states].
        may_skip: Whether a state is reached from the second before it as well, [states].
    """
    frames, states = scores.shape
    # two columns before the first state are impossible, so that every state has two before it
    totals = np.full((frames, states + 2), -np.inf)
    totals[0, 2:4] = scores[0, :2]
    barred = np.where(may_skip, 0.0, -np.inf)
    best = np.empty(states)
    ways = zip(totals[:, 2:], totals[:, 1:-1], totals[:, :-2], totals[1:, 2:], scores[1:], strict=False)
    for stay, step, skip, total, score in ways:  # Python's own time counts here: four operations on a frame
        np.add(skip, barred, out=best)
        np.maximum(best, step, out=best)
        np.maximum(best, stay, out=best)
        np.add(best, score, out=total)
    path = np.empty(frames, np.int64)
    # a text ends with its last token or with the silence behind it
    state = states - 1 if states == 1 or totals[-1, -1] >= totals[-1, -2] else states - 2
    path[-1] = state
    skippable = may_skip.tolist()
    for frame in range(frames - 2, -1, -1):
        skip, step, stay = totals[frame, state : state + 3].tolist()
        if skippable[state] and skip > max(step, stay):
            state -= 2
        elif step > stay:
            state -= 1
        path[frame] = state
    return path
