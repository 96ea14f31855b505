"""How cost grows with length, batch and threads."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shrota_export.progress import step
from shrota_export.report.blocks import Block, Paragraph, Picture, Table, number
from shrota_export.report.drawing import colour, new_figure, style
from shrota_export.report.fit import exponent, quadratic
from shrota_export.report.material import Material
from shrota_export.report.timing import run_of, spread_text, take_turns
from shrota_export.report.variants import run_graph

TITLE = "Scaling"
LENGTHS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
BATCHES = (1, 2, 4, 8)
BATCH_SECONDS = 5.0
ROUNDS = 7


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """The float32 graph in ONNX Runtime: lengths by turns, batches by turns, threads by turns."""
    engine = run_graph(material.graph_path)
    lengths = {f"{seconds:g}": material.audio(seconds) for seconds in LENGTHS_S}
    batches = {str(rows): material.audio(BATCH_SECONDS, rows) for rows in BATCHES}
    threads = {str(count): run_graph(material.graph_path, threads=count) for count in thread_counts(material.threads)}
    whole = material.audio(material.seconds)
    with step("lengths"):
        by_length = take_turns({name: run_of(engine, batch) for name, batch in lengths.items()}, ROUNDS)
    with step("batches"):
        by_batch = take_turns({name: run_of(engine, batch) for name, batch in batches.items()}, ROUNDS)
    with step("threads"):
        by_threads = take_turns({name: run_of(each, whole) for name, each in threads.items()}, ROUNDS)
    return {
        "seconds": material.seconds,
        "batch_seconds": BATCH_SECONDS,
        "length": {name: spread.as_dict() for name, spread in by_length.items()},
        "batch": {name: spread.as_dict() for name, spread in by_batch.items()},
        "threads": {name: spread.as_dict() for name, spread in by_threads.items()},
    }


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4 ... and all cores."""
    counts = [1]
    while counts[-1] * 2 <= cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == cores else [*counts, cores]


def fits(data: Mapping[str, Any]) -> dict[str, Any]:
    """Exponents of the times, and the share of the quadratic part at the longest."""
    found: dict[str, Any] = {}
    for axis in ("length", "batch", "threads"):
        sizes = [float(size) for size in data[axis]]
        times = [spread["median"] for spread in data[axis].values()]
        found[axis] = exponent(sizes, times) if len(sizes) > 1 else None
        if axis == "length":
            constant, linear, square = quadratic(sizes, times)
            longest = sizes[-1]
            whole = constant + linear * longest + square * longest**2
            found["quadratic"] = [constant, linear, square]
            found["quadratic_share"] = square * longest**2 / whole
            found["length_long"] = exponent(sizes[-2:], times[-2:])
    return found


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:  # noqa: ARG001
    """The three axes with their exponents."""
    fitted = fits(data)
    longest = list(data["length"])[-1]
    constant, linear, square = fitted["quadratic"]
    sentences = [
        (
            f"Time grows as length to the power of {fitted['length']:.2f} over all lengths, and of "
            f"{fitted['length_long']:.2f} "
            f"between the last two. Fitted as {1000 * constant:.2f} ms + {1000 * linear:.2f} ms a second + "
            f"{1000 * square:.3f} ms a second squared: at {longest} s the quadratic part, which is attention's, is "
            f"{100 * fitted['quadratic_share']:.0f} % of the time."
        ),
        f"It grows as batch to the power of {fitted['batch']:.2f}: 1 is no gain from batches, less is a gain.",
    ]
    if fitted["threads"] is not None:
        sentences.append(f"With threads it grows to the power of {fitted['threads']:.2f}: -1 would be perfect.")
    sentences.append(
        "Float32, ONNX Runtime with all optimisations. The largest length and batch that fit in memory are not "
        "measured "
        "by this command."
    )
    labels = {
        "length": "length, s, at batch 1",
        "batch": f"batch of {data['batch_seconds']:g} s each",
        "threads": f"threads, {data['seconds']:g} s at batch 1",
    }
    return [
        Paragraph(" ".join(sentences)),
        Table(
            ["what grows", "to", "time", "per second of audio"],
            [
                [label, size, spread_text(spread), f"{1000 * spread['median'] / _audio(data, axis, size):,.2f} ms"]
                for axis, label in labels.items()
                for size, spread in data[axis].items()
            ],
            "Times: median and quartiles",
        ),
        Picture(
            "scaling",
            "Time over length, batch and threads, with the fitted exponents (dashed)",
            _draw(data, fitted, labels),
        ),
    ]


def _audio(data: Mapping[str, Any], axis: str, size: str) -> float:
    return float(
        {"length": float(size), "batch": data["batch_seconds"] * float(size), "threads": data["seconds"]}[axis]
    )


def _draw(data: dict[str, Any], fitted: Mapping[str, Any], labels: Mapping[str, str]) -> Any:
    figure = new_figure(11, 3.6)
    for axes, (axis, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
        sizes = [float(size) for size in data[axis]]
        times = [1000 * spread["median"] for spread in data[axis].values()]
        low = [1000 * spread["low"] for spread in data[axis].values()]
        high = [1000 * spread["high"] for spread in data[axis].values()]
        axes.fill_between(sizes, low, high, color=colour(0), alpha=0.25, linewidth=0)
        axes.plot(sizes, times, "o-", color=colour(0))
        if fitted[axis] is not None:
            middle = float(np.exp(np.mean(np.log(times)) - fitted[axis] * np.mean(np.log(sizes))))
            fit = [middle * size ** fitted[axis] for size in sizes]
            axes.plot(sizes, fit, "--", color=colour(3), linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
        ticks = [min(times), max(times)]
        axes.set_yticks(ticks, [number(tick) for tick in ticks])
        axes.set_xlabel(label, fontsize=8)
        power = "" if fitted[axis] is None else f": exponent {fitted[axis]:.2f}"
        style(axes, title=f"ms over {axis}{power}")
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    fitted = fits(data)
    return [
        ("exponent of length", fitted["length"], ""),
        ("exponent of batch", fitted["batch"], ""),
        ("exponent of threads", fitted["threads"], ""),
        ("quadratic part at the longest", 100 * fitted["quadratic_share"], "%"),
    ]
