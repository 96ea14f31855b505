"""Metrics of the acoustic model: what is written where, by one thread at a time."""

import threading
import time
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

from shrota_acoustic.metrics import NoMetrics, triton_metrics


class FakePbUtils:
    """Metrics of Triton's as dictionaries; notes when two threads write at once."""

    TritonModelException = RuntimeError

    def __init__(self, *, off: bool = False, broken: bool = False) -> None:
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.writers = 0
        self.collisions = 0
        self._off = off
        self._broken = broken
        kinds = {"COUNTER": 0, "GAUGE": 1, "HISTOGRAM": 2}
        self.MetricFamily: Any = type("MetricFamily", (), {**kinds, "__new__": self._family})

    def _family(self, _: Any, name: str, description: str, kind: int) -> SimpleNamespace:
        if self._off:
            text = "metrics are off"
            raise RuntimeError(text)
        assert description

        def metric(labels: dict[str, str], buckets: list[float] | None = None) -> SimpleNamespace:
            assert (buckets is not None) == (kind == self.MetricFamily.HISTOGRAM)
            key = (name, labels.get("engine") or labels.get("reason") or "")

            def write(value: float) -> None:
                self._write(key, value)

            return SimpleNamespace(increment=write, observe=write)

        return SimpleNamespace(Metric=metric)

    def _write(self, key: tuple[str, str], value: float) -> None:
        if self._broken:
            text = "no"
            raise RuntimeError(text)
        self.writers += 1
        self.collisions += self.writers > 1
        time.sleep(0.0001)
        self.values[key].append(value)
        self.writers -= 1


def test_each_number_goes_to_its_metric() -> None:
    pb_utils = FakePbUtils()
    metrics = triton_metrics(pb_utils, "acoustic", ("acoustic_onnx", "acoustic_trt"))
    metrics.batch("acoustic_trt", rows=3, input_seconds=30, padded_seconds=2, wall_seconds=0.5)
    metrics.answered(12)
    metrics.dropped("CANCELLED")
    metrics.pending(7)
    assert pb_utils.values == {
        ("shrota_engine_batch_rows", "acoustic_trt"): [3],
        ("shrota_engine_input_seconds_total", "acoustic_trt"): [30],
        ("shrota_padded_seconds_total", "acoustic_trt"): [2],
        ("shrota_engine_wall_seconds_total", "acoustic_trt"): [0.5],
        ("shrota_audio_seconds_total", ""): [12],
        ("shrota_dropped_requests_total", "cancelled"): [1],
        ("shrota_pending_seconds", ""): [7],
    }


def test_what_is_pending_in_several_instances_adds_up() -> None:
    pb_utils = FakePbUtils()
    instances = [triton_metrics(pb_utils, "acoustic", ("acoustic_onnx",)) for _ in range(2)]
    for told, sum_of_all in (((0.1, 1 / 3), 0.1 + 1 / 3), ((9.9, 0.7), 10.6), ((5, 0), 5), ((0, 0), 0)):
        for instance, seconds in zip(instances, told, strict=True):
            instance.pending(seconds)
        assert abs(sum(pb_utils.values["shrota_pending_seconds", ""]) - sum_of_all) <= 1 / 1024
    assert sum(pb_utils.values["shrota_pending_seconds", ""]) == 0


def test_only_one_thread_writes_at_a_time() -> None:
    pb_utils = FakePbUtils()
    metrics = triton_metrics(pb_utils, "acoustic", ("acoustic_onnx",))

    def write() -> None:
        for _ in range(10):
            metrics.pending(1)
            metrics.answered(1)
            metrics.dropped("UNAVAILABLE")
            metrics.batch("acoustic_onnx", 1, 1, 0, 1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pb_utils.collisions == 0
    assert len(pb_utils.values["shrota_pending_seconds", ""]) == 40


def test_a_metric_that_cannot_be_written_costs_nothing() -> None:
    metrics = triton_metrics(FakePbUtils(broken=True), "acoustic", ("acoustic_onnx",))
    metrics.pending(1)
    metrics.batch("acoustic_onnx", 1, 1, 0, 1)


def test_a_server_without_metrics_is_served_all_the_same() -> None:
    assert isinstance(triton_metrics(FakePbUtils(off=True), "acoustic", ("acoustic_onnx",)), NoMetrics)
