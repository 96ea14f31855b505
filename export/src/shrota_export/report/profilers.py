"""Time by operator and by layer, from PyTorch's profiler and from ONNX Runtime's."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from shrota_export.engines import open_session
from shrota_export.precision.graphs import layer_of
from shrota_export.report import passes
from shrota_export.report.layers import place

RUNS = 5
GROUPS = {
    "products": (
        "aten::addmm",
        "aten::mm",
        "aten::bmm",
        "aten::baddbmm",
        "MatMul",
        "Gemm",
        "FusedMatMul",
        "FusedGemm",
        "MatMulIntegerToFloat",
    ),
    "convolution": (
        "aten::mkldnn_convolution",
        "aten::_slow_conv2d_forward",
        "aten::thnn_conv2d",
        "Conv",
        "FusedConv",
        "NhwcConv",
    ),
    "softmax": ("aten::_softmax", "aten::_log_softmax", "Softmax", "LogSoftmax"),
    "normalisation": (
        "aten::native_layer_norm",
        "aten::native_group_norm",
        "LayerNormalization",
        "SkipLayerNormalization",
        "GroupNorm",
        "InstanceNormalization",
    ),
    "GELU": ("aten::gelu", "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Erf"),
    "attention, fused": ("aten::_scaled_dot_product_flash_attention_for_cpu", "Attention", "MultiHeadAttention"),
    "additions, factors": (
        "aten::add",
        "aten::add_",
        "aten::mul",
        "aten::mul_",
        "aten::div",
        "aten::sub",
        "Add",
        "Mul",
        "Div",
        "Sub",
    ),
    "moving": (
        "aten::copy_",
        "aten::cat",
        "aten::constant_pad_nd",
        "aten::fill_",
        "Transpose",
        "Reshape",
        "Concat",
        "Slice",
        "ReorderInput",
        "ReorderOutput",
        "Cast",
        "Gather",
        "Expand",
        "Pad",
        "Squeeze",
        "Unsqueeze",
        "Split",
    ),
}
OTHER = "others"
GROUP_NAMES = (*GROUPS, OTHER)
PREFIX = "layer:"


def group_of(operator: str) -> str:
    """The group of a PyTorch or ONNX operator."""
    return next((group for group, operators in GROUPS.items() if operator in operators), OTHER)


@contextmanager
def named_layers(engine: torch.nn.Module) -> Iterator[None]:
    """Marks the time of each layer for PyTorch's profiler."""
    handles, open_marks = [], []

    def begin(name: str) -> Any:
        def hook(_module: Any, _inputs: Any) -> None:
            mark = record_function(PREFIX + name)
            mark.__enter__()
            open_marks.append(mark)

        return hook

    def end(_module: Any, _inputs: Any, _output: Any) -> None:
        open_marks.pop().__exit__(None, None, None)

    for name, module in engine.named_modules():
        is_layer = name.count(".") == 1 and name.split(".")[0] in {"feature_extractor", "layers"}
        if is_layer or name in {"feature_projection", "position_embedding", "layer_norm", "head", "normalizer"}:
            handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def profile_pytorch(engine: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor) -> dict[str, Any]:
    """Self time, total time, calls and memory by operator, and self time by layer and operator; of one run.

    The median of ``RUNS`` runs after one that warms up: each run has a profiler of its own.
    """
    with torch.no_grad(), named_layers(engine):
        engine(audio, lengths)
        runs = []
        for _ in range(RUNS):
            with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
                engine(audio, lengths)
            runs.append(profiler)
    totals = [sum(event.self_cpu_time_total for event in run.key_averages()) for run in runs]
    middle = runs[sorted(range(RUNS), key=lambda index: totals[index])[RUNS // 2]]
    operators = [
        {
            "operator": event.key,
            "self_s": event.self_cpu_time_total / 1e6,
            "total_s": event.cpu_time_total / 1e6,
            "calls": event.count,
            "self_memory_bytes": event.self_cpu_memory_usage,
        }
        for event in middle.key_averages()
        if not event.key.startswith((PREFIX, "["))
    ]
    layers: defaultdict[tuple[str, str], float] = defaultdict(float)
    for event in middle.events():
        if not event.name.startswith((PREFIX, "[")):
            layers[_layer(event), event.name] += event.self_cpu_time_total / 1e6
    return _summarise(operators, layers)


def _layer(event: Any) -> str:
    while event is not None:
        if event.name.startswith(PREFIX):
            return str(event.name.removeprefix(PREFIX))
        event = event.cpu_parent
    return "graph"


def profile_onnxruntime(graph: Path, folder: Path, feed: Mapping[str, Any]) -> dict[str, Any]:
    """Time by operator, and by layer and operator, of one run: of each node the median of ``RUNS`` runs.

    Args:
        graph: the file.
        folder: for what the profiler writes.
        feed: its inputs.
    """
    optimized = folder / "profiled.onnx"
    session = open_session(graph, optimized=optimized, profile=folder / "profile")
    for _ in range(RUNS + 1):
        session.run(None, dict(feed))
    # a fused node has a name of its own, but its output keeps the name that the layer gave it
    layers = {node.name: layer_of(node.output[0]) for node in passes.read_light(optimized).graph.node}
    passes.remove(optimized)
    with open(session.end_profiling(), encoding="utf-8") as file:  # noqa: PTH123
        return summarise_events(json.load(file), layers)


def summarise_events(events: Iterable[Mapping[str, Any]], layers_of: Mapping[str, str]) -> dict[str, Any]:
    """The events of ONNX Runtime's profiler as one run: of each node the median, without its first run.

    Args:
        events: as its file has them.
        layers_of: the layer of each node; those that are missing are found by the node's name.
    """
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]].append(event["dur"] / 1e6)
    self_s: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    layers: defaultdict[tuple[str, str], float] = defaultdict(float)
    for (node, operator), found in times.items():
        time = median(found[1:] or found)
        self_s[operator] += time
        calls[operator] += 1
        layers[layers_of.get(node) or layer_of(node), operator] += time
    operators = [
        {"operator": operator, "self_s": time, "total_s": time, "calls": calls[operator], "self_memory_bytes": None}
        for operator, time in self_s.items()
    ]
    return _summarise(operators, layers)


def _summarise(operators: list[dict[str, Any]], layers: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    by_layer: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (layer, operator), time in layers.items():
        by_layer[layer][group_of(operator)] += time
    groups: defaultdict[str, float] = defaultdict(float)
    for row in operators:
        groups[group_of(row["operator"])] += row["self_s"]
    return {
        "all_s": sum(row["self_s"] for row in operators),
        "operators": sorted(operators, key=lambda row: -row["self_s"]),
        "groups": dict(sorted(groups.items(), key=lambda item: -item[1])),
        "layers": {layer: dict(by_layer[layer]) for layer in sorted(by_layer, key=place)},
    }
