"""Requests of ``acoustic_torch`` are run together, and parted again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shrota_torch.batch import Rows, RowsError, run_together
from shrota_torch.graphs import LONGEST, rounded

Arrays = tuple[NDArray[np.float32], NDArray[np.int32]]


def rows(*lengths: int, value: float = 1.0, width: int | None = None) -> Rows:
    audio = np.zeros((len(lengths), width or max(lengths)), np.float32)
    for row, length in enumerate(lengths):
        audio[row, :length] = value
    return Rows.of(audio, np.array(lengths, np.int32)[:, None])


class Recorder:
    """An engine whose frames are single samples: one token, its log-probability the sample."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, audio: Any, num_samples: Any) -> Arrays:
        """See the class."""
        self.shapes.append(audio.shape)
        if (audio > 100).any():
            raise RuntimeError("too loud")
        return audio[:, :, None].copy(), num_samples.astype(np.int32)


def run_all(items: Sequence[Rows], engine: Recorder, bound: int) -> list[dict[str, NDArray[Any]]]:
    """As :func:`run_together`; all must have an answer."""
    results = run_together(items, engine, bound)
    assert not [result for result in results if isinstance(result, Exception)]
    return [dict(result) for result in results if not isinstance(result, Exception)]


def test_requests_of_different_lengths_are_one_run_and_each_gets_its_own_rows() -> None:
    engine = Recorder()
    items = [rows(30, 20, value=1), rows(50, value=2), rows(10, value=3)]
    results = run_all(items, engine, 10000)
    assert engine.shapes == [(4, 50)]
    assert [result["NUM_FRAMES"].ravel().tolist() for result in results] == [[30, 20], [50], [10]]
    assert [result["LOG_PROBS"].shape for result in results] == [(2, 30, 1), (1, 50, 1), (1, 10, 1)]
    assert [float(result["LOG_PROBS"][0].sum()) for result in results] == [30, 100, 30]


def test_one_request_alone_keeps_the_frames_of_its_padding() -> None:
    (result,) = run_all([rows(10, width=80)], Recorder(), 10000)
    assert result["LOG_PROBS"].shape == (1, 80, 1)


def test_runs_stay_within_the_bound_and_join_what_is_of_like_length() -> None:
    engine = Recorder()
    results = run_all([rows(40), rows(10), rows(40), rows(12)], engine, 90)
    assert engine.shapes == [(2, 12), (2, 40)]
    assert [result["NUM_FRAMES"].item() for result in results] == [40, 10, 40, 12]


def test_what_is_larger_than_the_bound_is_run_alone() -> None:
    engine = Recorder()
    run_together([rows(200, 200), rows(10)], engine, 90)
    assert engine.shapes == [(1, 10), (2, 200)]


def test_a_request_that_fails_fails_alone() -> None:
    bad, good = rows(10, value=1000), rows(10)
    results = run_together([good, bad, good], Recorder(), 10000)
    assert isinstance(results[1], RuntimeError)
    answered = [result for result in results if not isinstance(result, Exception)]
    assert [float(result["LOG_PROBS"].sum()) for result in answered] == [10, 10]


@pytest.mark.parametrize(("audio", "count"), [((4,), (4, 1)), ((2, 8), (2,)), ((2, 8), (3, 1))])
def test_what_is_no_rows_is_refused(audio: tuple[int, ...], count: tuple[int, ...]) -> None:
    with pytest.raises(RowsError, match="send"):
        Rows.of(np.zeros(audio, np.float32), np.ones(count, np.int32))


def test_lengths_beyond_the_row_are_clamped() -> None:
    found = Rows.of(np.zeros((2, 8), np.float32), np.array([[99], [-1]], np.int32))
    assert found.num_samples.ravel().tolist() == [8, 0]


def test_graphs_hold_an_eighth_more_at_most_and_never_more_than_a_row() -> None:
    for frames in (1, 63, 64, 65, 499, 1024, 1025, 5000, 16000, 32768):
        size = rounded(frames)
        assert 0 <= size - frames < max(64, frames / 8)
        assert size - frames < LONGEST
    assert len({rounded(frames) for frames in range(1, 32769)}) < 90
