"""How weights and activations are distributed, and which of them 16 or 8 bits would break."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.precision.kinds import FLOAT16_MAX
from shrota_export.precision.mixed import MARGIN
from shrota_export.precision.ranges import by_layer
from shrota_export.progress import step
from shrota_export.report import passes
from shrota_export.report.apart import apart
from shrota_export.report.distributions import OUTLIER, describe_weights, matrices_of, measure_outputs
from shrota_export.report.layers import kind_of, place
from shrota_export.report.material import Material

TITLE = "Weights and activations"
BINS = 80


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """All weights of matrices and kernels; the ranges of all tensors on some speech; the layers' outputs."""
    weights = {}
    pooled: defaultdict[str, Any] = defaultdict(lambda: np.zeros(BINS, np.int64))
    edges = np.linspace(-OUTLIER, OUTLIER, BINS + 1)
    with step("look at the weights"):
        for name, tensor in matrices_of(material.engine).items():
            weight = tensor.detach().numpy()
            weights[name] = describe_weights(weight)
            deviation = weights[name]["deviation"] or 1.0
            pooled[kind_of(name)] += np.histogram((weight - weight.mean()) / deviation, edges)[0]
    with step("look at the outputs of the layers"):
        outputs = measure_outputs(material)
    unsafe = apart(passes.unsafe_nodes_of, material.graph_path, material.ranges)
    return {
        "weights": weights,
        "histograms": {kind: [int(count) for count in counts] for kind, counts in pooled.items()},
        "outputs": outputs,
        "ranges": [
            {
                "layer": row.layer,
                "tensor": row.tensor,
                "largest": _finite(row.largest),
                "headroom": _finite(row.headroom),
            }
            for row in sorted(by_layer(material.ranges), key=lambda row: place(row.layer))
        ],
        "kept": {name: _finite(largest) for name, largest in unsafe.items()},
        "speech_s": sum(w.size for each in material.some_speech for w in each.windows)
        / material.checkpoint.sample_rate,
        "margin": MARGIN,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:  # noqa: ARG001
    """Weights by kind, activations by layer, the verdict on each precision."""
    kinds: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, described in data["weights"].items():
        kinds[kind_of(name)].append(described)
    limit = FLOAT16_MAX / data["margin"]
    return [
        Paragraph(verdict(data)),
        Table(
            [
                "weights of",
                "matrices",
                "numbers",
                "deviation",
                "largest",
                f"beyond {OUTLIER:g} deviations",
                "fp16 changes",
                "bf16 changes",
                "int8 changes",
            ],
            [_row(kind, described) for kind, described in kinds.items()],
            "Weights: what rounding changes is the root mean square of the change over that of the weights, the "
            "worst matrix of each kind; int8 has one scale for each output channel",
        ),
        Picture(
            "weights",
            "Distribution of the weights by kind, in standard deviations of their matrix",
            _draw_weights(data),
        ),
        Table(
            [
                "layer",
                "0.1 % are below",
                "1 %",
                "median",
                "99 %",
                "99.9 %",
                "largest",
                "largest channel over the middle one",
            ],
            [
                [
                    name,
                    *[number(value) for value in each["quantiles"]],
                    number(each["largest"]),
                    f"{number(each['channel_ratio'])} (channel {each['channel']})",
                ]
                for name, each in data["outputs"].items()
            ],
            f"Outputs of the encoder's layers on {data['speech_s']:.0f} s of speech",
        ),
        Table(
            ["layer", "largest magnitude", "times in float16", "where", "beyond float16's margin"],
            [
                [
                    row["layer"],
                    number(row["largest"]),
                    number(row["headroom"]),
                    row["tensor"],
                    "" if row["largest"] is not None and row["largest"] <= limit else "yes",
                ]
                for row in data["ranges"]
            ],
            "The largest number of any tensor of each layer in the graph, on the same speech; float16 ends at "
            f"65,504, and the margin is {data['margin']:g} times. The normalizer holds a count of samples there, "
            "which is float32 in all graphs",
        ),
        Picture("activations", "Ranges of the activations by layer, beside float16's end", _draw_ranges(data)),
    ]


def _row(kind: str, described: list[dict[str, Any]]) -> list[str]:
    count = sum(each["count"] for each in described)
    outliers = sum(each["outliers"] * each["count"] for each in described) / count
    deviation = float(np.sqrt(sum(each["deviation"] ** 2 * each["count"] for each in described) / count))
    errors = [_worst([each["error"][name] for each in described]) for name in ("fp16", "bf16", "int8")]
    return [
        kind,
        str(len(described)),
        f"{count:,}",
        number(deviation),
        number(max(each["largest"] for each in described)),
        f"{1e6 * outliers:,.1f} in a million",
        *[_change(error) for error in errors],
    ]


def _worst(errors: list[float | None]) -> float | None:
    """The largest; None, which is overflow, is worse than any."""
    known = [error for error in errors if error is not None]
    return max(known) if len(known) == len(errors) else None


def _change(error: float | None) -> str:
    if error is None:
        return "overflow"
    return f"{number(100 * error, 2)} %" if error else "nothing: they are numbers of that type"


def verdict(data: Mapping[str, Any]) -> str:
    """What would break, in words."""
    kept = data["kept"]
    largest = max(data["outputs"].items(), key=lambda item: item[1]["largest"])
    worst = max(data["weights"].items(), key=lambda item: item[1]["error"]["int8"] or 0)
    sparse = [name for name, each in data["weights"].items() if each["below_float16"] > 0.01]  # noqa: PLR2004
    sentences = [
        f"fp16 graphs keep {len(kept)} nodes in float32 that come within {data['margin']:g} times of float16's end: "
        f"{', '.join(list(kept)[:3])}{' and others' if len(kept) > 3 else ''}."  # noqa: PLR2004
        if kept
        else f"No node of fp16 graphs comes within {data['margin']:g} times of float16's end on this speech, so none "
        "must stay in float32.",
        f"The largest output of a layer is {number(largest[1]['largest'])}, of {largest[0]}.",
    ]
    if sparse:
        sentences.append(f"In {', '.join(sparse[:3])} more than 1 % of the weights are too small for float16.")
    sentences.append(
        "bfloat16 has float32's range, so nothing overflows there; it has 8 bits of precision, float16 11."
    )
    sentences.append(
        f"int8 changes the weights of {worst[0]} most, by {percent(worst[1]['error']['int8'])} of their size; a "
        "layer whose largest channel stands far out makes the scale of a row coarse for all other channels (last "
        "column below)."
    )
    return " ".join(sentences)


def _draw_weights(data: dict[str, Any]) -> Any:
    figure = new_figure(9, 3.8)
    axes = figure.add_subplot()
    edges = np.linspace(-OUTLIER, OUTLIER, BINS + 1)
    for index, (kind, counts) in enumerate(data["histograms"].items()):
        density = np.asarray(counts) / max(1, sum(counts)) / (edges[1] - edges[0])
        axes.stairs(np.where(density > 0, density, np.nan), edges, color=colour(index), label=kind, linewidth=1.4)
    middle = (edges[1:] + edges[:-1]) / 2
    axes.plot(middle, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), color="black", linestyle=":", label="normal")
    axes.set(yscale="log", ylim=(1e-7, 3))
    axes.set_xlabel("standard deviations", fontsize=8)
    axes.set_ylabel("density", fontsize=8)
    style(axes)
    figure.legend(fontsize=8, loc="outside right upper", frameon=False)
    return figure


def _draw_ranges(data: dict[str, Any]) -> Any:
    rows = [row for row in data["ranges"] if row["largest"]]
    figure = new_figure(max(9.0, 0.28 * len(rows) + 3), 4.2)
    axes = figure.add_subplot()
    axes.plot([row["largest"] for row in rows], "o-", color=colour(0), markersize=4, label="largest of any tensor")
    places = {row["layer"]: index for index, row in enumerate(rows)}
    known = [(places[name], each) for name, each in data["outputs"].items() if name in places]
    if known:
        axes.plot(
            [place for place, _ in known],
            [max(abs(each["quantiles"][0]), abs(each["quantiles"][-1])) for _, each in known],
            "s",
            color=colour(2),
            markersize=4,
            label="99.8 % of the layer's output are below",
        )
    axes.axhline(FLOAT16_MAX, color=colour(3), label="float16 ends: 65,504")
    axes.axhline(FLOAT16_MAX / data["margin"], color=colour(3), linestyle="--", label=f"its {data['margin']:g}th part")
    axes.set_yscale("log")
    axes.set_ylabel("magnitude", fontsize=8)
    style(axes)
    axes.set_xticks(range(len(rows)), [row["layer"] for row in rows], rotation=90, fontsize=7)
    figure.legend(fontsize=8, ncols=2, loc="outside upper center", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    known = [row["largest"] for row in data["ranges"] if row["largest"] is not None]
    errors = [each["error"]["int8"] or 0 for each in data["weights"].values()]
    return [
        ("largest activation", max(known, default=None), ""),
        ("largest weight", max(each["largest"] for each in data["weights"].values()), ""),
        ("worst change of weights by int8", 100 * max(errors), "%"),
    ]
