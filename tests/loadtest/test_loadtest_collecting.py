"""From what happens in the processes that send to the figures of a step."""

from dataclasses import dataclass, replace

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest

from shrota_client.errors import QueueFullError
from shrota_loadtest.collector import Collector
from shrota_loadtest.recorder import MOST_KINDS, OTHER_KINDS, Recorder
from shrota_loadtest.stages import DRAIN, MEASURE, SETTLE, Done, Stage
from shrota_loadtest.summary import BUCKETS, Summary, bucket_of, is_hopeless, percentile
from shrota_loadtest.transcripts import Alone, compare, exceeds, take_alone
from shrota_loadtest.workload import Clip

CLIPS = [
    Clip("a", np.zeros(16000, np.float32), "एक दो"),
    Clip("b", np.zeros(48000, np.float32), None),
    Clip("c", np.zeros(160000, np.float32), "तीन चार पाँच छह"),
]
ALONE = [Alone("एक दो", 0.1), Alone("सात", 0.2), Alone("तीन चार पाँच", 0.4)]
FULL = QueueFullError("the queue is full")


@dataclass
class Clock:
    """Seconds, as the test sets them."""

    now: float = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


class Sender:
    """One process that sends, its reports packed as Locust packs them."""

    def __init__(self, name: str, collector: Collector, clock: Clock, processor: Clock | None = None) -> None:
        self.name, self.collector = name, collector
        self.recorder = Recorder(1.0, clock, processor or Clock())
        self.clock = clock

    def enter(self, step: int, phase: str) -> None:
        """A phase begins."""
        self.recorder.enter(step, phase)
        self.report()

    def report(self) -> None:
        """Sends what there is."""
        self.collector.add(self.name, msgpack.loads(msgpack.dumps(self.recorder.report())))

    def request(self, clip: int, planned: float, sent: float, ended: float, text: str | None = None) -> None:
        """One request; without a text it fails."""
        self.clock.now = sent
        ticket = self.recorder.begin(clip, planned)
        self.clock.now = ended
        self.recorder.end(ticket, text, None if text is not None else FULL)


@pytest.fixture
def collector() -> Collector:
    return Collector()


def figures(collector: Collector, done: Done, bound_s: float = 1.0) -> dict[str, object]:
    return Summary(CLIPS, ALONE, bound_s).step(done, collector)


DONE = Done(1, Stage(2.0, 1.0, 10.0), 10.0, 1.0, ended_early=False)


def test_reports_of_two_processes_become_the_figures_of_a_step(collector: Collector) -> None:
    processors = [Clock(5.0), Clock(50.0)]
    senders = [Sender(str(index), collector, Clock(), clock) for index, clock in enumerate(processors)]
    for sender in senders:
        sender.enter(1, SETTLE)
        sender.request(0, 0.0, 0.0, 9.0, "एक दो")  # settling: its latency counts for nothing
        sender.enter(1, MEASURE)
    senders[0].request(0, 10.0, 10.0, 10.2, "एक दो")
    senders[0].request(1, 11.0, 11.1, 11.4, "सात")
    senders[0].report()
    senders[1].request(0, 12.0, 12.0, 12.6, "एक तीन")
    senders[1].request(2, 12.9, 13.0, 13.5)
    processors[0].now, processors[1].now = 6.0, 52.0
    for sender in senders:
        sender.enter(1, DRAIN)
    assert collector.is_quiet(1)
    found = figures(collector, DONE)
    assert (found["requests"], found["answered"], found["failed"], found["unmeasured"]) == (4, 3, 1, 2)
    assert found["arrival_rate"] == 0.4
    assert found["answer_rate"] == pytest.approx(0.3)
    assert found["audio_seconds_per_second"] == pytest.approx((1 + 3 + 1) / 10)
    assert found["arriving_audio_seconds_per_second"] == pytest.approx((1 + 3 + 1 + 10) / 10)
    assert found["latency_s"] == pytest.approx(
        {"p50": 0.4, "p90": 0.6, "p95": 0.6, "p99": 0.6, "max": 0.6, "mean": 0.4}
    )
    assert found["real_time_factor"] == pytest.approx({"p50": 0.2, "p95": 0.6})
    assert found["lag_s"]["max"] == pytest.approx(0.1)  # type: ignore[index]
    assert found["failed_latency_s"]["max"] == pytest.approx(0.6)  # type: ignore[index]
    assert found["failed_after_s"]["max"] == pytest.approx(0.5)  # type: ignore[index]
    assert found["generator_cores"] == pytest.approx((1 + 2) / 10)
    assert found["errors"] == {"QueueFullError: the queue is full": 1}
    assert not found["good"]
    assert found["why_not"] == "1 failed, 1 transcripts other than alone"
    # the settling ones are compared, too
    assert found["transcripts"]["compared"] == 5  # type: ignore[index]
    assert found["transcripts"]["different"] == 1  # type: ignore[index]


def test_a_sender_that_is_lost_is_not_waited_for_and_spoils_only_its_own_step(collector: Collector) -> None:
    assert not collector.is_quiet(1)  # nobody has said so
    one, two = (Sender(name, collector, Clock()) for name in ("one", "two"))
    for sender in (one, two):
        sender.enter(1, MEASURE)
        sender.recorder.begin(0, 0.0)
        sender.report()
    one.request(0, 0.0, 0.0, 0.1, "एक दो")
    one.recorder.end(one.recorder.begin(0, 0.0), "एक दो")
    collector.keep_only(["one"])
    collector.keep_only(["one"])
    assert (collector.senders, collector.flying, collector.lost(1)) == (1, 1, 1)
    assert "not valid: 1 processes that send were lost" in str(figures(collector, DONE)["why_not"])
    third = Sender("one", collector, Clock())
    third.enter(2, MEASURE)
    third.request(0, 0.0, 0.0, 0.1, "एक दो")
    third.enter(2, DRAIN)
    assert collector.is_quiet(2)
    assert figures(collector, replace(DONE, step=2))["good"]
    collector.keep_only([])
    assert not collector.is_quiet(2)


def test_latency_counts_from_when_a_request_was_due(collector: Collector) -> None:
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    sender.request(0, planned=1.0, sent=3.0, ended=3.5, text="एक दो")
    sender.enter(1, DRAIN)
    found = figures(collector, DONE)
    assert found["latency_s"]["max"] == 2.5  # type: ignore[index]
    assert found["lag_s"]["max"] == 2.0  # type: ignore[index]
    assert found["generator_was_late"]
    assert found["why_not"] == "p95 latency 2.50 s, over 1 s"


def test_answers_after_the_window_count_for_latency_and_not_for_throughput(collector: Collector) -> None:
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    late = sender.recorder.begin(0, 0.0)
    sender.enter(1, DRAIN)
    assert not collector.is_quiet(1)
    sender.clock.now = 0.5
    sender.recorder.end(late, "एक दो")
    sender.report()
    found = figures(collector, DONE)
    assert (found["answered"], found["answer_rate"], found["good"]) == (1, 0.0, True)


def test_what_never_ends_is_counted_and_a_step_without_requests_is_not_good(collector: Collector) -> None:
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    sender.recorder.begin(0, 0.0)
    sender.enter(1, DRAIN)
    assert figures(collector, DONE)["why_not"] == "1 without an answer"
    assert figures(collector, replace(DONE, step=2))["why_not"] == "no request arrived"


def test_a_load_that_was_not_made_is_not_carried(collector: Collector) -> None:
    """Of 90 expected arrivals, 3 standard deviations fewer are 62."""
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    for _ in range(62):
        sender.request(0, 0.0, 0.0, 0.1, "एक दो")
    sender.enter(1, DRAIN)
    done = replace(DONE, stage=Stage(9.0, 0.0, 10.0))
    found = Summary(CLIPS, ALONE, 1.0, rate_of_load=1.0).step(done, collector)
    assert (found["arrival_rate"], found["expected_rate"], found["good"]) == (6.2, 9.0, True)
    found = Summary(CLIPS, ALONE, 1.0, rate_of_load=1.01).step(done, collector)
    assert found["why_not"] == "only 6.2 of 9.09 requests a second arrived"
    assert figures(collector, done)["good"]  # of closed users nothing is expected


def test_a_step_is_hopeless_when_too_many_are_late_or_one_failed(collector: Collector) -> None:
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    # of 100 expected, 5 may be late; with 3 standard deviations more of them, 6
    for _ in range(6):
        sender.request(0, 0.0, 0.0, 1.5, "एक दो")
    sender.report()
    assert not is_hopeless(collector, 1, 100.0, 1.0)
    sender.clock.now = 2.0
    sender.recorder.begin(0, 2.0)
    sender.clock.now = 3.5  # one that is not answered yet, and waits for longer than the bound
    sender.report()
    assert collector.late(1) == 1
    assert is_hopeless(collector, 1, 100.0, 1.0)
    assert not is_hopeless(collector, 1, 200.0, 1.0)
    sender.request(0, 3.0, 3.0, 3.1)
    sender.report()
    assert is_hopeless(collector, 1, 1e6, 1.0)


def test_kinds_of_error_do_not_fill_the_memory(collector: Collector) -> None:
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    for number in range(MOST_KINDS + 10):
        sender.recorder.end(sender.recorder.begin(0, 0.0), None, QueueFullError(f"number {number}"))
    sender.report()
    errors = [record.error for record in collector.records(1)]
    assert errors[0] == "QueueFullError: number 0"
    assert errors.count(OTHER_KINDS) == 10


def test_buckets_have_all_lengths() -> None:
    assert BUCKETS == ("0-2 s", "2-5 s", "5-10 s", "10-20 s", "20+ s")
    lengths = (0.3, 1.99, 2.0, 4.999, 5.0, 10.0, 19.9, 20.0, 7200.0)
    assert [BUCKETS.index(bucket_of(length)) for length in lengths] == [0, 0, 1, 1, 2, 3, 3, 4, 4]


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 3.0
    assert percentile([*range(1, 101)], 95) == 96
    assert percentile([], 95) is None


def test_figures_by_length(collector: Collector) -> None:
    sender = Sender("a", collector, Clock())
    sender.enter(1, MEASURE)
    sender.request(0, 0.0, 0.0, 0.1, "एक दो")
    sender.request(2, 0.0, 0.0, 0.5, "तीन चार पाँच")
    sender.request(2, 0.0, 0.0, 0.7, "तीन चार पाँच")
    sender.enter(1, DRAIN)
    buckets = figures(collector, DONE)["buckets"]
    assert isinstance(buckets, list)
    assert [(each["bucket"], each["requests"]) for each in buckets] == [("0-2 s", 1), ("10-20 s", 2)]
    assert buckets[1]["real_time_factor"]["p95"] == pytest.approx(0.07)


def test_word_error_rates_count_every_answer() -> None:
    answers = [(0, "एक दो"), (0, "एक"), (1, "सात"), (1, "आठ"), (2, "तीन चार पाँच"), (2, "तीन चार पाँच")]
    found = compare(CLIPS, ALONE, answers)
    assert (found["compared"], found["different"]) == (6, 2)
    assert found["examples"] == [
        {"clip": "a", "alone": "एक दो", "loaded": "एक"},
        {"clip": "b", "alone": "सात", "loaded": "आठ"},
    ]
    # one word of 4, one of 2, none of 6
    assert found["word_error_rate"] == pytest.approx(2 / 12)
    # against what is said: alone 2 of 12 (one of 4, twice), under load one more; "b" has no text
    assert found["word_error_rate_alone"] == pytest.approx(2 / 12)
    assert found["word_error_rate_loaded"] == pytest.approx(3 / 12)
    assert compare(CLIPS, ALONE, [(1, "सात")])["word_error_rate_alone"] is None


def test_words_where_there_were_none_alone_are_over_every_allowed_rate() -> None:
    silent = [Alone("", 0.1)] * len(CLIPS)
    found = compare(CLIPS, silent, [(0, "एक"), (1, "")])
    assert (found["different"], found["word_error_rate"]) == (1, None)
    assert exceeds(found, 0.5)
    assert not exceeds(compare(CLIPS, silent, [(0, "")]), 0.5)


def test_transcripts_alone_come_one_by_one_after_a_warm_up() -> None:
    clock, asked = Clock(), []

    def transcribe(clip: Clip) -> str:
        asked.append(clip.name)
        clock.now += 9.0 if len(asked) == 1 else 1.0  # the first request of a server is slow
        return clip.name.upper()

    found = take_alone(CLIPS, transcribe, clock)
    assert asked == ["a", "b", "c", "a", "b", "c"]
    assert found == [Alone("A", 1.0), Alone("B", 1.0), Alone("C", 1.0)]
