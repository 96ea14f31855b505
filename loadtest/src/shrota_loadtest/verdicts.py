"""What a load test must show, point by point: each holds or does not, with what was found."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shrota_client.pages.blocks import number, percent
from shrota_client.samples import SAMPLE_RATE
from shrota_loadtest.settings import SEARCH
from shrota_loadtest.summary import lacks_arrivals
from shrota_loadtest.transcripts import exceeds

MOST_GROWTH = 0.02
"""Of the memory of a process during a soak."""
REFUSED = re.compile(r"^(QueueFullError|RequestTimeoutError: the request waited too long in the queue)")
"""Errors of our client for what the server refused as UNAVAILABLE because it had too much to do."""
HOLDS_AUDIO = re.compile(r"(tritonserver|acoustic_\d+_\d+) \(")
"""Processes in which audio waits: the server, and the model that makes batches."""
GIVEN_UP = re.compile(r"^RequestTimeoutError: no answer from")
"""What the client gave up itself at its time-out, before the server had said anything."""
SOON_S = 12.0
"""After an overload the server has ten seconds, and what the load generator takes to notice."""
LATE_S = 1.0
"""How much after its time-out a refusal may come."""
MOST_OVERLOAD_GROWTH = 0.1
"""Of the memory of a process from before an overload to after it, beside what waited in it, see :func:`most_held`."""
LEAST_SHARE = 0.5
"""Of the highest rate: so much an overloaded server must go on answering."""


@dataclass(frozen=True)
class Check:
    """One point.

    Attributes:
        what: must hold.
        holds: whether it does.
        found: in a line.
    """

    what: str
    holds: bool
    found: str


def plain(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(check) for check in checks]


def transcripts_check(steps: Sequence[Mapping[str, Any]], word_errors: float = 0.0) -> Check:
    """All answers equal those of the same audio alone, or are within an allowed word error rate of them."""
    compared = sum(step["transcripts"]["compared"] for step in steps)
    different = sum(step["transcripts"]["different"] for step in steps)
    rates = [step["transcripts"]["word_error_rate"] for step in steps]
    worst = max((rate for rate in rates if rate is not None), default=None)
    what = "every transcript is the one of the same audio alone"
    if word_errors >= 1:
        return Check(
            "transcripts are not judged: a word error rate of 100 % is allowed",
            compared > 0,
            f"{different} of {compared} differ from those alone",
        )
    if word_errors:
        what = f"transcripts have a word error rate of at most {percent(word_errors)} against those alone"
    return Check(
        what,
        compared > 0 and not any(exceeds(step["transcripts"], word_errors) for step in steps),
        f"{different} of {compared} differ; word error rate against them {percent(worst)}",
    )


def measure_checks(results: Mapping[str, Any], word_errors: float = 0.0) -> list[Check]:
    """Of a search or of given steps: right transcripts, and of a search that it found a load.

    With an allowed word error rate, a load that exceeds it is one that is not carried, as one with too high a latency
    is: then only what was carried is judged, or all where nothing was. Without one, other transcripts are an error of
    the server under any load.
    """
    steps = results["steps"]
    judged = [step for step in steps if step["good"]] if word_errors else []
    checks = [transcripts_check(judged or steps, word_errors)]
    if results["shape"] == SEARCH:
        best = results["best"]
        found = "none" if best is None else f"the highest: {best:g} {results['unit']}"
        checks.insert(0, Check("a load is carried", best is not None, found))
    return checks


def soak_checks(results: Mapping[str, Any], word_errors: float = 0.0) -> list[Check]:
    """No error, equal transcripts, and memory that does not grow, in the last step; one before it may be too much."""
    step = results["steps"][-1]
    failed = step["failed"] + step["unanswered"] + step["unmeasured_failed"]
    rows = results["memory"]["processes"] if "memory" in results else []
    grown = [row["growth"] for row in rows if row["growth"] is not None]
    gone = [row["process"] for row in rows if row["growth"] is None]
    found = f"most {percent(max(grown, default=None))} of {len(rows)} processes"
    if "memory" not in results:
        found = str(results["memory_unread"])
    if gone:
        found += f"; came or went: {', '.join(gone)}"
    return [
        Check("no request fails", failed == 0, f"{failed} of {step['requests']} failed"),
        transcripts_check(results["steps"], word_errors),
        Check(
            f"the memory of every process of the server grows by at most {percent(MOST_GROWTH)}",
            bool(grown) and not gone and max(grown) <= MOST_GROWTH,
            found,
        ),
    ]


def outcomes(errors: Mapping[str, int]) -> tuple[int, int, int]:
    """Of requests that failed, by kind: how many the server refused, the client gave up, and failed otherwise."""
    refused = sum(count for kind, count in errors.items() if REFUSED.match(kind))
    given_up = sum(count for kind, count in errors.items() if GIVEN_UP.match(kind))
    return refused, given_up, sum(errors.values()) - refused - given_up


def most_held(overload: Mapping[str, Any], timeout_s: float) -> float:
    """Bytes of audio that wait in the server at once: what arrives in one time-out, as 32-bit samples.

    After the time-out a request is refused or given up. Triton's Python backend takes shared memory for what waits and
    keeps it for the next time, in tritonserver and in the process of `acoustic`, where the queue is: so much each of
    these two may stay larger. It does not grow with the length of the overload, as a leak would.
    """
    return float(overload["arriving_audio_seconds_per_second"] * timeout_s * SAMPLE_RATE * 4)


def _memory_checks(rows: Sequence[Mapping[str, Any]], held: float) -> list[Check]:
    """Of an overload: the same processes before and after, none much larger than before."""
    gone = [row["process"] for row in rows if row["growth"] is None]
    stayed = [row for row in rows if row["growth"] is not None]
    grown = [
        row["process"]
        for row in stayed
        if row["end_bytes"]
        > (1 + MOST_OVERLOAD_GROWTH) * row["start_bytes"] + (held if HOLDS_AUDIO.match(row["process"]) else 0)
    ]
    most = max((row["end_bytes"] - row["start_bytes"] for row in stayed), default=0.0)
    found = f"most {number(most / 2**20)} MiB of {len(stayed)} processes"
    return [
        Check(
            "no process of the server ends",
            bool(stayed) and not gone,
            f"came or went: {', '.join(gone)}" if gone else f"the same {len(rows)} processes before and after",
        ),
        Check(
            f"no process of the server grows by more than {percent(MOST_OVERLOAD_GROWTH)}; tritonserver and acoustic "
            f"also by the {number(held / 2**20)} MiB of audio that arrive in a time-out",
            bool(stayed) and not grown,
            f"{found}; more: {', '.join(grown)}" if grown else found,
        ),
    ]


def soon_after(overload: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Seconds from the end of an overload until what arrives is measured."""
    return float(overload["drained_s"] + after["settle_s"])


def overload_checks(
    results: Mapping[str, Any], highest: float, timeout_s: float, bound_s: float, word_errors: float = 0.0
) -> list[Check]:
    """The server answers on, refuses the rest in time, keeps within its memory, and serves normally afterwards.

    Args:
        results: whose last three steps are before, overload, after.
        highest: requests a second that the server carries.
        timeout_s: of each request.
        bound_s: of the latency before and after.
        word_errors: see :func:`transcripts_check`.
    """
    _, overload, after = results["steps"][-3:]
    soon_s = soon_after(overload, after)
    loaded = results["steps"][:-1]  # the backlog, where there is one, and the low load before
    refused, given_up, others = (sum(each) for each in zip(*(outcomes(step["errors"]) for step in loaded), strict=True))
    unanswered = sum(step["unanswered"] for step in loaded)
    settling = f", {after['unmeasured_failed']} failed before that" if after["unmeasured_failed"] else ""
    longest = overload["failed_after_s"]["max"]
    lag = overload["lag_s"]["p95"]
    late = after["latency_s"]["p95"]
    checks = [
        Check(
            "the load generator makes the overload",
            not lacks_arrivals(overload) and (lag is None or lag <= LATE_S),
            f"{number(overload['arrival_rate'])} of {overload['load']:g} requests/s arrived, 95 % of them within "
            f"{number(lag)} s of when they were due",
        ),
        Check(
            "the server keeps answering",
            overload["answer_rate"] >= LEAST_SHARE * highest,
            f"{number(overload['answer_rate'])} answers/s within the overload; it carries {number(highest)}",
        ),
        Check(
            "what it cannot do it refuses as UNAVAILABLE",
            given_up + others + unanswered == 0,
            f"{refused} refused, {given_up} given up by the client at its time-out, {others} failed otherwise, "
            f"{unanswered} without an end",
        ),
        Check(
            "a refusal comes within the time-out",
            longest is None or longest <= timeout_s + LATE_S,
            f"the last one {number(longest)} s after it was sent, with a time-out of {timeout_s:g} s",
        ),
        Check(
            "soon afterwards every request is answered, as fast as the bound",
            after["good"] and after["unmeasured_failed"] == 0 and soon_s <= SOON_S,
            f"from {number(soon_s)} s later on {after['answered']} of {after['requests']} answered, p95 "
            f"{number(late)} s of {bound_s:g} s{settling}",
        ),
        transcripts_check(results["steps"], word_errors),
    ]
    if "memory_unread" in results:
        checks.insert(4, Check("the server keeps within its memory", False, str(results["memory_unread"])))
    if "memory" in results:
        checks[4:4] = _memory_checks(results["memory"]["processes"], most_held(overload, timeout_s))
    return checks
