"""Which points a sweep has."""

import pytest

from shrota_loadtest.errors import SweepError
from shrota_loadtest.sweep.plan import BATCH, CONCURRENCY, RATE, Point, Way, numbers, plan, ways

ASR = Way("asr", "grpc", "none")


def test_ways_are_all_combinations() -> None:
    found = ways(["asr", "acoustic", "asr"], ["grpc", "http"], ["none", "system"])
    assert len(found) == 8
    assert found[:4] == [
        ASR,
        Way("asr", "grpc", "system"),
        Way("asr", "http", "none"),
        Way("asr", "http", "system"),
    ]
    assert found[3].label == "asr, HTTP, shared memory"


def test_brief_ways_are_measured_over_concurrency_alone() -> None:
    brief = Way("acoustic", "grpc", "none")
    values = {CONCURRENCY: [1.0, 4.0], RATE: [2.5], BATCH: [2.0]}
    assert plan([ASR], [brief, ASR], values) == [
        Point(ASR, CONCURRENCY, 1.0),
        Point(ASR, CONCURRENCY, 4.0),
        Point(brief, CONCURRENCY, 1.0),
        Point(brief, CONCURRENCY, 4.0),
        Point(ASR, RATE, 2.5),
        Point(ASR, BATCH, 2.0),
    ]


def test_a_point_is_a_load() -> None:
    closed, opened, rows = (Point(ASR, axis, 4.0) for axis in (CONCURRENCY, RATE, BATCH))
    assert (closed.concurrency, closed.rate, closed.rows) == (4, None, 1)
    assert (opened.concurrency, opened.rate, opened.rows) == (None, 4.0, 1)
    assert (rows.concurrency, rows.rate, rows.rows) == (1, None, 4)


def test_numbers() -> None:
    assert numbers("4,1,2,4", whole=True) == [1, 2, 4]
    assert numbers("2.5,10", whole=False) == [2.5, 10]


@pytest.mark.parametrize("text", ["", "a", "1,", "0,1", "-1", "nan", "inf", "1e999"])
def test_what_is_no_list_of_numbers(text: str) -> None:
    with pytest.raises(SweepError, match=r"write 2\.5,5,10"):
        numbers(text, whole=False)


@pytest.mark.parametrize("text", ["1.5", "9" * 400, "9" * 5000])
def test_a_concurrency_is_whole_and_no_longer_than_a_number_may_be(text: str) -> None:
    with pytest.raises(SweepError, match="write 1,2,4") as raised:
        numbers(text, whole=True)
    assert len(str(raised.value)) < 150
