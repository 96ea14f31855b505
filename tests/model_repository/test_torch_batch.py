"""Requests of ``acoustic_torch`` are run together, and parted again."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shrota_torch.batch import AHEAD, Outputs, Rows, RowsError, Runner
from shrota_torch.graphs import rounded, sizes
from shrota_torch.layout import BLOCK, layout, most_blocks

LIMIT_S = 10.0
"""For what another thread does."""


def rows(*lengths: int, value: float = 1.0, width: int | None = None) -> Rows:
    audio = np.zeros((len(lengths), width or max(lengths)), np.float32)
    for row, length in enumerate(lengths):
        audio[row, :length] = value
    return Rows.of(audio, np.array(lengths, np.int32)[:, None])


class Echo:
    """A run of :class:`Recorder`; it ends when it may."""

    def __init__(self, audio: Any, num_samples: Any, may_end: threading.Event) -> None:
        self._outputs = audio[:, :, None].copy(), num_samples.copy()
        self._may_end = may_end

    def wait(self) -> tuple[Any, Any]:
        """What comes out; an error where the audio is very loud."""
        assert self._may_end.wait(LIMIT_S)
        if (self._outputs[0] > 10000).any():
            raise RuntimeError("much too loud")
        return self._outputs


class Recorder:
    """An engine whose frames are single samples: one token, its log-probability the sample."""

    def __init__(self) -> None:
        self.broken = False
        self.shapes: list[tuple[int, ...]] = []
        self.may_end = threading.Event()
        self.may_end.set()

    def buffer(self, count: int, samples: int) -> NDArray[np.float32]:
        """What was there before does not matter."""
        return np.full((count, samples), np.nan, np.float32)

    def is_broken(self) -> bool:
        """If it shall be."""
        return self.broken

    def begin(self, audio: Any, num_samples: Any) -> Echo:
        """See the class."""
        self.shapes.append(audio.shape)
        audio = np.where(np.arange(audio.shape[1]) < num_samples, audio, 0)
        if ((audio > 100) & (audio < 10000)).any():
            raise RuntimeError("too loud")
        return Echo(audio, num_samples, self.may_end)


class Answers:
    """What each of some requests was answered, once."""

    def __init__(self, count: int) -> None:
        self.results: list[Outputs | Exception | None] = [None] * count
        self.there = [threading.Event() for _ in range(count)]

    def give(self, place: int, result: Outputs | Exception) -> None:
        """Notes one."""
        assert self.results[place] is None
        self.results[place] = result
        self.there[place].set()


def unexpected(reason: str) -> None:
    pytest.fail(reason)


def answer_all(
    items: Sequence[Rows], engine: Recorder, bound: int, give_up: Callable[[str], None] = unexpected
) -> list[Any]:
    """What a runner answers."""
    answers = Answers(len(items))
    runner = Runner(engine, bound, give_up)
    runner.run(items, [partial(answers.give, place) for place in range(len(items))])
    runner.close()
    assert None not in answers.results
    return answers.results


def run_all(items: Sequence[Rows], engine: Recorder, bound: int) -> list[dict[str, NDArray[Any]]]:
    """As :func:`answer_all`; none may be an error."""
    results = answer_all(items, engine, bound)
    assert not [result for result in results if isinstance(result, Exception)]
    return results


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
    run_all([rows(200, 200), rows(10)], engine, 90)
    assert engine.shapes == [(1, 10), (2, 200)]


@pytest.mark.parametrize("loud", [1000, 100000], ids=["when it is begun", "when it is waited for"])
def test_a_request_that_fails_fails_alone(loud: float) -> None:
    bad, good = rows(10, value=loud), rows(10)
    results = answer_all([good, bad, good], Recorder(), 10000)
    assert isinstance(results[1], RuntimeError)
    answered = [result for result in results if not isinstance(result, Exception)]
    assert [float(result["LOG_PROBS"].sum()) for result in answered] == [10, 10]


@pytest.mark.parametrize("loud", [1000, 100000], ids=["when it is begun", "when it is waited for"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_broken_engine_is_given_up_once_its_requests_have_their_errors(loud: float, count: int) -> None:
    engine = Recorder()
    engine.broken = True
    reasons: list[str] = []
    results = answer_all([rows(10, value=loud)] * count, engine, 10000, reasons.append)
    assert all(isinstance(result, RuntimeError) for result in results)
    assert len(reasons) == 1
    assert "too loud" in reasons[0]


def test_a_run_begins_before_the_last_one_has_ended_but_not_many_do() -> None:
    engine = Recorder()
    engine.may_end.clear()
    answers = Answers(AHEAD + 1)
    runner = Runner(engine, 10000, unexpected)
    for place in range(AHEAD):
        runner.run([rows(10)], [partial(answers.give, place)])
    assert len(engine.shapes) == AHEAD
    assert not any(answers.results)
    last = threading.Thread(target=lambda: runner.run([rows(10)], [partial(answers.give, AHEAD)]))
    last.start()
    last.join(0.1)
    assert last.is_alive()  # there is no place for it yet
    assert len(engine.shapes) == AHEAD
    engine.may_end.set()
    assert all(there.wait(LIMIT_S) for there in answers.there)
    last.join(LIMIT_S)
    runner.close()
    assert len(engine.shapes) == AHEAD + 1


@pytest.mark.parametrize(("audio", "count"), [((4,), (4, 1)), ((2, 8), (2,)), ((2, 8), (3, 1))])
def test_what_is_no_rows_is_refused(audio: tuple[int, ...], count: tuple[int, ...]) -> None:
    with pytest.raises(RowsError, match="send"):
        Rows.of(np.zeros(audio, np.float32), np.ones(count, np.int32))


def test_lengths_beyond_the_row_are_clamped() -> None:
    found = Rows.of(np.zeros((2, 8), np.float32), np.array([[99], [-1]], np.int32))
    assert found.num_samples.ravel().tolist() == [8, 0]


def test_graphs_hold_a_32nd_more_at_most() -> None:
    for frames in (1, 63, 64, 65, 499, 1024, 1025, 5000, 16000, 32768):
        size = rounded(frames)
        assert 0 <= size - frames < max(64, frames / 32)


@pytest.mark.parametrize("most", [1, 64, 1000, 4096, 4097, 32000])
def test_the_graphs_that_are_made_are_those_that_are_used(most: int) -> None:
    made = list(sizes(most))
    assert made == sorted({rounded(frames) for frames in range(1, most + 1)}, reverse=True)
    assert len(made) < 170


@pytest.mark.parametrize("frames", [[5], [300, 0, 128, 129], [0, 1, 999, 500]])
def test_a_layout_names_every_frame_once(frames: list[int]) -> None:
    """Of padded rows, and of attention: blocks lie in their row and cover it, longest rows first."""
    longest = max(frames) + 3
    found = layout(np.array(frames), longest)
    assert found.place.tolist() == [row * longest + frame for row, count in enumerate(frames) for frame in range(count)]
    assert len(found.blocks) <= most_blocks(sum(frames), len(frames))
    starts = np.cumsum([0, *frames]).tolist()
    expected = [
        [begin, begin + count, first]
        for begin, count in zip(starts, frames, strict=False)
        for first in range(begin, begin + count, BLOCK)
    ]
    assert sorted(found.blocks.tolist()) == sorted(expected)
    sizes_of_rows = [end - begin for begin, end, _ in found.blocks.tolist()]
    assert sizes_of_rows == sorted(sizes_of_rows, reverse=True)
