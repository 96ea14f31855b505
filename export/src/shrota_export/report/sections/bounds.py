"""What further work could bring at most, from the measured profile."""

from collections.abc import Mapping
from typing import Any

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.report.fit import amdahl
from shrota_export.report.material import Material

TITLE = "Next"
IDEAS = {
    "a kernel for attention between its products": ("softmax",),
    "norms fused into their neighbours": ("normalisation",),
    "GELU fused into the product before it": ("GELU",),
    "no copies, transpositions and shapes": ("moving",),
    "additions and factors fused into their neighbours": ("additions, factors",),
    "all of these": ("softmax", "normalisation", "GELU", "moving", "additions, factors"),
    "convolutions in 8 bits, or made faster": ("convolution",),
    "products in 8 bits, or made faster": ("products",),
    "products and convolutions": ("products", "convolution"),
}
"""What could be done, and the groups of operators whose time it would lessen."""
SPEEDUPS = (2.0, 4.0)


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Shares of ONNX Runtime's profile; nothing is run."""
    profile = found["profile"]["onnxruntime"]
    shares = {group: time / profile["all_s"] for group, time in profile["groups"].items()}
    return {"shares": {idea: sum(shares.get(group, 0.0) for group in groups) for idea, groups in IDEAS.items()}}


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:
    """Bounds; what int8 did, where that is measured."""
    blocks: list[Block] = [
        Paragraph(
            "Amdahl's law on the profile of ONNX Runtime in float32: if a part with the share s of the time becomes "
            "k times faster, the whole becomes 1 / (1 - s + s / k) times faster. The last column lets the part cost "
            "nothing at all, which no work can do. These are bounds, not promises."
        ),
        Table(
            [
                "if this were done",
                "share of the time",
                *[f"{factor:g} times faster" for factor in SPEEDUPS],
                "at no cost",
            ],
            [
                [idea, percent(share), *[f"{amdahl(share, factor):.2f}" for factor in SPEEDUPS], f"{bound(share):.2f}"]
                for idea, share in data["shares"].items()
            ],
            "How many times faster the whole would be at most",
        ),
        Picture("next", "Bounds: how many times faster the whole would be at most", _draw(data)),
    ]
    variants = found.get("backends", {}).get("variants", {})
    if {"ONNX Runtime int8", "ONNX Runtime fp32"} <= variants.keys():
        gain = variants["ONNX Runtime fp32"]["latency"]["median"] / variants["ONNX Runtime int8"]["latency"]["median"]
        blocks.append(
            Paragraph(
                f"Measured above: int8, which makes products and most convolutions 8-bit, is {gain:.2f} times as "
                "fast as float32 in ONNX Runtime; at no cost they would give "
                f"{bound(data['shares']['products and convolutions']):.2f}. Training with quantisation in mind would "
                "lower int8's errors, not its time."
            )
        )
    if "architecture" in found:
        weights = found["architecture"]["weight_bytes"]
        blocks.append(
            Paragraph(
                f"Memory: weights in 8 bits are at best {number(weights['int8'] / 1e6)} MB instead of "
                f"{number(weights['fp32'] / 1e6)} MB; the activations of one run are at most "
                f"{number(found['architecture']['activation_peak_bytes'] / 1e6)} MB."
            )
        )
    return blocks


def bound(share: float) -> float:
    """The speed-up if the part cost nothing."""
    return amdahl(share, float("inf"))


def _draw(data: dict[str, Any]) -> Any:
    shares = data["shares"]
    figure = new_figure(9, 0.34 * len(shares) + 1)
    axes = figure.add_subplot()
    places = range(len(shares))
    axes.barh(places, [bound(share) - 1 for share in shares.values()], left=1, color="#c9d6e6", label="at no cost")
    for index, factor in reversed(list(enumerate(SPEEDUPS))):
        gains = [amdahl(share, factor) for share in shares.values()]
        axes.plot(
            gains, places, "D" if index else "o", color=colour(index), markersize=5, label=f"{factor:g} times faster"
        )
    axes.set_yticks(places, list(shares), fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="#555555", linewidth=0.8)
    axes.set_xlim(left=0.97)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    style(axes, grid="x")
    axes.legend(fontsize=8, loc="center right", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    return [(f"bound: {idea}", bound(share), "times") for idea, share in data["shares"].items()]
