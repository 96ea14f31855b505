"""Which setting won, and what the spread of the rounds allows to say."""

import pytest

from shrota_loadtest.sweep.verdict import Spread, judge, sentence

BASE = "as it is"


def said(values: dict[str, list[float]], *, highest: bool = True) -> str:
    return sentence(judge(values, BASE, highest=highest), "throughput", "utterances/s", BASE)


def test_a_spread_is_median_least_and_greatest() -> None:
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0, 3)
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_ranges_that_touch_overlap() -> None:
    assert Spread.of([1.0, 2.0]).overlaps(Spread.of([2.0, 3.0]))
    assert Spread.of([1.0, 5.0]).overlaps(Spread.of([2.0, 3.0]))
    assert not Spread.of([1.0, 1.9]).overlaps(Spread.of([2.0, 3.0]))


def test_the_highest_wins_with_its_gain() -> None:
    verdict = judge({BASE: [10.0, 11.0, 10.5], "a": [20.0, 22.0, 21.0], "b": [5.0, 5.0, 5.0]}, BASE, highest=True)
    assert verdict is not None
    assert (verdict.best, verdict.tied, verdict.spread) == ("a", (), Spread(21.0, 20.0, 22.0, 3))
    assert verdict.gain == pytest.approx(1.0)
    assert said({BASE: [10.0, 11.0, 10.5], "a": [20.0, 22.0, 21.0]}) == (
        "For throughput: a won, 21 utterances/s (20 to 22 in 3 rounds), 100.0 % above as it is."
    )


def test_for_latency_the_lowest_wins() -> None:
    verdict = judge({BASE: [100.0, 110.0], "a": [50.0, 60.0]}, BASE, highest=False)
    assert verdict is not None
    assert verdict.best == "a"
    assert verdict.gain == pytest.approx(55 / 105 - 1)
    assert sentence(verdict, "latency", "ms", BASE).endswith(", 47.6 % below as it is.")


def test_what_overlaps_with_the_repository_is_no_difference() -> None:
    text = said({BASE: [10.0, 12.0], "a": [11.5, 13.0]})
    assert text.startswith("For throughput: no difference beyond the spread. a had the best median, 12.25 ")
    assert text.endswith("(11.5 to 13 in 2 rounds), and its rounds overlap with those of as it is.")


def test_one_that_wins_beside_another() -> None:
    text = said({BASE: [10.0, 12.0], "a": [20.0, 24.0], "b": [21.0, 22.0]})
    assert "a won, 22 utterances/s (20 to 24 in 2 rounds), 100.0 % above as it is." in text
    assert text.endswith("No difference beyond the spread from b.")


def test_the_repository_itself_may_be_best() -> None:
    assert said({BASE: [20.0, 21.0], "a": [10.0, 12.0]}) == (
        "For throughput: nothing is better than as it is, 20.5 utterances/s (20 to 21 in 2 rounds)."
    )
    assert said({BASE: [20.0, 21.0], "a": [20.5, 20.4]}).endswith("and no difference beyond the spread from a.")


def test_among_equals_the_repository_is_taken() -> None:
    verdict = judge({"a": [20.0, 20.0], BASE: [20.0, 20.0]}, BASE, highest=True)
    assert verdict is not None
    assert verdict.best == BASE


def test_one_round_knows_no_spread() -> None:
    text = said({BASE: [10.0], "a": [20.0]})
    assert text == (
        "For throughput: a had the best median, 20 utterances/s (20 to 20 in 1 round); "
        "with so few rounds no spread is known."
    )


def test_what_failed_is_left_out() -> None:
    verdict = judge({BASE: [], "a": [1.0, 2.0], "b": [3.0, 4.0]}, BASE, highest=True)
    assert verdict is not None
    assert (verdict.best, verdict.gain) == ("b", None)
    assert (
        said({BASE: [], "a": [1.0, 2.0], "b": [3.0, 4.0]})
        == "For throughput: b won, 3.5 utterances/s (3 to 4 in 2 rounds)."
    )
    assert judge({BASE: [], "a": [1.0]}, BASE, highest=True) is None
    assert said({BASE: [], "a": [1.0]}) == "For throughput: fewer than two settings could be measured."
