"""The figures of one step of a load test, in plain types."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shrota_loadtest.collector import Collector, Record
from shrota_loadtest.stages import Done, Stage
from shrota_loadtest.transcripts import Alone, compare, exceeds
from shrota_loadtest.workload import Clip

PERCENTILES = (50, 90, 95, 99)
SHARE = 95
"""The percentile that the bound is for."""
BUCKETS_S = (0.0, 2.0, 5.0, 10.0, 20.0)
"""Where buckets of utterance length begin, in seconds; the last has no end."""
ARRIVED_SHARE = 0.95
"""Of the expected arrivals: where fewer came, it is said; where so few are no chance either, nothing was carried."""
CHANCE = 3.0
"""Standard deviations of a Poisson count that are taken for chance."""
LAG_SHARE = 0.1
"""Of the bound: where the load generator was later than that for a twentieth of the requests, it was the limit."""


def bucket_of(seconds: float) -> str:
    """Name of the bucket of an utterance's length."""
    index = int(np.searchsorted(BUCKETS_S, seconds, side="right")) - 1
    low = BUCKETS_S[max(0, index)]
    return f"{low:g}+ s" if index + 1 >= len(BUCKETS_S) else f"{low:g}-{BUCKETS_S[index + 1]:g} s"


BUCKETS = tuple(bucket_of(start) for start in BUCKETS_S)


def percentile(values: Sequence[float], share: float) -> float | None:
    """A percentile that is one of the values, the higher one between two; None of none."""
    return float(np.percentile(values, share, method="higher")) if values else None


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Percentiles, maximum and mean."""
    found: dict[str, float | None] = {f"p{share}": percentile(values, share) for share in PERCENTILES}
    return {**found, "max": max(values, default=None), "mean": float(np.mean(values)) if values else None}


def is_hopeless(collector: Collector, step: int, expected: float, bound_s: float) -> bool:
    """Whether a step cannot become good any more, whatever happens to the rest of its ``expected`` requests."""
    measured = [record for record in collector.records(step) if record.is_measured]
    if any(record.error for record in measured):
        return True
    late = sum(record.latency_s > bound_s for record in measured) + collector.late(step)
    # of arrivals at random there may be more than expected
    return bool(late > (1 - SHARE / 100) * (expected + 3 * math.sqrt(expected)))


def few_arrived(figures: Mapping[str, Any]) -> bool:
    """Whether clearly fewer requests arrived than the load says, be it by chance."""
    expected = figures.get("expected_rate")
    return expected is not None and figures["arrival_rate"] < ARRIVED_SHARE * expected


def lacks_arrivals(figures: Mapping[str, Any]) -> bool:
    """Whether fewer requests arrived than the load says, and chance does not explain it: the load was not made.

    Arrivals at random in a time of a few dozen scatter by a tenth; the load of such a step was made all the same.
    """
    if not few_arrived(figures):
        return False
    expected = figures["expected_rate"] * figures["measured_s"]
    return bool(figures["requests"] < expected - CHANCE * math.sqrt(expected))


class Summary:
    """Turns what was collected into figures.

    Args:
        clips: what was sent.
        alone: their transcripts, alone.
        bound_s: of the latency that 95 % must keep.
        word_errors: rate, against the transcripts alone, that is allowed.
        rate_of_load: requests a second that a load of one makes; None where that is the server's to decide.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        alone: Sequence[Alone],
        bound_s: float,
        word_errors: float = 0.0,
        rate_of_load: float | None = None,
    ) -> None:
        self._rate_of_load = rate_of_load
        self._word_errors = word_errors
        self._clips = clips
        self._alone = alone
        self._bound_s = bound_s

    def step(self, done: Done, collector: Collector) -> dict[str, Any]:
        """All figures of one step; what is said of requests is of those that arrived in the measured time."""
        records = collector.records(done.step)
        measured = [record for record in records if record.is_measured]
        answered = [record for record in measured if record.error is None]
        failed = [record for record in measured if record.error is not None]
        arrived = collector.arrived(done.step)
        in_window = [record for record in records if record.in_window and record.error is None]
        processor_s = collector.processor_s(done.step)
        figures: dict[str, Any] = {
            "step": done.step,
            "name": done.stage.name,
            "load": done.stage.load,
            "settle_s": done.stage.settle_s,
            "measured_s": done.measured_s,
            "drained_s": done.drained_s,
            "ended_early": done.ended_early,
            "requests": arrived,
            "answered": len(answered),
            "failed": len(failed),
            "unanswered": arrived - len(measured),
            "unmeasured": len(records) - len(measured),
            "unmeasured_failed": sum(record.error is not None for record in records) - len(failed),
            "arrival_rate": arrived / done.measured_s,
            "expected_rate": None if self._rate_of_load is None else done.stage.load * self._rate_of_load,
            "answer_rate": len(in_window) / done.measured_s,
            "audio_seconds_per_second": self._seconds(in_window) / done.measured_s,
            "arriving_audio_seconds_per_second": self._seconds(measured) / done.measured_s,
            "latency_s": spread([record.latency_s for record in answered]),
            "failed_latency_s": spread([record.latency_s for record in failed]),
            "failed_after_s": spread([record.latency_s - record.lag_s for record in failed]),  # from when it was sent
            "real_time_factor": self._factors(answered),
            "buckets": self._buckets(answered),
            "lag_s": spread([record.lag_s for record in measured]),
            "generator_cores": None if processor_s is None else processor_s / done.measured_s,
            "senders": collector.senders,
            "lost_senders": collector.lost(done.step),
            "errors": dict(Counter(record.error for record in records if record.error).most_common()),
            "transcripts": compare(
                self._clips, self._alone, [(each.clip, each.text) for each in records if each.text is not None]
            ),
        }
        return {**figures, **self._verdict(figures)}

    def _verdict(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Whether the server carried the load, and why not."""
        late, lag = figures["latency_s"][f"p{SHARE}"], figures["lag_s"][f"p{SHARE}"]
        reasons = []
        if not figures["requests"]:
            reasons.append("no request arrived")
        if figures["lost_senders"]:
            reasons.append(f"not valid: {figures['lost_senders']} processes that send were lost")
        elif lacks_arrivals(figures):
            reasons.append(
                f"only {figures['arrival_rate']:.3g} of {figures['expected_rate']:.3g} requests a second arrived"
            )
        if figures["failed"]:
            reasons.append(f"{figures['failed']} failed")
        if figures["unanswered"] > 0:
            reasons.append(f"{figures['unanswered']} without an answer")
        if late is not None and late > self._bound_s:
            reasons.append(f"p{SHARE} latency {late:.2f} s, over {self._bound_s:g} s")
        if exceeds(figures["transcripts"], self._word_errors):
            reasons.append(f"{figures['transcripts']['different']} transcripts other than alone")
        generator = lag is not None and lag > LAG_SHARE * self._bound_s
        return {"good": not reasons, "why_not": ", ".join(reasons), "generator_was_late": generator}

    def _seconds(self, records: Sequence[Record]) -> float:
        return sum(self._clips[record.clip].seconds for record in records)

    def _factors(self, records: Sequence[Record]) -> dict[str, float | None]:
        factors = [record.latency_s / self._clips[record.clip].seconds for record in records]
        return {"p50": percentile(factors, 50), "p95": percentile(factors, 95)}

    def _buckets(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        by_name: dict[str, list[Record]] = {name: [] for name in BUCKETS}
        for record in records:
            by_name[bucket_of(self._clips[record.clip].seconds)].append(record)
        return [
            {
                "bucket": name,
                "requests": len(found),
                "latency_s": spread([record.latency_s for record in found]),
                "real_time_factor": self._factors(found),
            }
            for name, found in by_name.items()
            if found
        ]


def expected_requests(stage: Stage, rate_of_load: float) -> float:
    """How many requests should arrive in the measured time of a stage."""
    return stage.load * rate_of_load * stage.measure_s
