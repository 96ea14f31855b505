"""Which setting won, and what the spread of the rounds allows to say."""

import numpy as np
import pytest

from shrota_loadtest.sweep.verdict import Spread, critical, judge, sentence

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
    verdict = judge({BASE: [100.0, 110.0, 105.0], "a": [50.0, 60.0, 55.0]}, BASE, highest=False)
    assert verdict is not None
    assert verdict.best == "a"
    assert verdict.gain == pytest.approx(55 / 105 - 1)
    assert sentence(verdict, "latency", "ms", BASE).endswith(", 47.6 % below as it is.")


def test_what_overlaps_with_the_repository_is_no_difference() -> None:
    text = said({BASE: [10.0, 12.0, 11.0], "a": [11.5, 13.0, 12.25]})
    assert text.startswith("For throughput: no difference beyond the spread. a had the best median, 12.25 ")
    assert text.endswith("(11.5 to 13 in 3 rounds), and its rounds do not tell it from as it is.")


def test_ranges_apart_do_not_win_alone() -> None:
    """The margin is of all settings together; a noisier one says how far chance goes."""
    values = {BASE: [10.0, 10.1, 10.2], "a": [10.3, 10.4, 10.5]}
    assert "a won" in said(values)
    assert "no difference beyond the spread. a had the best median" in said({**values, "b": [8.0, 9.0, 10.0]})


def test_one_that_wins_beside_another() -> None:
    text = said({BASE: [10.0, 12.0, 11.0], "a": [20.0, 24.0, 21.9], "b": [21.0, 22.0, 21.0]})
    assert "a won, 21.9 utterances/s (20 to 24 in 3 rounds), 99.1 % above as it is." in text
    assert text.endswith("No difference beyond the spread from b.")


def test_the_repository_itself_may_be_best() -> None:
    assert said({BASE: [20.0, 21.0, 20.5], "a": [10.0, 12.0, 11.0]}) == (
        "For throughput: nothing is better than as it is, 20.5 utterances/s (20 to 21 in 3 rounds)."
    )
    assert said({BASE: [20.0, 21.0, 20.6], "a": [20.5] * 3}).endswith("and no difference beyond the spread from a.")


def test_among_equals_the_repository_is_taken() -> None:
    verdict = judge({"a": [20.0, 20.0], BASE: [20.0, 20.0]}, BASE, highest=True)
    assert verdict is not None
    assert verdict.best == BASE


@pytest.mark.parametrize(("rounds", "text"), [(1, "1 round"), (2, "2 rounds")])
def test_below_three_rounds_nothing_wins(rounds: int, text: str) -> None:
    assert said({BASE: [10.0] * rounds, "a": [20.0] * rounds}) == (
        f"For throughput: a had the best median, 20 utterances/s (20 to 20 in {text}), 100.0 % above as it is; "
        f"no spread is known from {text}."
    )


def test_unstable_rounds_are_named() -> None:
    verdict = judge({BASE: [10.0, 11.0, 10.5], "a": [20.0, 22.0, 21.0]}, BASE, highest=True)
    text = sentence(verdict, "throughput", "utterances/s", BASE, {"a": "2 of 3", BASE: "1 of 3"})
    assert text.endswith("above as it is. Unstable: 2 of 3 rounds of a. Unstable: 1 of 3 rounds of as it is.")


def test_what_failed_is_left_out() -> None:
    verdict = judge({BASE: [], "a": [1.0, 2.0], "b": [3.0, 4.0]}, BASE, highest=True)
    assert verdict is not None
    assert (verdict.best, verdict.gain) == ("b", None)
    assert (
        said({BASE: [], "a": [1.0, 2.0, 1.5], "b": [3.0, 4.0, 3.5]})
        == "For throughput: b had the best median, 3.5 utterances/s (3 to 4 in 3 rounds); no round of as it is."
    )
    assert judge({BASE: [], "a": [1.0]}, BASE, highest=True) is None
    assert said({BASE: [], "a": [1.0]}) == "For throughput: fewer than two settings could be measured."


def test_the_margin_is_dunnett_s() -> None:
    """One-sided, 5 %: of one setting Student's t with 4 degrees of freedom; of three, with 8, from Dunnett's table."""
    assert critical((3, 3)) == pytest.approx(2.132, abs=0.03)
    assert critical((3, 3, 3, 3)) == pytest.approx(2.42, abs=0.03)


@pytest.mark.parametrize("settings", [1, 3, 10])
def test_without_a_true_difference_hardly_anything_wins(settings: int) -> None:
    """At most one time in twenty, however many settings there are; of 2000, give or take three standard errors."""
    generator = np.random.default_rng(settings)
    names = [BASE, *(str(each) for each in range(settings))]
    won = 0
    for _ in range(2000):
        values = {name: list(100 * np.exp(0.05 * generator.standard_normal(3))) for name in names}
        verdict = judge(values, BASE, highest=True)
        won += verdict is not None and verdict.best != BASE and BASE not in verdict.tied
    assert won / 2000 < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_a_noisy_reference_does_not_make_others_win() -> None:
    """Five times the noise of the others: of 2000, give or take three standard errors."""
    generator = np.random.default_rng(0)
    won = 0
    for _ in range(2000):
        values = {name: list(100 * np.exp(0.02 * generator.standard_normal(3))) for name in "abcdefghij"}
        verdict = judge({BASE: list(100 * np.exp(0.1 * generator.standard_normal(3))), **values}, BASE, highest=True)
        won += verdict is not None and verdict.best != BASE and BASE not in verdict.tied
    assert won / 2000 < 0.07 + 3 * (0.07 * 0.93 / 2000) ** 0.5


def test_a_true_difference_is_found() -> None:
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        values = {name: list(100 * np.exp(0.02 * generator.standard_normal(3))) for name in (BASE, "a", "b", "c")}
        values["b"] = [1.1 * each for each in values["b"]]
        found += "b won" in said(values)
    assert found > 180
