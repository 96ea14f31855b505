"""What the decoder refuses, and the one line that it says."""

from pathlib import Path

import numpy as np
import pytest

from shrota_decoder.checks import check_durations, check_log_probs
from shrota_decoder.errors import RequestRefusedError
from shrota_decoder.vocabulary import Vocabulary, VocabularyError


@pytest.mark.parametrize("shape", [(1, 5, 3), (5, 4), (1, 1, 5, 4)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestRefusedError, match=r"vocab\.json has 4 tokens: send \[rows, frames, 4\]"):
        check_log_probs(np.zeros(shape, np.float32), 4)


def test_nan_is_refused_and_minus_infinity_is_not() -> None:
    log_probs = np.full((1, 3, 4), -np.inf, np.float32)
    check_log_probs(log_probs, 4)
    check_log_probs(np.zeros((1, 0, 4), np.float32), 4)
    for value in (np.nan, np.inf):
        log_probs[0, 1, 2] = value
        with pytest.raises(RequestRefusedError, match="LOG_PROBS holds NaN or"):
            check_log_probs(log_probs, 4)


@pytest.mark.parametrize("value", [0.02, 1.0, 30.0])
def test_what_no_log_of_a_probability_can_be_is_refused(value: float) -> None:
    """Logits and probabilities would be decoded to something, with a confidence of 1."""
    log_probs = np.full((1, 3, 4), -1.5, np.float32)
    log_probs[0, 0, 0] = 0.005  # rounding of an engine
    check_log_probs(log_probs, 4)
    log_probs[0, 2, 3] = value
    with pytest.raises(RequestRefusedError, match=rf"^LOG_PROBS holds {value:g}, .*send natural logs of probabilities"):
        check_log_probs(log_probs, 4)


@pytest.mark.parametrize("duration", [np.nan, np.inf, -1.0])
def test_a_duration_that_is_none_is_refused(duration: float) -> None:
    check_durations(np.array([0.0, 7200.0], np.float32))
    with pytest.raises(RequestRefusedError, match="DURATION must be seconds"):
        check_durations(np.array([1.0, duration], np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"vocab\.json is missing: write it with `shrota export onnx"),
        ("{", r"cannot be used"),
        ('{"tokens": ["a"]}', r"has no key 'word_delimiter'"),
        (
            '{"tokens": ["a"], "word_delimiter": null, "blank": "b", "special_tokens": [], "frame_seconds": 0.02}',
            "not in",
        ),
        ("[]", "cannot be used"),
    ],
)
def test_a_broken_vocabulary_says_how_to_write_it(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.read(path)
