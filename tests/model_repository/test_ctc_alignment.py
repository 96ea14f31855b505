"""Alignment of a text against all paths, and against greedy decoding."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import shrota_decoder.alignment
from shrota_decoder import greedy
from shrota_decoder.alignment import align, frames_needed, token_ids
from shrota_decoder.vocabulary import Vocabulary
from shrota_testing.marks import with_marks_attached

SMALL = Vocabulary(("<pad>", "<unk>", "|", "क", "\u093c"), 0, 2, frozenset({0, 1}), 0.02)
UNDELIMITED = Vocabulary(("<pad>", "क", "ख"), 0, None, frozenset({0}), 0.02)


def random_log_probs(frames: int, tokens: int, seed: int) -> NDArray[np.float32]:
    """Log-probabilities, [frames, tokens]."""
    logits = np.random.default_rng(seed).normal(0, 2, (frames, tokens))
    log_probs: NDArray[np.float32] = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    return log_probs


def text_of(path: tuple[int, ...], vocabulary: Vocabulary) -> str:
    """What a path says, written without our code.

    Repeats joined, special tokens dropped, delimiters to spaces, marks attached.
    """
    joined = [token for token, _ in itertools.groupby(path) if token not in vocabulary.special_ids]
    spaced = "".join(" " if token == vocabulary.delimiter_id else vocabulary.tokens[token] for token in joined)
    return with_marks_attached(spaced)


@pytest.mark.parametrize("vocabulary", [SMALL, UNDELIMITED])
@pytest.mark.parametrize("seed", range(6))
def test_no_path_that_says_the_text_is_better(vocabulary: Vocabulary, seed: int) -> None:
    log_probs = random_log_probs(5, len(vocabulary.tokens), seed)
    best: dict[str, tuple[float, tuple[int, ...]]] = {}
    for path in itertools.product(range(len(vocabulary.tokens)), repeat=5):
        score = float(log_probs[np.arange(5), path].sum(dtype=np.float64))
        text = text_of(path, vocabulary)
        if text not in best or score > best[text][0]:
            best[text] = (score, path)
    assert len(best) > 20
    for text, (_, path) in best.items():
        aligned = align(log_probs, token_ids(text.split(), vocabulary), vocabulary)
        assert tuple(aligned.tolist()) == path, text


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 10_000))
def test_the_greedy_text_is_aligned_to_the_best_path(frames: int, seed: int) -> None:
    log_probs = random_log_probs(frames, len(SMALL.tokens), seed)
    words = [word.word for word in greedy.decode(log_probs, 10.0, SMALL).words]
    assert align(log_probs, token_ids(words, SMALL), SMALL).tolist() == log_probs.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("text", "searches", "all_at_once"),
    [
        (["क", "\u093cक"], 1, False),
        (["\u093c", "क"], 2, False),
        ([], 2, False),
        (["क"] * 12, 1, True),  # more tokens than there are steps
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_taking_silent_frames_as_one_step_changes_no_path(
    text: list[str], searches: int, all_at_once: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two words in much silence, aligned to what was said, and to texts that lose far more than the first bound."""
    said = [0] * 20 + [3, 0, 0, 0, 2] + [0] * 10 + [4, 3, 3, 0, 0] + [0] * 20
    log_probs = random_log_probs(len(said), len(SMALL.tokens), seed)
    log_probs[np.arange(len(said)), said] += 15
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    steps = []
    best_states = shrota_decoder.alignment._best_states

    def counted(scores: NDArray[np.float64], may_skip: NDArray[np.bool_]) -> NDArray[np.int64]:
        steps.append(scores.shape[0])
        return best_states(scores, may_skip)

    monkeypatch.setattr(shrota_decoder.alignment, "_best_states", counted)
    path = align(log_probs, token_ids(text, SMALL), SMALL)
    assert len(steps) == searches
    assert (steps[0] == len(said)) if all_at_once else (steps[0] < 30)
    monkeypatch.setattr(shrota_decoder.alignment, "FIRST_BOUND", np.inf)
    assert path.tolist() == align(log_probs, token_ids(text, SMALL), SMALL).tolist()
    assert steps[-1] == len(said)


def test_what_is_impossible_in_the_log_probabilities_still_gets_times() -> None:
    log_probs = np.full((4, 5), -np.inf, np.float32)
    log_probs[:, 0] = 0
    path = align(log_probs, token_ids(["क\u093c"], SMALL), SMALL)
    assert [token for token in path.tolist() if token] == [3, 4]


def test_repeated_tokens_need_a_frame_between_them() -> None:
    tokens = token_ids(["कक", "क"], SMALL)
    assert tokens == [3, 3, 2, 3]
    assert frames_needed(tokens) == 5
    assert align(random_log_probs(5, 5, 0), tokens, SMALL)[[0, 2, 3, 4]].tolist() == [3, 3, 2, 3]
    with pytest.raises(ValueError, match="4 tokens do not fit into 4 frames"):
        align(random_log_probs(4, 5, 0), tokens, SMALL)


def test_a_word_of_other_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="'कख' cannot be spelled"):
        token_ids(["कख"], SMALL)


def test_the_fewest_tokens_spell_a_word() -> None:
    vocabulary = Vocabulary(("<pad>", "a", "ab", "b", "c"), 0, None, frozenset({0}), 0.02)
    assert vocabulary.spell("aabbc") == [1, 2, 3, 4]
    assert vocabulary.spell("") == []
    assert vocabulary.spell("abx") is None
