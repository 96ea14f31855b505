"""Tables of a sweep."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from shrota_client.pages.blocks import Table, number, percent
from shrota_loadtest.sweep.pictures import by_way
from shrota_loadtest.sweep.rounds import values
from shrota_loadtest.sweep.verdict import Spread

COLUMNS = (
    "model",
    "protocol",
    "shared_memory",
    "axis",
    "value",
    "rows",
    "utterances_per_second",
    "audio_seconds_per_second",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "longest_ms",
    "queue_ms",
    "compute_ms",
    "batch_rows",
    "padded_share",
    "sent_seconds",
    "counted_seconds",
    "requests",
    "delayed_share",
    "stable",
    "why_unstable",
    "failed",
)
"""Of the CSV."""
HEAD = (
    "utterances/s",
    "audio-s/s",
    "p50 ms",
    "p90 ms",
    "p95 ms",
    "p99 ms",
    "queue ms",
    "compute ms",
    "batch rows",
    "padded",
    "requests",
    "",
)
FEW = 100
"""Requests below which a 99th percentile is the slowest one or two."""


def points_csv(points: Sequence[Mapping[str, Any]]) -> str:
    """All points, one a line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    return text.getvalue()


def axis_table(points: Sequence[Mapping[str, Any]], axis: str) -> Table:
    """The points of one axis; a failed one has its reason in place of numbers."""
    rows = []
    for label, line in by_way(points).items():
        for point in line:
            start = [label, f"{point['value']:g}"]
            if "failed" in point:
                rows.append([*start, *["-"] * (len(HEAD) - 1), f"failed: {point['failed']}"])
            else:
                rows.append([*start, *_numbers(point), _note(point)])
    return Table(["", axis, *HEAD], rows)


def _numbers(point: Mapping[str, Any]) -> list[str]:
    names = ("utterances_per_second", "audio_seconds_per_second", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
    return [
        *(number(point[name]) for name in (*names, "queue_ms", "compute_ms", "batch_rows")),
        percent(point["padded_share"]),
        number(point["requests"], 4),
    ]


def _note(point: Mapping[str, Any]) -> str:
    notes = [] if point["stable"] else [f"unstable: {point['why_unstable']}"]
    if point["delayed_share"]:
        notes.append(f"{percent(point['delayed_share'])} sent late")
    if point["requests"] and point["requests"] < FEW:
        notes.append("few requests for a p99")
    return "; ".join(notes)


def inside_table(points: Sequence[Mapping[str, Any]], axis: str) -> Table | None:
    """Queue and computing of the models inside, by the server's metrics over the whole point; None where none is."""
    rows = [
        [label, f"{point['value']:g}", name, number(times["queue_ms"]), number(times["compute_ms"])]
        for label, line in by_way([point for point in points if "failed" not in point]).items()
        for point in line
        for name, times in point["models"].items()
        if name != point["model"]
    ]
    if not rows:
        return None
    return Table(
        ["", axis, "model", "queue ms", "compute ms"], rows, "Mean of a request in each model inside, all windows"
    )


def configuration_table(found: Mapping[str, Any]) -> Table:
    """Medians of the rounds with the least and greatest."""
    throughput = values(found, "throughput", "utterances_per_second")
    audio = values(found, "throughput", "audio_seconds_per_second")
    latency = values(found, "latency", "p95_ms")
    rows = []
    for name, each in found["configurations"].items():
        points = [*each["throughput"], *each["latency"]]
        reasons = dict.fromkeys(point["failed"] for point in points if "failed" in point)
        unstable = sum(not point["stable"] for point in points if "failed" not in point)
        notes = [f"failed: {reason}" for reason in reasons]
        notes += [f"{unstable} of {len(points)} unstable"] if unstable else []
        rows.append(
            [
                name,
                spread_text(throughput[name]),
                spread_text(audio[name]),
                spread_text(latency[name]),
                "; ".join(notes),
            ]
        )
    return Table(
        [
            "configuration",
            f"utterances/s at {found['throughput_concurrency']}",
            "audio-s/s",
            f"p95 ms at {found['latency_concurrency']}",
            "",
        ],
        rows,
        f"Median of {found['rounds']} rounds, with the least and greatest",
    )


def spread_text(given: Sequence[float]) -> str:
    """Median, least and greatest."""
    if not given:
        return "-"
    spread = Spread.of(given)
    return f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"
