"""Whether perf_analyzer's windows agree."""

import pytest

from shrota_loadtest.perf_analyzer.windows import Window, why_unstable


@pytest.mark.parametrize(
    ("windows", "why"),
    [
        ([(10.0, 100.0), (12.0, 120.0), (9.0, 90.0)], None),
        ([(10.0, 100.0), (20.0, 100.0), (9.0, 100.0)], "throughput of its windows differs by 54 %"),
        ([(10.0, 100.0), (10.0, 100.0), (10.0, 250.0)], "latency of its windows differs by 67 %"),
        ([(0.0, 0.0)] * 3, None),
    ],
)
def test_in_a_closed_loop_neither_may_differ_by_more_than_a_quarter(windows: list[Window], why: str | None) -> None:
    assert why_unstable(windows, 3.0) == why


@pytest.mark.parametrize("rate", [None, 8.0])
def test_of_fewer_than_three_windows_nothing_says_that_they_agree(rate: float | None) -> None:
    """As where perf_analyzer's words have another form than ours."""
    assert why_unstable([], 3.0, rate) == "none of its 3 windows are known"
    assert why_unstable([(8.0, 100.0)], 3.0, rate) == "only 1 of its 3 windows is known"
    assert why_unstable([(8.0, 100.0)] * 2, 3.0, rate) == "only 2 of its 3 windows are known"
    assert why_unstable([(8.0, 100.0)] * 3, 3.0, rate) is None


def test_in_an_open_loop_few_arrivals_differ_by_chance() -> None:
    few, many = [(4.0, 100.0), (6.0, 300.0), (3.0, 80.0)], [(400.0, 100.0), (600.0, 300.0), (300.0, 80.0)]
    assert why_unstable(few, 3.0, 4.0) is None
    assert why_unstable(many, 3.0, 400.0) == "throughput of its windows differs by 38 %"


def test_in_an_open_loop_latency_must_not_keep_growing() -> None:
    growing = [(8.0, 500.0), (8.0, 900.0), (8.0, 1500.0)]
    assert why_unstable(growing, 3.0, 8.0) == "latency grows all the time, the server does not keep up"
    assert why_unstable([(8.0, 500.0), (8.0, 700.0), (8.0, 900.0)], 3.0, 8.0) is None
    assert why_unstable([(8.0, 500.0), (8.0, 1900.0), (8.0, 1500.0)], 3.0, 8.0) is None


def test_in_an_open_loop_the_arrivals_must_be_answered() -> None:
    assert why_unstable([(3.5, 500.0)] * 3, 3.0, 4.0) == (
        "3.5 of 4 requests a second are answered, the server does not keep up"
    )
    assert why_unstable([(3.7, 500.0)] * 3, 3.0, 4.0) is None
