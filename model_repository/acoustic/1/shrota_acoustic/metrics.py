"""What the acoustic model counts. Seconds are seconds of audio, unless they are called wall seconds.

==================================== ========= ===============================================================
metric                               kind      meaning
==================================== ========= ===============================================================
shrota_audio_seconds_total           counter   audio that was answered with log-probabilities
shrota_engine_input_seconds_total    counter   what engine batches held, overlaps and padding included
shrota_padded_seconds_total          counter   of that, padding; the padded share is the one over the other
shrota_engine_batch_rows             histogram windows in one engine batch
shrota_engine_wall_seconds_total     counter   wall seconds in engine calls
shrota_pending_seconds               gauge     audio still to be run in this model: waiting or in a batch
shrota_dropped_requests_total        counter   requests dropped: label ``reason`` is ``cancelled`` or ``unavailable``
==================================== ========= ===============================================================

All carry the label ``model``, and those of batches ``engine``.
"""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Protocol

PER_SECOND = 1024
"""Of the parts to which what is pending is rounded: they add up exactly."""
ROW_BUCKETS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]

logger = logging.getLogger(__name__)


class Metrics(Protocol):
    """Where the scheduler reports what it did."""

    def batch(self, engine: str, rows: int, input_seconds: float, padded_seconds: float, wall_seconds: float) -> None:
        """One engine call of ``input_seconds``, padding included, of which ``padded_seconds`` are padding."""

    def answered(self, seconds: float) -> None:
        """One request got its log-probabilities."""

    def dropped(self, code: str) -> None:
        """One request was dropped before the engine saw all of it."""

    def pending(self, seconds: float) -> None:
        """How much audio is in this model now."""


class NoMetrics:
    """Counts nothing: for a server whose metrics are off."""

    def batch(self, engine: str, rows: int, input_seconds: float, padded_seconds: float, wall_seconds: float) -> None:
        """See :class:`Metrics`."""

    def answered(self, seconds: float) -> None:
        """See :class:`Metrics`."""

    def dropped(self, code: str) -> None:
        """See :class:`Metrics`."""

    def pending(self, seconds: float) -> None:
        """See :class:`Metrics`."""


class TritonMetrics:
    """Counts through Triton, which shows it beside its own metrics.

    Args:
        pb_utils: Triton's ``triton_python_backend_utils``.
        model_name: Value of the label ``model``.
        engines: Values of the label ``engine``.

    Raises:
        pb_utils.TritonModelException: The server's metrics are off.
    """

    def __init__(self, pb_utils: Any, model_name: str, engines: tuple[str, ...]) -> None:
        kinds = pb_utils.MetricFamily
        self._error: type[Exception] = pb_utils.TritonModelException
        self._lock = Lock()
        self._told = 0.0
        model = {"model": model_name}
        per_engine = {engine: {**model, "engine": engine} for engine in engines}

        def family(name: str, kind: Any, description: str) -> Any:
            made = pb_utils.MetricFamily(name=name, description=description, kind=kind)
            _keep_for_ever(made)
            return made

        audio = family("shrota_audio_seconds_total", kinds.COUNTER, "Seconds of audio answered")
        self._audio = audio.Metric(labels=model)
        pending = family("shrota_pending_seconds", kinds.GAUGE, "Seconds of audio waiting or being run")
        self._pending = pending.Metric(labels=model)
        dropped = family("shrota_dropped_requests_total", kinds.COUNTER, "Requests dropped before they were run")
        reasons = ("CANCELLED", "UNAVAILABLE")
        self._dropped = {code: dropped.Metric(labels={**model, "reason": code.lower()}) for code in reasons}
        inputs = family(
            "shrota_engine_input_seconds_total",
            kinds.COUNTER,
            "Seconds in engine batches, overlaps and padding included",
        )
        self._input = {engine: inputs.Metric(labels=labels) for engine, labels in per_engine.items()}
        padded = family("shrota_padded_seconds_total", kinds.COUNTER, "Seconds of padding in engine batches")
        self._padded = {engine: padded.Metric(labels=labels) for engine, labels in per_engine.items()}
        wall = family("shrota_engine_wall_seconds_total", kinds.COUNTER, "Wall seconds in engine calls")
        self._wall = {engine: wall.Metric(labels=labels) for engine, labels in per_engine.items()}
        rows = family("shrota_engine_batch_rows", kinds.HISTOGRAM, "Windows in one engine batch")
        self._rows = {engine: rows.Metric(labels=labels, buckets=ROW_BUCKETS) for engine, labels in per_engine.items()}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One thread at a time: two that write metrics at once make tritonserver 2.51 crash.

        A metric that cannot be written must not cost a request its answer.
        """
        with self._lock, suppress(self._error):
            yield

    def batch(self, engine: str, rows: int, input_seconds: float, padded_seconds: float, wall_seconds: float) -> None:
        """See :meth:`Metrics.batch`."""
        with self._writing():
            self._rows[engine].observe(float(rows))
            self._input[engine].increment(input_seconds)
            self._padded[engine].increment(padded_seconds)
            self._wall[engine].increment(wall_seconds)

    def answered(self, seconds: float) -> None:
        """See :meth:`Metrics.answered`."""
        with self._writing():
            self._audio.increment(seconds)

    def dropped(self, code: str) -> None:
        """See :meth:`Metrics.dropped`."""
        with self._writing():
            self._dropped[code].increment(1.0)

    def pending(self, seconds: float) -> None:
        """See :meth:`Metrics.pending`. Several instances of the model share the metric, each adds its own."""
        with self._writing():
            seconds = round(seconds * PER_SECOND) / PER_SECOND
            self._pending.increment(seconds - self._told)
            self._told = seconds


def _keep_for_ever(family: object) -> None:
    """Takes a reference to a family of metrics that is never given back.

    Triton deletes metrics with their family, and where that happens at the end of the process, the stub of tritonserver
    2.51 ends with a segmentation fault: the memory through which it would tell the server is gone by then. The server
    keeps what was counted, for the next process.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(family))


def triton_metrics(pb_utils: Any, model_name: str, engines: tuple[str, ...]) -> Metrics:
    """Metrics of Triton's, or none where the server's metrics are off."""
    try:
        return TritonMetrics(pb_utils, model_name, engines)
    except pb_utils.TritonModelException as error:
        logger.warning("custom metrics are off: %s", error)
        return NoMetrics()
