"""The comparison of engines on a processor: what is said of given times."""

import pytest

from benchmarks.cpu_engines import INT8, by_turns, speed

TIMES = {
    "PyTorch fp32": [3.0, 3.2, 3.4],
    INT8: [0.9, 1.0, 1.1],
    "OpenVINO int8": [0.8, 0.8, 0.8],
}


def test_speeds_are_times_real_time_of_medians_with_a_bar_for_the_fastest() -> None:
    figures = {figure.name: figure for figure in speed(TIMES, 10.0, 1, 0.01).figures}
    assert figures["PyTorch fp32"].value == pytest.approx(3.125)
    assert figures[INT8].value == pytest.approx(10)
    assert "1.25 of" in figures["OpenVINO int8"].note
    fastest = figures["the fastest, OpenVINO int8"]
    assert fastest.value == pytest.approx(12.5)
    assert fastest.met is True
    (ratio,) = [figure for name, figure in figures.items() if "neighbours" in name]
    assert ratio.value == pytest.approx(1.25)
    assert speed({**TIMES, "OpenVINO int8": [1.0] * 3}, 10.0, 1, 0.0).figures[-2].met is False


def test_rows_count_as_audio() -> None:
    assert speed(TIMES, 10.0, 4, 0.0).figures[1].value == pytest.approx(40)


def test_engines_take_turns_and_the_first_runs_do_not_count() -> None:
    order: list[str] = []
    times = by_turns({name: lambda name=name: order.append(name) for name in "ab"}, 2)  # type: ignore[misc]
    assert order == list("ababab")
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}
