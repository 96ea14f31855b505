"""The most probable path that says a given text: Viterbi over CTC's trellis.

Graves et al., "Connectionist Temporal Classification", ICML 2006, section 4.1: between the tokens of the text, and at
both ends, a path may be silent. Here silence is the blank or another special token; at the edges of the text, and
behind a delimiter, it may be a further delimiter too, because several delimiters are one space (``greedy.py``), and
before a combining mark as well, because a delimiter there is no word boundary (``marks.py``). So
every path that says the text is in the trellis, and the text of the best path is aligned to the best path.

Runs of frames that are surely silent are one step of the trellis each, which changes no result. What a path *loses* is
how much less it weighs than the best token of every frame. Frames where each token of the text loses more than a bound
are taken as silent; if the path that is found loses no more than the bound, no path that speaks in one of them is
better. If it loses more, its loss is the bound of a second search.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.vocabulary import Vocabulary

LEAST_LOG_PROB = -1e4
"""Impossible tokens are all but impossible, so that a text always has a path."""
FIRST_BOUND = 10.0
"""What a path may lose at first, in natural logs: what a beam finds in real speech mostly loses less."""


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
    needed = frames_needed(tokens)
    if frames < needed:
        raise ValueError(f"{len(tokens)} tokens do not fit into {frames} frames")
    finite = np.maximum(log_probs, LEAST_LOG_PROB, dtype=np.float64)
    each, best_possible = np.arange(frames), finite.max(axis=1)
    least_losses = best_possible - finite[:, np.unique(wanted)].max(axis=1, initial=-np.inf)
    silent_ids = [ids[finite[:, ids].argmax(axis=1)] for ids in _silences(vocabulary)]
    silences = np.stack([finite[each, ids] for ids in silent_ids], axis=1)
    # even states are silence, odd ones the tokens: [silence, token, silence, token, ..., silence]
    kinds = np.zeros(wanted.size + 1, np.int64)
    kinds[0] = kinds[-1] = 1
    if vocabulary.delimiter_id is not None:
        kinds[1:] |= wanted == vocabulary.delimiter_id
    kinds[:-1] |= np.isin(wanted, vocabulary.mark_ids)
    may_skip = np.zeros(2 * wanted.size + 1, bool)
    may_skip[3::2] = wanted[1:] != wanted[:-1]
    bound = FIRST_BOUND
    while True:
        silent = least_losses > bound
        firsts = np.flatnonzero(~(silent & np.r_[False, silent[:-1]]))
        if firsts.size < needed:
            firsts, bound = each, np.inf
        scores = np.empty((firsts.size, may_skip.size))
        scores[:, 0::2] = np.add.reduceat(silences, firsts)[:, kinds]
        scores[:, 1::2] = np.add.reduceat(finite, firsts)[:, wanted]
        states = np.repeat(_best_states(scores, may_skip), np.diff(firsts, append=frames))
        path = np.where(kinds[states // 2], silent_ids[1], silent_ids[0])
        spoken = states % 2 == 1
        path[spoken] = wanted[states[spoken] // 2]
        loss = float((best_possible - finite[each, path]).sum())
        if loss <= bound:
            return path
        bound = loss


def _silences(vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids that say nothing, in ascending order: without the delimiter and with it."""
    closed = set(vocabulary.special_ids)
    opened = closed if vocabulary.delimiter_id is None else {*closed, vocabulary.delimiter_id}
    return np.array(sorted(closed), np.int64), np.array(sorted(opened), np.int64)


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
