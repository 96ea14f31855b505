"""What Triton counts: its metrics page, ours on it, and its statistics of each model."""

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shrota_client.failures import one_line
from shrota_loadtest.errors import LoadTestError

TIMEOUT_S = 10.0


def read_metrics(metrics_url: str, *labels: str) -> dict[str, float]:
    """Sums of every metric over its labels, by metric name.

    Args:
        metrics_url: host and port of the metrics endpoint, without scheme.
        labels: only series with all of these, as the page writes them: ``reason="cancelled"``.

    Raises:
        LoadTestError: the page cannot be read.
    """
    return sums(read_page(metrics_url), *labels)


def read_page(metrics_url: str) -> list[str]:
    """The lines of the metrics page.

    Raises:
        LoadTestError: the page cannot be read.
    """
    try:
        with urllib.request.urlopen(f"http://{metrics_url}/metrics", timeout=TIMEOUT_S) as answer:
            return list(answer.read().decode("utf-8").splitlines())
    except (OSError, ValueError) as error:
        reason = one_line(str(error))
        raise LoadTestError(f"no metrics at {metrics_url} ({reason}): name the server's with --metrics") from error


def sums(page: Sequence[str], *labels: str) -> dict[str, float]:
    """As :func:`read_metrics`, of a page that has been read."""
    totals: dict[str, float] = {}
    for line in page:
        if line and not line.startswith("#") and all(label in line for label in labels):
            name = line.partition("{")[0].split()[0]
            totals[name] = totals.get(name, 0.0) + float(line.split()[-1])
    return totals


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each counter grew by."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


@dataclass(frozen=True)
class Batching:
    """What the scheduler made of the load, see ``shrota_acoustic.metrics`` in the model repository.

    Attributes:
        rows: mean windows in an engine batch; None where no batch was run.
        padded_share: of what the engine was given, 0 to 1; None likewise.
        engine_s: wall seconds in engine calls.
        audio_s: seconds of audio answered.
        dropped: requests that the scheduler dropped.
    """

    rows: float | None
    padded_share: float | None
    engine_s: float
    audio_s: float
    dropped: float

    @classmethod
    def of(cls, grown: Mapping[str, float]) -> "Batching":
        """From the growth of the counters; a server without them gives zeros."""
        batches = grown.get("shrota_engine_batch_rows_count", 0.0)
        inputs = grown.get("shrota_engine_input_seconds_total", 0.0)
        return cls(
            grown.get("shrota_engine_batch_rows_sum", 0.0) / batches if batches else None,
            grown.get("shrota_padded_seconds_total", 0.0) / inputs if inputs else None,
            grown.get("shrota_engine_wall_seconds_total", 0.0),
            grown.get("shrota_audio_seconds_total", 0.0),
            grown.get("shrota_dropped_requests_total", 0.0),
        )


STEPS = ("queue", "compute_input", "compute_infer", "compute_output")


def model_times(metrics_url: str, model: str) -> dict[str, float]:
    """Counters of one model: ``requests``, their ``rows``, and all seconds of ``queue`` and of each step of computing.

    Triton adds up the seconds request by request, however many rows one has.
    """
    return times_of(read_metrics(metrics_url, f'model="{model}"'))


def times_of(found: Mapping[str, float]) -> dict[str, float]:
    """As :func:`model_times`, from the sums of one model's series."""
    times = {step: found.get(f"nv_inference_{step}_duration_us", 0.0) / 1e6 for step in STEPS}
    counts = {"requests": "nv_inference_request_success", "rows": "nv_inference_count"}
    return {**{name: found.get(metric, 0.0) for name, metric in counts.items()}, **times}


def mean_times(grown: Mapping[str, float]) -> dict[str, float | None]:
    """Seconds a request of each step, from the growth of :func:`model_times`; None where there was no request."""
    requests = grown["requests"]
    return {step: grown[step] / requests if requests else None for step in STEPS}


def plain(batching: Batching) -> dict[str, Any]:
    """For JSON."""
    return dict(vars(batching))
