"""Which windows go into an engine batch: limits, fairness, and that nothing is lost."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrota_acoustic.batching import HORIZON, Batch, FairQueue, Limits

SECOND = 16000
DEFAULT = Limits(budget=40 * SECOND, max_rows=64, max_padding=0.1)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    return Limits(
        budget=draw(st.integers(100, 400)),
        max_rows=draw(st.integers(1, 8)),
        max_padding=draw(st.sampled_from([0.0, 0.1, 0.3, 1.0])),
        length_step=draw(st.sampled_from([0, 1, 7, 25])),
        patience=draw(st.integers(1, 5)),
    )


requests = st.tuples(st.sampled_from(["onnx", "trt"]), st.integers(1, 100), st.integers(1, 30))
"""Engine, length of each window, windows."""
workloads = st.lists(st.one_of(requests, st.just("batch")), max_size=40)
"""Requests that arrive, and batches that are formed between."""


class Run:
    """What a workload made of a queue: all batches, until nothing waits."""

    def __init__(self, limits: Limits, workload: list[tuple[str, int, int] | str]) -> None:
        self.limits = limits
        self.added: dict[int, tuple[str, int, int]] = {}
        self.batches: list[Batch[int]] = []
        self.waiting_before: list[list[int]] = []
        self._queue: FairQueue[int] = FairQueue(limits)
        for event in workload:
            if isinstance(event, str):
                self._form()
            else:
                self._queue.add(len(self.added), *event)
                self.added[len(self.added)] = event
        while len(self._queue):
            self._form()

    def _form(self) -> None:
        if len(self._queue):
            self.waiting_before.append(self._queue.owners())
            self.batches.append(self._queue.next_batch())


runs = st.builds(Run, limits(), workloads)


@given(runs)
def test_every_window_is_run_exactly_once_and_in_its_requests_order(run: Run) -> None:
    order: dict[int, list[int]] = defaultdict(list)
    for batch in run.batches:
        for row in batch.rows:
            order[row.owner].append(row.index)
    assert order == {owner: list(range(count)) for owner, (_, _, count) in run.added.items()}


@given(runs)
def test_a_batch_stays_within_budget_and_rows_and_holds_one_engines_windows(run: Run) -> None:
    for batch in run.batches:
        longest = max(row.length for row in batch.rows)
        assert longest <= batch.padded_length < longest + max(1, run.limits.length_step)
        assert len(batch.rows) <= run.limits.max_rows
        assert len(batch.rows) == 1 or len(batch.rows) * batch.padded_length <= run.limits.budget
        for row in batch.rows:
            assert run.added[row.owner][:2] == (batch.engine, row.length)


@given(runs)
def test_padding_stays_within_its_share(run: Run) -> None:
    for batch in run.batches:
        longest = max(row.length for row in batch.rows)
        padding = sum(longest - row.length for row in batch.rows)
        assert padding <= run.limits.max_padding * longest * len(batch.rows) + 1e-6


@given(runs)
def test_the_oldest_request_is_in_one_of_any_patience_plus_one_batches(run: Run) -> None:
    passed_over: dict[int, int] = defaultdict(int)
    for waiting, batch in zip(run.waiting_before, run.batches, strict=True):
        oldest = waiting[0]
        if oldest in batch.owners:
            passed_over[oldest] = 0
        else:
            passed_over[oldest] += 1
        assert passed_over[oldest] <= run.limits.patience


@given(limits(), st.lists(st.integers(50, 100), min_size=1, max_size=8), st.integers(0, 30), st.integers(1, 40))
def test_a_request_beside_long_files_that_are_being_run_is_in_the_very_next_batch(
    limits: Limits, files: list[int], more_batches: int, length: int
) -> None:
    queue: FairQueue[int] = FairQueue(Limits(limits.budget, limits.max_rows, 0.1, limits.length_step, patience=1000))
    for owner, window in enumerate(files):
        queue.add(owner, "onnx", window, 1000)
    for _ in range(len(files) + more_batches):
        queue.next_batch()
    queue.add(-1, "onnx", length, 1)
    assert -1 in queue.next_batch().owners


@pytest.mark.parametrize("batches_before", [1, 2, 50])
def test_an_utterance_beside_one_long_file_is_next_whatever_has_been_run(batches_before: int) -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    queue.add("half an hour", "onnx", 20 * SECOND, 300)
    for _ in range(batches_before):
        queue.next_batch()
    queue.add("ten seconds", "onnx", 10 * SECOND, 1)
    assert "ten seconds" in queue.next_batch().owners


@given(st.lists(st.integers(1, 20), min_size=2, max_size=30))
def test_requests_of_equal_length_are_first_come_first_served(arrivals: list[int]) -> None:
    queue: FairQueue[int] = FairQueue(DEFAULT)
    for number in range(len(arrivals)):
        queue.add(number, "onnx", 5 * SECOND, 1)
    served = []
    while len(queue):
        served += [row.owner for row in queue.next_batch().rows]
    assert served == sorted(served)


def test_two_long_files_share_the_engine_evenly() -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    queue.add("first", "onnx", 20 * SECOND, 100)
    for _ in range(10):
        queue.next_batch()
    queue.add("second", "onnx", 20 * SECOND, 100)
    served = [row.owner for _ in range(20) for row in queue.next_batch().rows]
    assert abs(served.count("first") - served.count("second")) <= 3


def test_a_stream_of_short_requests_does_not_stop_a_long_one() -> None:
    queue: FairQueue[int] = FairQueue(DEFAULT)
    queue.add(0, "onnx", 20 * SECOND, 10)
    batches = 0
    for number in range(1, 200):
        queue.add(number, "onnx", 3 * SECOND, 1)
        queue.next_batch()
        batches += 1
        if 0 not in queue.owners():
            break
    assert batches <= 10 * (DEFAULT.patience + 1)


def test_windows_of_like_length_go_together() -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    for seconds in (10, 3, 9.5, 17, 9.8, 3.1):
        queue.add(f"{seconds} s", "onnx", int(seconds * SECOND), 1)
    assert queue.next_batch().owners == ["10 s", "9.5 s", "9.8 s"]
    assert queue.next_batch().owners == ["3 s", "3.1 s"]
    assert queue.next_batch().owners == ["17 s"]


def test_of_several_possible_batches_the_one_with_the_most_audio_is_taken() -> None:
    queue: FairQueue[str] = FairQueue(Limits(budget=33 * SECOND, max_rows=64, max_padding=0.1))
    for seconds in (10, 9.5, 11, 10.9, 12):
        queue.add(f"{seconds} s", "onnx", int(seconds * SECOND), 1)
    # three rows of up to 11 s fit into the budget, of 12 s only two
    assert queue.next_batch().owners == ["10 s", "11 s", "10.9 s"]


def test_a_late_request_does_not_overtake_a_long_queue() -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    like, unlike = 10 * SECOND, 5 * SECOND
    queue.add("first", "onnx", like, 1)
    for number in range(HORIZON * DEFAULT.budget // unlike):
        queue.add(f"unlike {number}", "onnx", unlike, 1)
    queue.add("late", "onnx", like, 1)
    assert queue.next_batch().owners == ["first"]


def test_a_late_request_goes_along_where_less_waits_and_a_long_file_is_no_queue() -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    queue.add("file", "onnx", 20 * SECOND, 100)
    queue.add("first", "onnx", 10 * SECOND, 1)
    queue.next_batch()
    for number in range((HORIZON - 2) * DEFAULT.budget // (5 * SECOND)):
        queue.add(f"unlike {number}", "onnx", 5 * SECOND, 1)
    queue.add("second", "onnx", 10 * SECOND, 1)
    owners = queue.next_batch().owners
    assert owners == ["first", "second"], owners


def test_what_waits_for_another_engine_is_no_queue() -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    for number in range(2 * HORIZON * DEFAULT.budget // (5 * SECOND)):
        queue.add(f"other {number}", "torch", 5 * SECOND, 1)
    queue.add("first", "onnx", 10 * SECOND, 1)
    queue.add("second", "onnx", 10 * SECOND, 1)
    while (batch := queue.next_batch()).engine != "onnx":
        pass
    assert batch.owners == ["first", "second"]


def test_one_window_longer_than_the_budget_is_run_alone() -> None:
    queue: FairQueue[str] = FairQueue(Limits(budget=10, max_rows=4, max_padding=0.5))
    queue.add("long", "onnx", 11, 2)
    assert [(row.owner, row.index) for row in queue.next_batch().rows] == [("long", 0)]


def test_rows_are_padded_to_the_step() -> None:
    queue: FairQueue[str] = FairQueue(Limits(budget=400, max_rows=4, max_padding=0.1, length_step=50))
    queue.add("a", "onnx", 101, 1)
    queue.add("b", "onnx", 100, 1)
    batch = queue.next_batch()
    assert batch.padded_length == 150
    assert batch.owners == ["a", "b"]


def test_a_removed_request_is_forgotten() -> None:
    queue: FairQueue[str] = FairQueue(DEFAULT)
    queue.add("gone", "onnx", 100, 3)
    queue.next_batch()
    queue.remove("gone")
    queue.remove("never there")
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.next_batch()
