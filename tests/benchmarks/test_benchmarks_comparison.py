"""What is measured of each library in the comparison of beam searches."""

import time

import numpy as np
import pytest

from benchmarks.comparison import Row, measure, segments_of, share_held, table, texts_of, words_to_take_out
from benchmarks.log_probs import LogProbs, Spoken
from shrota_testing.log_probs import log_probs_of
from shrota_testing.utterances import VOCABULARY


def spoken(text: str, seconds: float = 1.0) -> Spoken:
    return Spoken(text, log_probs_of("_क_"), seconds)


def search(log_probs: LogProbs) -> str:
    """Stands for a library: the number of frames."""
    return f"{len(log_probs)} "


def test_words_to_take_out_are_long_said_once_and_heard() -> None:
    said = [spoken("हजारीबाग काम कामकाज"), spoken("कामकाज गुमलाजी केदारनाथ रामनगर")]
    heard = {"हजारीबाग", "काम", "कामकाज", "गुमलाजी", "केदारनाथ"}
    assert words_to_take_out(said, heard, 9) == ["हजारीबाग", "गुमलाजी", "केदारनाथ"]
    assert words_to_take_out(said, heard, 2) == ["हजारीबाग", "गुमलाजी"]


def test_segments_are_the_whole_sample_in_order() -> None:
    long = np.tile(log_probs_of("_क_ा_म_|__"), (200, 1))
    (segments,) = segments_of([Spoken("", long, 40.0)], VOCABULARY)
    assert len(segments) == 2
    np.testing.assert_array_equal(np.concatenate(segments), long)


def test_the_text_of_a_sample_is_that_of_its_segments() -> None:
    three, five = np.zeros((3, 68), np.float32), np.zeros((5, 68), np.float32)
    assert texts_of(search, [[three, five], [five]]) == ["3 5", "5"]


def test_rows_get_texts_and_least_times() -> None:
    row = Row("mine", 8, search)
    measure([row], [[np.zeros((3, 68), np.float32)]], rounds=2)
    assert row.texts == ["3"]
    assert 0 <= row.least_ms < 1000
    assert 0 <= row.least_held <= 1


def test_the_share_of_a_call_that_keeps_the_lock() -> None:
    # tried again on a machine that is busy
    assert any(share_held(lambda: time.sleep(0.1)) < 0.5 for _ in range(10))
    assert any(share_held(lambda: sum(range(5_000_000))) > 0.5 for _ in range(10))


def test_the_table_counts_words_and_time_over_all_samples() -> None:
    row = Row("mine", 8, search, texts=["काम नाम", "राम"], least_ms=3.0, least_held=0.25)
    lines = table([row], [spoken("काम काम", 1.0), spoken("राम", 2.0)]).split("\n")
    assert lines[2:] == ["| mine | 8 | 1 of 3 | 1.000 | 25 % |"]


def test_the_table_wants_a_text_of_each_sample() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table([Row("mine", 8, search, texts=["काम"])], [spoken("काम"), spoken("राम")])
