"""Where the milliseconds go: the kernels of one run, by kind and by part of the model."""

import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_engines import Wait

ATTENTION, CONVOLUTION, PRODUCTS = "attention", "convolutions", "matrix products"
NORMS, COPIES, REST = "LayerNorm, GELU, to 8 bits", "copies", "rest"
KINDS = (PRODUCTS, ATTENTION, CONVOLUTION, NORMS, COPIES, REST)
PATTERNS = (
    (r"flash|fmha|sdpa|attention", ATTENTION),
    (r"conv(?!ert)|fprop|implicit|nchw|nhwc|winograd|cudnn", CONVOLUTION),
    (r"gemm|gemv|cutlass|nvjet|xmma|cublas|splitk|scaled_mm|addmm|bmm|matmul|(^|::)mm$", PRODUCTS),
    (r"norm|gelu|quanti[sz]e", NORMS),
    (r"memcpy|memset|copy|catarray|(^|::)cat$|gather|scatter|index|transpose|clone|contiguous|(^|_|::)pad", COPIES),
)
"""In the name, small letters; the first that fits counts. Convolutions are implicit matrix products, and attention is
made of them, so those come first. Names are cuBLAS's, cuDNN's, PyTorch's and ``shrota_torch``'s own."""
EXTRACTOR, PROJECTION, ENCODER = "feature extractor", "projection and position", "encoder and head"
STAGES = (EXTRACTOR, PROJECTION, ENCODER)
LAST_OF_EXTRACTOR = re.compile(r"first_convolution|norm_gelu")
FIRST_OF_ENCODER = re.compile(r"add_norm")
TOP = 12
CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")
"""Of PyTorch's trace: what a GPU does."""
TIMES = 3
"""Runs that are profiled; the one with the median sum is shown."""


@dataclass(frozen=True)
class Kernel:
    """One launch, in microseconds."""

    name: str
    start: float
    duration: float


def kind_of(name: str) -> str:
    """The kind of a kernel, by its name."""
    small = name.lower()
    return next((kind for pattern, kind in PATTERNS if re.search(pattern, small)), REST)


def stages_of(kernels: Sequence[Kernel]) -> list[str] | None:
    """The part of the model that each kernel belongs to, by order; None where the kernels are not acoustic_torch's.

    Args:
        kernels: of one run, in their order.
    """
    last = max((place for place, each in enumerate(kernels) if LAST_OF_EXTRACTOR.search(each.name)), default=None)
    first = next((place for place, each in enumerate(kernels) if FIRST_OF_ENCODER.search(each.name)), None)
    if last is None or first is None or first < last:
        return None
    return [EXTRACTOR if place <= last else PROJECTION if place < first else ENCODER for place in range(len(kernels))]


def busy_us(kernels: Sequence[Kernel]) -> float:
    """Microseconds in which at least one runs."""
    busy = 0.0
    end = float("-inf")
    for each in sorted(kernels, key=lambda kernel: kernel.start):
        stop = each.start + each.duration
        busy += max(0.0, stop - max(end, each.start))
        end = max(end, stop)
    return busy


def summary(kernels: Sequence[Kernel], median_ms: float | None) -> dict[str, Any]:
    """In plain types, milliseconds.

    Args:
        kernels: of one run.
        median_ms: that the run takes without the profiler; what the GPU is idle in it is the difference.
    """
    ordered = sorted(kernels, key=lambda kernel: kernel.start)
    kinds: dict[str, float] = defaultdict(float)
    stages: dict[str, dict[str, float]] = {}
    names: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    parts = stages_of(ordered)
    for place, each in enumerate(ordered):
        kind = kind_of(each.name)
        kinds[kind] += each.duration / 1000
        names[each.name] += each.duration / 1000
        calls[each.name] += 1
        if parts is not None:
            stages.setdefault(parts[place], defaultdict(float))[kind] += each.duration / 1000
    busy = busy_us(ordered) / 1000
    return {
        "median_ms": median_ms,
        "busy_ms": busy,
        "idle_ms": None if median_ms is None else max(0.0, median_ms - busy),
        "kinds": {kind: kinds[kind] for kind in KINDS},
        "stages": {stage: {kind: stages[stage][kind] for kind in KINDS} for stage in STAGES if stage in stages},
        "top": [
            {"name": name, "kind": kind_of(name), "calls": calls[name], "ms": spent}
            for name, spent in sorted(names.items(), key=lambda item: -item[1])[:TOP]
        ],
    }


def profiled(run: Wait, wait: Wait, device: str) -> list[Kernel]:
    """The kernels of one run; the operators with their own time, on a processor."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    found = []
    for _ in range(TIMES):
        with profile(activities=activities) as profiler:
            run()
            wait()
        found.append(_of_trace(profiler) if device == "cuda" else _of_operators(profiler))
    found.sort(key=lambda kernels: sum(each.duration for each in kernels))
    return found[len(found) // 2]


def _of_trace(profiler: Any) -> list[Kernel]:
    with tempfile.TemporaryDirectory(prefix="shrota-trace-") as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    kernels = [
        Kernel(event["name"], float(event["ts"]), float(event["dur"]))
        for event in events
        if event.get("cat") in CATEGORIES
    ]
    if not kernels:
        raise RuntimeError("PyTorch's profiler saw no kernel: may this user read the GPU's counters?")
    return kernels


def _of_operators(profiler: Any) -> list[Kernel]:
    return [
        Kernel(event.name, float(event.time_range.start), float(event.self_cpu_time_total))
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CPU
    ]
