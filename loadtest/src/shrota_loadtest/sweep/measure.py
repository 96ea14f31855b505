"""One point of a sweep: a load by perf_analyzer, beside what the server counted meanwhile."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shrota_client.samples import SAMPLE_RATE
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.metrics import STEPS, Batching, growth, mean_times, model_times, read_metrics
from shrota_loadtest.perf_analyzer.data import ENGINES, ROWS_IN_SHAPE, entries_for, output_bytes, write_input
from shrota_loadtest.perf_analyzer.report import PERCENTILES
from shrota_loadtest.perf_analyzer.run import Load, Measured, run
from shrota_loadtest.sweep.plan import BATCH, Point
from shrota_loadtest.workload import Clip

SCHEDULER = "acoustic"
"""Counts the audio that it is given, see ``shrota_acoustic.metrics`` in the model repository."""
INSIDE = {"asr": (SCHEDULER, "ctc_decoder", *ENGINES), SCHEDULER: (SCHEDULER, *ENGINES)}
"""Models whose queue and computing is told apart, by the model that is asked."""
PENDING = ("nv_inference_pending_request_count", "shrota_pending_seconds")
"""Of Triton's metrics: what waits in its queues, and in ``acoustic``."""
IDLE_S = 60.0
"""That a point waits at most for the requests of the one before: perf_analyzer does not wait for their answers."""
POLL_S = 0.1
INPUT = "input.json"


@dataclass(frozen=True)
class Addresses:
    """Of a server: host and port, without scheme."""

    grpc: str
    http: str
    metrics: str

    def of(self, protocol: str) -> str:
        """For a protocol."""
        return {"grpc": self.grpc, "http": self.http}[protocol]


@dataclass(frozen=True)
class Order:
    """What is the same for all points.

    Attributes:
        program: path of perf_analyzer.
        clips: speech of mixed lengths.
        equal_s: seconds to which clips are cut for rows of one request.
        limit_s: seconds that a point may take.
        folder: for perf_analyzer's files.
    """

    program: str
    clips: Sequence[Clip]
    equal_s: float
    limit_s: float
    folder: Path


def measure(order: Order, addresses: Addresses, point: Point) -> dict[str, Any]:
    """Plain data of one point: with ``failed``, why, where there is no measurement.

    Audio-seconds are counted by the server where ``acoustic`` has a part in it; perf_analyzer only knows requests.
    """
    try:
        return {**described(point), **_measure(order, addresses, point)}
    except LoadTestError as error:
        return {**described(point), "failed": str(error)}


def described(point: Point) -> dict[str, Any]:
    """Which point it is, in plain types."""
    return {**vars(point.way), "axis": point.axis, "value": point.value, "rows": point.rows}


def samples_of(order: Order, point: Point) -> list[NDArray[np.float32]]:
    """What is sent: clips of mixed lengths, or, in a sweep over rows, of one length, going round at their end."""
    if point.axis == BATCH:
        return [np.resize(clip.samples, round(order.equal_s * SAMPLE_RATE)) for clip in order.clips]
    return [clip.samples for clip in order.clips]


def _measure(order: Order, addresses: Addresses, point: Point) -> dict[str, Any]:
    way = point.way
    in_shape = point.rows if way.model in ROWS_IN_SHAPE else 1
    load = Load(
        way.model,
        addresses.of(way.protocol),
        point.concurrency,
        order.limit_s,
        rate=point.rate,
        protocol=way.protocol,
        shared_memory=way.shared_memory,
        rows=point.rows // in_shape,
    )
    clips = entries_for(samples_of(order, point), load.workers, point.rows)
    write_input(order.folder / INPUT, clips, way.model, point.rows)
    load = Load(**{**vars(load), "output_bytes": output_bytes(clips, SAMPLE_RATE, in_shape)})
    wait_idle(addresses.metrics)
    before = _counters(addresses.metrics, way.model)
    done = run(order.program, load, order.folder / INPUT, order.folder)
    wait_idle(addresses.metrics)  # the last answers, which perf_analyzer does not wait for, are of this load
    counted = {name: growth(before[name], now) for name, now in _counters(addresses.metrics, way.model).items()}
    sent_s = float(np.mean([clip.size for clip in clips])) / SAMPLE_RATE
    return {**_client_side(done, in_shape), **_server_side(done, in_shape, counted, sent_s)}


def wait_idle(metrics: str, limit_s: float = IDLE_S) -> bool:
    """Waits until nothing is pending at a server; False where something still is after ``limit_s``.

    Raises:
        LoadTestError: its metrics cannot be read.
    """
    deadline = time.monotonic() + limit_s
    while True:
        found = read_metrics(metrics)
        if not any(found.get(name, 0.0) for name in PENDING):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)


def _counters(metrics: str, model: str) -> dict[str, dict[str, float]]:
    """All sums, under an empty name, and the times of each model."""
    return {"": read_metrics(metrics), **{name: model_times(metrics, name) for name in INSIDE.get(model, (model,))}}


def _client_side(done: Measured, rows: int) -> dict[str, Any]:
    return {
        "utterances_per_second": done.report.inferences_per_second * rows,
        **{f"p{each}_ms": done.report.latency_ms[each] for each in PERCENTILES},
        "longest_ms": done.export.longest_ms if done.export else None,
        "queue_ms": done.report.queue_ms,
        "compute_ms": done.report.compute_ms,
        "requests": done.said.requests,
        "delayed_share": done.said.delayed_share,
        "stable": done.why_unstable is None,
        "why_unstable": done.why_unstable,
    }


def _server_side(
    done: Measured, rows: int, counted: Mapping[str, Mapping[str, float]], sent_s: float
) -> dict[str, Any]:
    batching = Batching.of(counted[""])
    answered = counted[SCHEDULER]["rows"] if SCHEDULER in counted else 0.0
    counted_s = batching.audio_s / answered if answered and batching.audio_s else None
    times = {name: mean_times(each) for name, each in counted.items() if name and each["requests"]}
    return {
        "audio_seconds_per_second": done.report.inferences_per_second * rows * (counted_s or sent_s),
        "sent_seconds": sent_s,
        "counted_seconds": counted_s,
        "batch_rows": batching.rows,
        "padded_share": batching.padded_share,
        "models": {
            name: {
                "queue_ms": _ms([each["queue"]]),
                "compute_ms": _ms([each[step] for step in STEPS if step != "queue"]),
            }
            for name, each in times.items()
        },
    }


def _ms(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return 1000 * sum(known) if len(known) == len(seconds) else None
