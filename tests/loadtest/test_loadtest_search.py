"""The search for the highest load, against servers whose capacity is known."""

from collections.abc import Callable

import pytest

from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.search import Search


def loads(search: Search, carries: Callable[[float], bool]) -> list[float]:
    """The loads that a search tries on a server."""
    while (load := search.next()) is not None:
        search.tell(load, carries(load))
    return [load for load, _ in search.tried]


def test_it_climbs_by_the_factor_and_halves_between() -> None:
    search = Search(1.0, factor=2.0, precision=0.1, quantum=0.1)
    # 8 is too much; then the geometric means of the two sides, in tenths
    assert loads(search, lambda load: load <= 5.0) == [1.0, 2.0, 4.0, 8.0, 5.7, 4.8, 5.2]
    assert search.best == 4.8
    assert search.too_much == 5.2


@pytest.mark.parametrize("capacity", [0.34, 1.0, 3.3, 17.0, 251.0])
@pytest.mark.parametrize("start", [0.5, 4.0, 100.0])
def test_the_capacity_is_found_within_the_precision(capacity: float, start: float) -> None:
    search = Search(start, precision=0.05, quantum=0.01, most_steps=40)
    loads(search, lambda load: load <= capacity)
    assert search.best is not None
    assert search.too_much is not None
    assert search.best <= capacity < search.too_much
    assert search.too_much <= search.best * 1.05 + 0.01 + 1e-9


def test_whole_numbers_end_with_neighbours() -> None:
    search = Search(1.0, quantum=1.0, precision=0.001)
    assert loads(search, lambda load: load <= 6) == [1.0, 2.0, 3.0, 5.0, 8.0, 6.0, 7.0]
    assert (search.best, search.too_much) == (6.0, 7.0)


def test_a_start_that_is_too_much_is_gone_down_from() -> None:
    search = Search(8.0, factor=2.0, quantum=1.0)
    assert loads(search, lambda load: load <= 1) == [8.0, 4.0, 2.0, 1.0]
    assert search.best == 1.0


def test_a_server_that_carries_nothing_has_no_best_load() -> None:
    search = Search(2.0, factor=2.0, quantum=0.5)
    assert loads(search, lambda _: False) == [2.0, 1.0, 0.5]
    assert search.best is None


def test_a_server_that_carries_all_is_asked_until_the_steps_are_used_up() -> None:
    search = Search(1.0, factor=2.0, most_steps=4)
    assert loads(search, lambda _: True) == [1.0, 2.0, 4.0, 8.0]
    assert (search.best, search.too_much) == (8.0, None)


def test_what_was_carried_above_a_failure_does_not_count() -> None:
    search = Search(1.0)
    for load, good in ((1.0, True), (2.0, True), (4.0, True), (1.5, False)):
        search.tell(load, good)
    assert search.best == 1.0


@pytest.mark.parametrize("numbers", [(0, 2, 0.1, 0.1), (1, 1, 0.1, 0.1), (1, 2, 0, 0.1), (1, 2, 0.1, float("nan"))])
def test_what_is_no_search_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(LoadTestError, match="must be positive"):
        Search(*numbers)
