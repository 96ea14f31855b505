"""What perf_analyzer writes and says: its CSV, its profile export (JSON), and its words."""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrota_client.failures import one_line
from shrota_loadtest.errors import PerfAnalyzerError

THROUGHPUT = "Inferences/Second"
PERCENTILES = (50, 90, 95, 99)
COMPUTE = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
REQUESTS = re.compile(r"Client:\s+Request count: (\d+)")
WINDOW = re.compile(r"Pass \[\d+\] throughput: ([\d.e+-]+) infer/sec\. Avg latency: ([\d.e+-]+) usec")
DELAYED = re.compile(r"([\d.]+)% of the requests were delayed")
ERROR = re.compile(r"(?:had error|cb::Error): (.+?)(?=\s*Thread \[|\s*Pass \[|$)")
NONE_IN_WINDOW = "No valid requests recorded within time interval"


@dataclass(frozen=True)
class Report:
    """One row of the CSV; times are milliseconds.

    Attributes:
        inferences_per_second: rows answered in a second.
        latency_ms: by percentile.
        queue_ms: mean of a request in the server's queue; None where the CSV has no server's times.
        compute_ms: mean of its input, inference and output there; None likewise.
    """

    inferences_per_second: float
    latency_ms: dict[int, float]
    queue_ms: float | None
    compute_ms: float | None


def read_report(path: Path) -> Report:
    """The first row of a CSV.

    Raises:
        PerfAnalyzerError: the file, a column that is needed, or its number is missing.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            row = next(iter(csv.DictReader(file)), None)
    except OSError as error:
        raise PerfAnalyzerError(f"perf_analyzer's report cannot be read ({error.strerror})") from error
    if row is None:
        raise PerfAnalyzerError("perf_analyzer's report has no row")
    latency = {percentile: _number(row, f"p{percentile} latency") / 1000 for percentile in PERCENTILES}
    compute = [_optional_ms(row, column) for column in COMPUTE]
    known = [time for time in compute if time is not None]
    return Report(
        _number(row, THROUGHPUT),
        latency,
        _optional_ms(row, "Server Queue"),
        sum(known) if len(known) == len(COMPUTE) else None,
    )


def _number(row: dict[str, Any], column: str) -> float:
    try:
        return float(row[column])
    except (KeyError, TypeError, ValueError):  # no such column; a row that ends before it; no number
        raise PerfAnalyzerError(f"perf_analyzer's report has no number for {column!r}") from None


def _optional_ms(row: dict[str, Any], column: str) -> float | None:
    return _number(row, column) / 1000 if row.get(column) else None


@dataclass(frozen=True)
class Export:
    """What the profile export has of all requests, those included whose windows were not taken.

    Attributes:
        longest_ms: the longest latency.
    """

    longest_ms: float


def read_export(path: Path) -> Export:
    """The profile export of one load.

    Raises:
        PerfAnalyzerError: it is missing or not of its form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        requests = [request for each in content["experiments"] for request in each["requests"]]
        latencies = [(each["response_timestamps"][-1] - each["timestamp"]) / 1e6 for each in requests]
        return Export(max(latencies))
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise PerfAnalyzerError(f"perf_analyzer's profile export cannot be read ({one_line(str(error))})") from error


@dataclass(frozen=True)
class Said:
    """Of its words on standard output and error.

    Attributes:
        windows: inferences a second and mean latency in milliseconds of each.
        requests: in the windows that were taken; None where it did not say.
        delayed_share: of requests that it sent later than it should, 0 to 1; None where it says nothing, which is
            where they are at most 1 %.
    """

    windows: tuple[tuple[float, float], ...]
    requests: int | None
    delayed_share: float | None


def read_words(text: str) -> Said:
    """What matters of its words."""
    flat = " ".join(text.split())
    requests, delayed = REQUESTS.search(flat), DELAYED.search(flat)
    return Said(
        tuple((float(throughput), float(latency) / 1000) for throughput, latency in WINDOW.findall(flat)),
        int(requests[1]) if requests else None,
        float(delayed[1]) / 100 if delayed else None,
    )


def reason_of(text: str) -> str:
    """Why it failed: the first error that it names, else the end of what it said."""
    flat = " ".join(text.split())
    if NONE_IN_WINDOW in flat:
        return "no request ended within one of its windows: give it more time, or less to do"
    error = ERROR.search(flat)
    return one_line(error[1], 300) if error else flat[-300:]
