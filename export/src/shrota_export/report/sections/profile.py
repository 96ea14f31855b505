"""Where the time goes: by operator and by layer, in PyTorch and in ONNX Runtime."""

from collections.abc import Mapping
from typing import Any

import torch

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, percent
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.progress import step
from shrota_export.report.layers import place
from shrota_export.report.material import Material, is_published
from shrota_export.report.profilers import GROUP_NAMES, GROUPS, RUNS, profile_onnxruntime, profile_pytorch

TITLE = "Profile"
SHOWN = 12
"""Operators in a table."""
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


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Profiles both on the same audio."""
    audio, lengths = material.audio(material.seconds)
    with step("profile PyTorch"):
        pytorch = profile_pytorch(material.engine, torch.from_numpy(audio), torch.from_numpy(lengths))
    with step("profile ONNX Runtime"):
        runtime = profile_onnxruntime(material.graph_path, material.folder, {"AUDIO": audio, "NUM_SAMPLES": lengths})
    return {
        "seconds": material.seconds,
        "runs": RUNS,
        "pytorch": pytorch,
        "onnxruntime": runtime,
        "compared_with_published": is_published(material.config),
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
