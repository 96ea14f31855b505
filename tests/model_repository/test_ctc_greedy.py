"""Greedy CTC decoding: rules as in Hugging Face's tokenizer, times and confidences as documented."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import Wav2Vec2CTCTokenizer

from shrota_decoder.greedy import decode
from shrota_decoder.vocabulary import Vocabulary
from shrota_testing.marks import MARKS, with_marks_attached
from shrota_testing.repository import TOKENS

VOCABULARY = Vocabulary(
    tokens=tuple(TOKENS), blank_id=0, delimiter_id=4, special_ids=frozenset({0, 1, 2, 3}), frame_seconds=0.02
)


def log_probs_of(path: list[int], probability: float = 0.9) -> NDArray[np.float32]:
    """Log-probabilities, [len(path), 68], whose best path is ``path``, each token with ``probability``."""
    rest = (1 - probability) / (len(TOKENS) - 1)
    probs = np.full((len(path), len(TOKENS)), rest, np.float32)
    probs[np.arange(len(path)), path] = probability
    return np.log(probs)


def ids(text: str) -> list[int]:
    """Token ids of the characters, ``_`` for the blank."""
    return [0 if character == "_" else TOKENS.index(character) for character in text]


def text_of(path: str) -> str:
    """The text that a path of characters decodes to."""
    return decode(log_probs_of(ids(path)), 100.0, VOCABULARY).text


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Wav2Vec2CTCTokenizer:
    """Hugging Face's tokenizer with the same vocabulary."""
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(TOKENS)}), encoding="utf-8")
    return Wav2Vec2CTCTokenizer(str(path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ककक", "क"),
        ("क_क", "कक"),
        ("_क__ा_म_", "काम"),
        ("क|म", "क म"),
        ("||क||म||", "क म"),
        ("|_|क|_|म|_|", "क म"),
        ("____", ""),
        ("|||", ""),
        ("क़", "क़"),
        ("क्ष", "क्ष"),
        ("क|\u093cम", "क\u093cम"),
        ("क_||_|_\u093c|म", "क\u093c म"),
        ("म|क|ि|_ि", "म किि"),
        ("|ि_|क", "ि क"),  # nothing to join: it is kept
        ("|ि|्|क", "ि् क"),
    ],
)
def test_repeats_blanks_and_delimiters(path: str, text: str) -> None:
    assert text_of(path) == text


@given(st.lists(st.sampled_from([0, 0, 4, *range(5, 68)]), min_size=1, max_size=60))
def test_words_equal_hugging_face_on_random_paths(tokenizer: Wav2Vec2CTCTokenizer, path: list[int]) -> None:
    """All but the marks behind a delimiter, which belong to the word before."""
    expected = with_marks_attached(tokenizer.decode(path)).split()
    assert [word.word for word in decode(log_probs_of(path), 100.0, VOCABULARY).words] == expected


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 20, 43, 54]), min_size=1, max_size=40))
def test_special_tokens_are_left_out_and_still_separate_repeats(
    tokenizer: Wav2Vec2CTCTokenizer, path: list[int]
) -> None:
    expected = tokenizer.decode(path)
    for special in ("<s>", "</s>", "<unk>"):
        expected = expected.replace(special, "")
    assert decode(log_probs_of(path), 100.0, VOCABULARY).text == with_marks_attached(expected)


@given(st.lists(st.sampled_from([0, 3, 4, 4, *map(TOKENS.index, "कम" + MARKS)]), min_size=1, max_size=60))
def test_no_word_begins_with_a_mark_that_has_something_to_join(path: list[int]) -> None:
    result = decode(log_probs_of(path), 100.0, VOCABULARY)
    assert not [word.word for word in result.words[1:] if word.word[0] in MARKS]
    letters = [token for token, _ in itertools.groupby(path) if token not in {0, 3, 4}]
    assert result.text.replace(" ", "") == "".join(TOKENS[token] for token in letters)  # and nothing is lost


def test_a_word_lasts_until_the_marks_that_join_it_and_the_delimiter_between_them_counts_as_silence() -> None:
    parts = [("_", 0.9), ("क", 0.5), ("|", 0.6), ("ि", 0.8), ("|", 0.7), ("म", 0.9)]
    log_probs = np.concatenate([log_probs_of(ids(token), probability) for token, probability in parts])
    result = decode(log_probs, 10.0, VOCABULARY)
    assert result.text == "कि म"
    assert (result.words[0].start, result.words[0].end) == pytest.approx((0.02, 0.08))
    assert result.words[0].confidence == pytest.approx((0.5 * 0.8) ** (1 / 2), rel=1e-5)
    assert result.confidence == pytest.approx((0.5 * 0.8 * 0.7 * 0.9) ** (1 / 4), rel=1e-5)


@given(st.lists(st.sampled_from([0, 4, 20, 43, 54]), max_size=80), st.floats(0.0, 2.0))
def test_times_are_monotonic_and_within_the_audio(path: list[int], duration: float) -> None:
    log_probs = log_probs_of(path) if path else np.zeros((0, 68), np.float32)
    edges = [0.0]
    for word in decode(log_probs, duration, VOCABULARY).words:
        edges += [word.start, word.end]
    assert edges == sorted(edges)
    assert edges[-1] <= duration


def test_a_word_lasts_from_its_first_to_its_last_token() -> None:
    result = decode(log_probs_of(ids("__कक_ा__|_म__")), 10.0, VOCABULARY)
    assert [word.word for word in result.words] == ["का", "म"]
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == pytest.approx([0.04, 0.12, 0.20, 0.22])


def test_confidence_is_the_geometric_mean_of_each_tokens_peak() -> None:
    log_probs = np.concatenate(
        [
            log_probs_of(ids("क"), 0.5),
            log_probs_of(ids("क"), 0.9),
            log_probs_of(ids("ा"), 0.4),
            log_probs_of(ids("|म"), 0.8),
        ]
    )
    result = decode(log_probs, 10.0, VOCABULARY)
    assert result.words[0].confidence == pytest.approx((0.9 * 0.4) ** (1 / 2), rel=1e-5)
    assert result.words[1].confidence == pytest.approx(0.8, rel=1e-5)
    assert result.confidence == pytest.approx((0.9 * 0.4 * 0.8 * 0.8) ** (1 / 4), rel=1e-5)


def test_nothing_said_has_the_blanks_probability_as_confidence() -> None:
    result = decode(log_probs_of(ids("____"), 0.7), 0.1, VOCABULARY)
    assert (result.text, result.words) == ("", ())
    assert result.confidence == pytest.approx(0.7, rel=1e-5)


def test_no_frame_gives_an_empty_text_without_confidence() -> None:
    result = decode(np.zeros((0, 68), np.float32), 0.01, VOCABULARY)
    assert (result.text, result.confidence, result.duration) == ("", 0.0, 0.01)


def test_a_vocabulary_without_delimiter_gives_one_word() -> None:
    vocabulary = Vocabulary(("<pad>", "क", "ख"), 0, None, frozenset({0}), 0.02)
    log_probs = np.log(np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], np.float32))
    assert decode(log_probs, 1.0, vocabulary).text == "कख"


def test_the_result_is_json_with_unicode_as_it_is() -> None:
    result = decode(log_probs_of(ids("क|म")), 0.06, VOCABULARY)
    assert json.loads(result.to_json()) == {
        "text": "क म",
        "confidence": 0.9,
        "duration": 0.06,
        "words": [
            {"word": "क", "start": 0.0, "end": 0.02, "confidence": 0.9},
            {"word": "म", "start": 0.04, "end": 0.06, "confidence": 0.9},
        ],
        "alternatives": [],
    }
    assert "क म" in result.to_json()


def test_the_vocabulary_is_read_from_the_exports_file(tmp_path: Path) -> None:
    content = {
        "tokens": TOKENS,
        "blank": "<pad>",
        "word_delimiter": "|",
        "special_tokens": ["<pad>", "<s>", "</s>", "<unk>"],
        "frame_seconds": 0.02,
    }
    (tmp_path / "vocab.json").write_text(json.dumps(content), encoding="utf-8")
    assert Vocabulary.read(tmp_path / "vocab.json") == VOCABULARY
