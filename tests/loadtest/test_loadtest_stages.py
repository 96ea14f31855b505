"""The course of a load test, with a clock that the tests set."""

from dataclasses import dataclass, field

import pytest

from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.search import Search
from shrota_loadtest.stages import (
    Conductor,
    Done,
    Found,
    Given,
    Programme,
    Stage,
    loads_of,
    stages_from_json,
    stages_to_json,
)


@dataclass
class Course:
    """A conductor, and everything that it said."""

    programme: Programme
    quiet_after_s: float = 0.0
    hopeless_over: float = float("inf")
    good_up_to: float = float("inf")
    said: list[tuple[float, int, str]] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    loads: list[tuple[float, float]] = field(default_factory=list)
    now: float = 0.0

    def run(self, tick_s: float = 1.0) -> None:
        """To the end of the programme."""
        conductor = Conductor(
            self.programme,
            lambda step, phase: self.said.append((self.now, step, phase)),
            is_quiet=lambda _: self.now - self.said[-1][0] >= self.quiet_after_s,
            is_hopeless=lambda _, stage: stage.load > self.hopeless_over,
            judge=self.judge,
            drain_most_s=30.0,
            least_s=4.0,
        )
        while (load := conductor.tick(self.now)) is not None:
            if not self.loads or self.loads[-1][1] != load:
                self.loads.append((self.now, load))
            self.now += tick_s
            assert self.now < 10000

    def judge(self, done: Done) -> bool:
        """A server of known capacity."""
        self.done.append(done)
        return done.stage.load <= self.good_up_to


def test_a_stage_settles_is_measured_and_drained_before_the_next() -> None:
    course = Course(Given([Stage(2.0, 3.0, 10.0), Stage(4.0, 0.0, 5.0)]), quiet_after_s=2.0)
    course.run()
    assert course.said == [
        (0, 1, "settle"),
        (3, 1, "measure"),
        (13, 1, "drain"),
        (15, 2, "settle"),
        (15, 2, "measure"),
        (20, 2, "drain"),
    ]
    assert course.loads == [(0, 2.0), (13, 0.0), (15, 4.0), (20, 0.0)]
    assert [(done.step, done.measured_s, done.drained_s) for done in course.done] == [(1, 10, 2), (2, 5, 2)]


def test_a_pause_waits_so_long_and_for_nobody() -> None:
    course = Course(Given([Stage(2.0, 0.0, 4.0, pause_s=6.0)]), quiet_after_s=1000.0)
    course.run()
    assert course.done[0].drained_s == 6


def test_what_never_comes_is_waited_for_only_so_long() -> None:
    course = Course(Given([Stage(2.0, 0.0, 4.0)]), quiet_after_s=1000.0)
    course.run()
    assert course.done[0].drained_s == 30


def test_a_hopeless_stage_is_cut_short_but_not_at_once() -> None:
    course = Course(Given([Stage(2.0, 1.0, 20.0), Stage(9.0, 1.0, 20.0)]), hopeless_over=5.0)
    course.run()
    assert [(done.measured_s, done.ended_early) for done in course.done] == [(20, False), (4, True)]


def test_a_search_leads_the_stages() -> None:
    course = Course(Found(Search(1.0, factor=2.0, quantum=1.0), Stage(1.0, 2.0, 10.0)), good_up_to=5.0)
    course.run()
    # what it found is measured again, three times as long
    assert [done.stage.load for done in course.done] == [1, 2, 4, 8, 6, 5, 5]
    # 40 requests need 40 s at one a second; the time is at most four times as long
    assert [done.stage.measure_s for done in course.done] == [40, 20, 10, 10, 10, 10, 30]


def test_what_is_not_carried_again_is_searched_below() -> None:
    search = Search(1.0, factor=2.0, quantum=1.0)
    found = Found(search, Stage(1.0, 2.0, 10.0))
    tried = []
    while (stage := found.next()) is not None:
        tried.append((stage.load, stage.name))
        found.tell(stage, stage.load < 4 or (stage.load == 4 and stage.name != "again"))
    assert tried == [(1, ""), (2, ""), (4, ""), (8, ""), (6, ""), (5, ""), (4, "again"), (3, ""), (3, "again")]
    assert search.best == 3


def test_a_search_begins_no_stage_that_would_not_end_in_time() -> None:
    left = iter([100.0, 100.0, 21.0])
    found = Found(Search(4.0), Stage(1.0, 2.0, 20.0), seconds_left=lambda: next(left))
    course = Course(found)
    course.run()
    assert len(course.done) == 2


def test_the_repeat_of_what_was_found_goes_before_a_further_half() -> None:
    left = iter([1000.0, 1000.0, 80.0])  # a step of 22 s and a repeat of 62 s do not fit any more
    found = Found(Search(4.0, factor=2.0, quantum=1.0), Stage(1.0, 2.0, 20.0), 2.0, seconds_left=lambda: next(left))
    course = Course(found, good_up_to=5.0)
    course.run()
    assert [(done.stage.load, done.stage.name) for done in course.done] == [(4, ""), (8, ""), (4, "again")]
    assert found.confirmed


def test_a_search_says_where_there_was_no_time_for_the_repeat() -> None:
    left = iter([1000.0, 1000.0, 50.0, 20.0])
    found = Found(Search(4.0, factor=2.0, quantum=1.0), Stage(1.0, 2.0, 20.0), 2.0, seconds_left=lambda: next(left))
    course = Course(found, good_up_to=5.0)
    course.run()
    assert [(done.stage.load, done.stage.name) for done in course.done] == [(4, ""), (8, ""), (6, "")]
    assert (found.search.best, found.confirmed) == (4.0, False)


def test_stages_go_through_a_command_line() -> None:
    stages = [Stage(2.0, 0.5, 3.0, 4.0, "अधिक"), Stage(1.0)]
    assert stages_from_json(stages_to_json(stages)) == stages
    assert stages_from_json('[{"load": 2}]') == [Stage(2)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '[{"load": Infinity}]',
        '[{"load": 1, "pause_s": NaN}]',
        '[{"loud": 2}]',
        '[{"load": -1}]',
        '[{"load": 1, "measure_s": 0}]',
    ],
)
def test_what_are_no_stages_is_one_line(text: str) -> None:
    with pytest.raises(LoadTestError) as caught:
        stages_from_json(text)
    assert "\n" not in str(caught.value)


def test_loads_are_a_list_or_a_ramp() -> None:
    assert loads_of("1,2.5", None) == [1.0, 2.5]
    assert loads_of(None, "1:4:4") == [1.0, 2.0, 3.0, 4.0]
    for wrong in ((None, None), ("1", "1:2:3"), ("one", None), (None, "1:2")):
        with pytest.raises(LoadTestError, match="--loads"):
            loads_of(*wrong)
