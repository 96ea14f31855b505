"""Requests are joined where their shapes allow, and each gets its own rows or its own error."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shrota_batch import Arrays, Item, run_items


class Engine:
    """Doubles AUDIO and counts SAMPLES; refuses anything negative. Remembers the shapes of its runs."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, ...]] = []
        self.wanted: list[list[str]] = []

    def __call__(self, inputs: Arrays, wanted: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Runs them."""
        self.runs.append(inputs["AUDIO"].shape)
        self.wanted.append(list(wanted))
        if (inputs["AUDIO"] < 0).any():
            raise ValueError("negative")
        outputs = {"DOUBLE": inputs["AUDIO"] * 2, "SUM": inputs["AUDIO"].sum(axis=1, keepdims=True)}
        return {name: outputs[name] for name in wanted}


def item(value: float, rows: int, samples: int, wanted: Sequence[str] = ("DOUBLE", "SUM")) -> Item:
    audio = np.full((rows, samples), value, np.float32)
    return Item({"AUDIO": audio, "NUM_SAMPLES": np.full((rows, 1), samples, np.int32)}, wanted)


def test_equal_shapes_make_one_run_and_every_request_gets_its_rows() -> None:
    engine = Engine()
    results = run_items([item(1, 2, 5), item(2, 1, 5), item(3, 3, 5)], engine)
    assert engine.runs == [(6, 5)]
    for result, (value, rows) in zip(results, [(1, 2), (2, 1), (3, 3)], strict=True):
        assert isinstance(result, dict)
        np.testing.assert_array_equal(result["DOUBLE"], np.full((rows, 5), 2 * value))
        np.testing.assert_array_equal(result["SUM"], np.full((rows, 1), 5 * value))


def test_other_shapes_make_other_runs_and_order_is_kept() -> None:
    engine = Engine()
    results = run_items([item(1, 1, 5), item(2, 1, 7), item(3, 1, 5)], engine)
    assert engine.runs == [(2, 5), (1, 7)]
    sums = [float(result["SUM"][0, 0]) for result in results if isinstance(result, dict)]
    assert sums == [5, 14, 15]


def test_a_bad_request_fails_alone() -> None:
    engine = Engine()
    good, bad, other = run_items([item(1, 1, 5), item(-1, 1, 5), item(3, 1, 5)], engine)
    assert isinstance(bad, ValueError)
    assert isinstance(good, dict)
    assert isinstance(other, dict)
    assert float(other["SUM"][0, 0]) == 15
    assert engine.runs == [(3, 5), (1, 5), (1, 5), (1, 5)]


def test_a_single_request_is_not_copied() -> None:
    only = item(1, 1, 5)
    seen = []

    def run(inputs: Arrays, wanted: Sequence[str]) -> Arrays:
        seen.append(inputs["AUDIO"])
        return dict.fromkeys(wanted, inputs["AUDIO"])

    run_items([only], run)
    assert seen[0] is only.inputs["AUDIO"]


def test_only_what_is_wanted_is_computed_and_given() -> None:
    engine = Engine()
    first, second = run_items([item(1, 1, 5, ["SUM"]), item(1, 1, 5, ["SUM"])], engine)
    assert engine.wanted == [["SUM"]]
    assert isinstance(first, dict)
    assert list(first) == ["SUM"]
    mixed = run_items([item(1, 1, 5, ["SUM"]), item(1, 1, 5, ["DOUBLE"])], engine)
    assert [list(result) for result in mixed if isinstance(result, dict)] == [["SUM"], ["DOUBLE"]]
    assert isinstance(second, dict)


def test_no_requests_make_no_run() -> None:
    assert run_items([], lambda *_: pytest.fail("nothing to run")) == []
