"""Which pairs of weights are tried, and which is the best: scores are a function of the pair here."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from shrota_client import ParameterError
from shrota_client.alignment import Alignment, Edits
from shrota_client.commands.tune_decoder import tune_decoder
from shrota_client.score import Score, UtteranceScore
from shrota_client.search import Found, search
from shrota_client.tuning_plan import Plan, Range, Space, Weights


def score(word_errors: int, character_errors: int = 0) -> Score:
    """Two utterances of 100 words and 400 characters, one of them without an error."""
    right = UtteranceScore("a", "", "", Alignment(()), Edits(hits=200))
    return Score((_WithWords(right, Edits(hits=50)), _WithWords(right, _edits(50, word_errors), character_errors)))


class _WithWords(UtteranceScore):
    """A score whose edits of words are given, not counted."""

    def __init__(self, like: UtteranceScore, words: Edits, character_errors: int = 0) -> None:
        super().__init__(like.name, "", "", like.alignment, _edits(200, character_errors))
        object.__setattr__(self, "_words", words)

    @property
    def words(self) -> Edits:
        words: Edits = vars(self)["_words"]
        return words


def _edits(length: int, errors: int) -> Edits:
    return Edits(hits=length - errors, substitutions=errors)


def run(plan: Plan, measure: Callable[[Weights], Score]) -> tuple[Found, list[Weights]]:
    """What the search finds, and the pairs in the order in which it tried them."""
    steps, tried = search(plan), []
    try:
        tried.append(next(steps))
        while True:
            tried.append(steps.send(measure(tried[-1])))
    except StopIteration as end:
        found: Found = end.value
    return found, tried


def bowl(lm_weight: float, word_score: float) -> Callable[[Weights], Score]:
    """Errors that grow with the distance from a pair."""
    return lambda each: score(
        round(2000 * abs(each.lm_weight - lm_weight)) + round(400 * abs(each.word_score - word_score))
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.2:1.4:0.2", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4]),
        ("0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("-1:1:1", [-1.0, 0.0, 1.0]),
        ("0:1:0.4", [0.0, 0.4, 0.8]),
        ("0.5", [0.5]),
        ("1:1:0.5", [1.0]),
        ("0:0.02:0.01", [0.0, 0.01, 0.02]),
    ],
)
def test_values_of_a_range(text: str, values: list[float]) -> None:
    assert Range.parse(text, "--lm-weight").values() == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"--word-score is '': write LOW:HIGH:STEP, such as 0\.2:1\.4:0\.2, or one number$"),
        ("a:b:c", "write LOW:HIGH:STEP"),
        ("1:2", "write LOW:HIGH:STEP"),
        ("0:inf:1", "write LOW:HIGH:STEP"),
        ("nan", "write LOW:HIGH:STEP"),
        ("2:1:0.1", "LOW must not be above HIGH"),
        ("1:2:0", r"STEP at least 0\.01"),
        ("1:2:0.001", r"STEP at least 0\.01"),
    ],
)
def test_a_range_that_is_none(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Range.parse(text, "--word-score")


def test_the_weight_of_the_model_begins_above_zero() -> None:
    with pytest.raises(
        ParameterError,
        match=r"lm_weight begins at 0: begin at 0\.01 or more; without the language model is tried in any case",
    ):
        Space(Range(0, 1, 0.5))


def test_weights_need_a_beam() -> None:
    with pytest.raises(ParameterError, match="beam_width is 1, but the weights are those of a beam: give 2 or more"):
        Plan(beam_width=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"metric": "x"}, "metric is 'x': give wer or cer"), ({"refinements": -1}, "refinements is -1: give 0 or more")],
)
def test_a_plan_that_is_none(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Plan(**fields)


def test_the_commands_defaults_are_those_of_a_plan() -> None:
    context = click.Context(tune_decoder)
    defaults: dict[str, Any] = {str(each.name): each.get_default(context) for each in tune_decoder.params}
    ranges = {name: Range.parse(defaults[name], name) for name in ("lm_weights", "word_scores")}
    plan = Plan(Space(**ranges), defaults["refinements"], defaults["metric"], defaults["beam_width"])
    assert plan == Plan()


def test_the_command_imports_quickly() -> None:
    script = (
        "import sys, shrota_client.commands.tune_decoder; print(sorted({'jiwer', 'grpc', 'tqdm'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


def test_a_coarse_grid_then_half_the_steps_around_the_best() -> None:
    plan = Plan(Space(Range(0.2, 1.0, 0.4), Range(0, 2, 1)), refinements=1)
    found, tried = run(plan, bowl(0.8, 1.5))
    coarse = [(0.2, 0), (0.2, 1), (0.2, 2), (0.6, 0), (0.6, 1), (0.6, 2), (1.0, 0), (1.0, 1), (1.0, 2)]
    assert [(each.lm_weight, each.word_score) for each in tried[:9]] == coarse
    # 0.6 and 1.0 lie equally near, as do 1 and 2: the smaller ones are taken
    assert {(each.lm_weight, each.word_score) for each in tried[9:]} == {
        (0.4, 0.5), (0.4, 1), (0.4, 1.5), (0.6, 0.5), (0.6, 1.5), (0.8, 0.5), (0.8, 1), (0.8, 1.5),
    }  # fmt: skip
    assert found.best.weights == Weights(0.8, 1.5)
    assert found.score.words.value == 0
    assert [trial.weights for trial in found.trials] == sorted(tried)


def test_refinements_find_a_minimum_between_the_points_of_the_grid() -> None:
    plan = Plan(Space(), refinements=3)
    found, tried = run(plan, bowl(0.73, 1.62))
    assert abs(found.best.weights.lm_weight - 0.73) <= 0.05
    assert abs(found.best.weights.word_score - 1.62) <= 0.25
    assert len(tried) == len(set(tried)) <= plan.most_trials


def test_no_pair_outside_the_ranges_is_tried() -> None:
    space = Space(Range(0.2, 0.6, 0.2), Range(-1, 1, 1))
    found, tried = run(Plan(space, refinements=4), bowl(3, -5))
    assert found.best.weights == Weights(0.6, -1)
    assert all(0.2 <= each.lm_weight <= 0.6 and -1 <= each.word_score <= 1 for each in tried)
    assert space.ends_at(found.best.weights) == ["lm_weight", "word_score"]
    assert space.ends_at(Weights(0.4, 0.5)) == []


def test_the_corners_are_the_extremes_of_all_that_may_be_tried() -> None:
    space = Space(Range(0.2, 1.34, 0.2), Range(-1, 1, 1))
    assert space.corners(0) == [Weights(0.2, -1), Weights(0.2, 1), Weights(1.2, -1), Weights(1.2, 1)]
    # half a step above 1.2 lies in the range, a quarter more does not
    assert {each.lm_weight for each in space.corners(2)} == {0.2, 1.3}
    _, tried = run(Plan(space, refinements=2), bowl(3, 5))
    assert max(each.lm_weight for each in tried) == 1.3
    assert Space(Range(0.5, 0.5, 1), Range(2, 2, 1)).corners(3) == [Weights(0.5, 2)]


def test_a_plan_is_checked_greedily_without_the_model_and_at_its_corners() -> None:
    plan = Plan(Space(Range(0.5, 1, 0.5), Range(1, 1, 1)), 0, "wer", 20, hotwords=["काशी"], hotword_weight=7)
    favoured = {"hotwords": '["काशी"]', "hotword_weight": 7.0, "beam_width": 20, "words": False}
    assert [each.parameters() for each in plan.checks()] == [
        {"beam_width": 1, "words": False},
        {**favoured, "lm_weight": 0.0},
        {**favoured, "lm_weight": 0.5, "word_score": 1.0},
        {**favoured, "lm_weight": 1.0, "word_score": 1.0},
    ]


def test_hotwords_that_are_none_are_refused_at_once() -> None:
    with pytest.raises(ParameterError, match="a hotword is empty"):
        Plan(hotwords=[" "])


def test_a_single_value_is_kept_and_is_no_end() -> None:
    space = Space(Range.parse("0.5", ""), Range(0, 4, 1))
    found, tried = run(Plan(space, refinements=3), bowl(0.9, 2.2))
    assert {each.lm_weight for each in tried} == {0.5}
    assert abs(found.best.weights.word_score - 2.2) < 0.2
    assert space.ends_at(found.best.weights) == []


@pytest.mark.parametrize(("metric", "best"), [("wer", 0.2), ("cer", 0.6)])
def test_the_metric_decides_and_the_other_one_among_equals(metric: str, best: float) -> None:
    errors = {0.2: (3, 30), 0.4: (3, 31), 0.6: (4, 20), 0.8: (5, 20)}
    plan = Plan(Space(Range(0.2, 0.8, 0.2), Range(1, 1, 1)), refinements=0, metric=metric)
    found, _ = run(plan, lambda each: score(*errors[each.lm_weight]))
    assert found.best.weights == Weights(best, 1)
    assert (found.best.words.errors, found.best.characters.errors) == errors[best]
    assert found.best.words.rate == errors[best][0] / 100
