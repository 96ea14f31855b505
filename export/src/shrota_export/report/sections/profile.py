"""Where the time goes: by operator and by layer, in PyTorch and in ONNX Runtime."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import onnx
import torch
from torch.profiler import ProfilerActivity, record_function

from shrota_export.precision.graphs import layer_of
from shrota_export.progress import step
from shrota_export.report.blocks import Block, Paragraph, Picture, Table, percent
from shrota_export.report.drawing import colour, new_figure, style
from shrota_export.report.layers import place
from shrota_export.report.material import Material, is_published
from shrota_export.report.ort import open_session

TITLE = "Profile"
RUNS = 5
SHOWN = 12
"""Operators in a table."""
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
PUBLISHED = {
    "addmm: products with weights": (0.597, ("aten::addmm",)),
    "convolution": (0.171, GROUPS["convolution"]),
    "copies": (0.049, ("aten::copy_",)),
    "GELU": (0.037, ("aten::gelu",)),
    "attention": (0.034, ("aten::bmm", "aten::_softmax", "aten::_scaled_dot_product_flash_attention_for_cpu")),
}
"""Shares of self time that were published for IndicWav2Vec-Hindi (this project's founding document), and the operators
that they are compared with; without machine and length of the audio."""

PUBLISHED_PEAK_MB = 516


def group_of(operator: str) -> str:
    """The group of a PyTorch or ONNX operator."""
    return next((group for group, operators in GROUPS.items() if operator in operators), OTHER)


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Profiles both on the same audio."""
    audio, lengths = material.audio(material.seconds)
    with step("profile PyTorch"):
        pytorch = profile_pytorch(material.engine, torch.from_numpy(audio), torch.from_numpy(lengths))
    with step("profile ONNX Runtime"):
        runtime = profile_onnxruntime(material, {"AUDIO": audio, "NUM_SAMPLES": lengths})
    return {
        "seconds": material.seconds,
        "runs": RUNS,
        "pytorch": pytorch,
        "onnxruntime": runtime,
        "compared_with_published": is_published(material.config),
    }


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


def profile_onnxruntime(material: Material, feed: Mapping[str, Any]) -> dict[str, Any]:
    """Time by operator, and by layer and operator, of one run: of each node the median of ``RUNS`` runs."""
    optimized = material.folder / "profiled.onnx"
    session = open_session(material.graph_path, optimized=optimized, profile=material.folder / "profile")
    for _ in range(RUNS + 1):
        session.run(None, dict(feed))
    # a fused node has a name of its own, but its output keeps the name that the layer gave it
    nodes = onnx.load(optimized, load_external_data=False).graph.node
    layers = {node.name: layer_of(node.output[0]) for node in nodes}
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


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:
    """Both tables, the groups side by side, the stacked bars."""
    names = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime"}
    sums = ", ".join(f"{name} {1000 * data[key]['all_s']:,.0f} ms" for key, name in names.items())
    blocks: list[Block] = [
        Paragraph(
            f"{data['seconds']:g} s of audio at batch 1. PyTorch: the run of middle length of {data['runs']}, each "
            f"with a profiler of its own; ONNX Runtime, all optimisations: of each node the median of {data['runs']} "
            "runs. Self time is without what an operator calls. Both profilers cost time themselves: the sums "
            f"({sums}) are no latencies, the shares are what counts."
        ),
        Table(
            ["operators", *names.values()],
            [
                [group, *[percent(data[key]["groups"].get(group, 0) / data[key]["all_s"]) for key in names]]
                for group in GROUP_NAMES
                if any(group in data[key]["groups"] for key in names)
            ],
            "Share of the self time by group",
        ),
        Picture("profile", "Self time by layer and group of operators", _draw(data, names)),
    ]
    for key, name in names.items():
        profile = data[key]
        memory = key == "pytorch"
        blocks.append(
            Table(
                [
                    "operator",
                    "share",
                    "self",
                    "total",
                    "calls",
                    *(["memory, less what it gives back"] if memory else []),
                ],
                [
                    [
                        row["operator"],
                        percent(row["self_s"] / profile["all_s"]),
                        f"{1000 * row['self_s']:,.2f} ms",
                        f"{1000 * row['total_s']:,.2f} ms",
                        f"{row['calls']:,}",
                        *([f"{row['self_memory_bytes'] / 1e6:,.1f} MB"] if memory else []),
                    ]
                    for row in profile["operators"][:SHOWN]
                ],
                f"{name}, the {SHOWN} operators with the most self time",
            )
        )
    if data["compared_with_published"]:
        blocks += _published(data["pytorch"], found.get("architecture"))
    return blocks


def _published(profile: Mapping[str, Any], architecture: Mapping[str, Any] | None) -> list[Block]:
    times = {row["operator"]: row["self_s"] for row in profile["operators"]}
    rows = [
        [what, percent(share), percent(sum(times.get(operator, 0.0) for operator in operators) / profile["all_s"])]
        for what, (share, operators) in PUBLISHED.items()
    ]
    if architecture is not None:
        peak = f"{architecture['activation_peak_bytes'] / 1e6:,.0f} MB, activations alone"
        rows.append(["peak memory", f"{PUBLISHED_PEAK_MB} MB, of what is not said", peak])
    return [
        Table(["PyTorch, self time", "published", "ours"], rows, "The published profile beside ours"),
        Paragraph(
            "The published one names neither machine nor length of the audio, on which the shares depend: "
            "convolutions grow with the length, attention with its square. Attention here is its products and "
            "softmax, written out."
        ),
    ]


def _draw(data: dict[str, Any], names: Mapping[str, str]) -> Any:
    layers = sorted({layer for key in names for layer in data[key]["layers"]}, key=place)
    figure = new_figure(max(9.0, 0.28 * len(layers) + 3), 6.5)
    panels = figure.subplots(len(names), 1, sharex=True)
    for axes, (key, name) in zip(panels, names.items(), strict=True):
        bottom = [0.0] * len(layers)
        for index, group in enumerate(GROUP_NAMES):
            times = [1000 * data[key]["layers"].get(layer, {}).get(group, 0) for layer in layers]
            axes.bar(range(len(layers)), times, bottom=bottom, color=colour(index), label=group, width=0.8)
            bottom = [low + time for low, time in zip(bottom, times, strict=True)]
        axes.set_ylabel("ms", fontsize=8)
        style(axes, title=name)
    panels[-1].set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=5, loc="outside lower center", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    rows: list[tuple[str, float | None, str]] = []
    for key, name in (("pytorch", "PyTorch"), ("onnxruntime", "ONNX Runtime")):
        rows += [
            (f"{name}, {group}", 100 * data[key]["groups"].get(group, 0) / data[key]["all_s"], "%")
            for group in GROUP_NAMES
        ]
    return rows
