"""How cost grows with length, batch and threads."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_client.pages.host import available_memory
from shrota_export.engines import open_engine
from shrota_export.progress import step
from shrota_export.report.child import measure_process
from shrota_export.report.fit import exponent, quadratic
from shrota_export.report.material import Material
from shrota_export.report.timing import run_of, spread_text, take_turns

TITLE = "Scaling"
LENGTHS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
BATCHES = (1, 2, 4, 8)
BATCH_SECONDS = 5.0
ROUNDS = 7
MEMORY_LENGTHS_S = (5.0, 10.0, 20.0, 40.0)
MEMORY_BATCHES = (1, 2, 4, 8)


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """The float32 graph in ONNX Runtime: lengths by turns, batches by turns, threads by turns."""
    engine = open_engine(material.graph_path)
    lengths = {f"{seconds:g}": material.audio(seconds) for seconds in LENGTHS_S}
    batches = {str(rows): material.audio(BATCH_SECONDS, rows) for rows in BATCHES}
    threads = {str(count): open_engine(material.graph_path, threads=count) for count in thread_counts(material.threads)}
    whole = material.audio(material.seconds)
    with step("lengths"):
        by_length = take_turns({name: run_of(engine, batch) for name, batch in lengths.items()}, ROUNDS)
    with step("batches"):
        by_batch = take_turns({name: run_of(engine, batch) for name, batch in batches.items()}, ROUNDS)
    with step("threads"):
        by_threads = take_turns({name: run_of(each, whole) for name, each in threads.items()}, ROUNDS)
    memory = _memory(material)
    return {
        "seconds": material.seconds,
        "memory": memory,
        "available_bytes": available_memory(),
        "batch_seconds": BATCH_SECONDS,
        "length": {name: spread.as_dict() for name, spread in by_length.items()},
        "batch": {name: spread.as_dict() for name, spread in by_batch.items()},
        "threads": {name: spread.as_dict() for name, spread in by_threads.items()},
    }


def _memory(material: Material) -> dict[str, dict[str, float]]:
    """Peak bytes by length and by batch, each in a process of its own."""
    found: dict[str, dict[str, float]] = {"length": {}, "batch": {}}
    sizes = [("length", f"{seconds:g}", seconds, 1) for seconds in MEMORY_LENGTHS_S]
    sizes += [("batch", str(rows), BATCH_SECONDS, rows) for rows in MEMORY_BATCHES]
    path = material.folder / "audio.npy"
    with step("memory, each in a process of its own"):
        for axis, name, seconds, rows in sizes:
            np.save(path, material.audio(seconds, rows)[0])
            found[axis][name] = measure_process("onnx", material.graph_path, path)["peak_bytes"]
    return found


def largest_that_fits(memory: Mapping[str, float], available: float) -> float | None:
    """Where a + b * size + c * size ** 2, fitted to the memory of each size, reaches what is available.

    Args:
        memory: bytes by size.
        available: bytes.

    Returns:
        The size, 0 if not even the constant part fits; None if memory does not grow.
    """
    constant, linear, square = quadratic([float(size) for size in memory], list(memory.values()))
    rest = available - constant
    if rest <= 0:
        return 0.0
    if square:
        return float((-linear + np.sqrt(linear**2 + 4 * square * rest)) / (2 * square))
    return float(rest / linear) if linear else None


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
    labels = {
        "length": "length, s, at batch 1",
        "batch": f"batch of {data['batch_seconds']:g} s each",
        "threads": f"threads, {data['seconds']:g} s at batch 1",
    }
    sentences = _sentences(data, fitted)
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
        Table(
            ["what grows", "to", "peak memory"],
            [
                [labels[axis], size, f"{bytes_ / 1e6:,.0f} MB"]
                for axis, sizes in data["memory"].items()
                for size, bytes_ in sizes.items()
            ],
            "Peak memory of a process of its own, without the libraries themselves",
        ),
        Picture(
            "scaling",
            "Time over length, batch and threads, with the fitted exponents (dashed), and memory",
            _draw(data, fitted, labels),
        ),
    ]


def _sentences(data: Mapping[str, Any], fitted: Mapping[str, Any]) -> list[str]:
    longest = list(data["length"])[-1]
    constant, linear, square = fitted["quadratic"]
    by_square = (
        f"Fitted as {1000 * constant:.2f} ms + {1000 * linear:.2f} ms a second + {1000 * square:.3f} ms a second "
        f"squared: at {longest} s, {100 * fitted['quadratic_share']:.0f} % of the time grows with the square, as "
        "attention's scores do."
    )
    sentences = [
        (
            "In float32, in ONNX Runtime with all optimisations, time grows as length to the power of "
            f"{fitted['length']:.2f} over all lengths, and of {fitted['length_long']:.2f} between the last two."
        ),
        by_square,
        f"It grows as batch to the power of {fitted['batch']:.2f}: below 1 a batch is a gain.",
    ]
    if fitted["threads"] is not None:
        sentences.append(f"With threads it grows to the power of {fitted['threads']:.2f}: -1 would be perfect.")
    available = data["available_bytes"]
    ends = {axis: largest_that_fits(sizes, available) for axis, sizes in data["memory"].items()}
    rows = f"a batch ({data['batch_seconds']:g} s each)"
    bounds = [
        f"{what} of {number(ends[axis], 2)}{unit}"
        for axis, what, unit in (("length", "a length", " s"), ("batch", rows, ""))
        if ends[axis]
    ]
    if bounds:
        largest = [list(sizes)[-1] for sizes in data["memory"].values()]
        sentences.append(
            f"Of the {available / 2**30:.1f} GiB that were free, the fitted memory would fill all at "
            f"{' or '.join(bounds)}: a projection from at most {largest[0]} s and {largest[1]} rows, which was not "
            "run."
        )
    return sentences


def _audio(data: Mapping[str, Any], axis: str, size: str) -> float:
    return float(
        {"length": float(size), "batch": data["batch_seconds"] * float(size), "threads": data["seconds"]}[axis]
    )


def _draw(data: dict[str, Any], fitted: Mapping[str, Any], labels: Mapping[str, str]) -> Any:
    figure = new_figure(11, 6.6)
    upper, lower = figure.subplots(2, 3)
    for axes, (axis, label) in zip(upper, labels.items(), strict=True):
        sizes = [float(size) for size in data[axis]]
        times = [1000 * spread["median"] for spread in data[axis].values()]
        low = [1000 * spread["low"] for spread in data[axis].values()]
        high = [1000 * spread["high"] for spread in data[axis].values()]
        axes.fill_between(sizes, low, high, color=colour(0), alpha=0.25, linewidth=0)
        if fitted[axis] is not None:
            middle = float(np.exp(np.mean(np.log(times)) - fitted[axis] * np.mean(np.log(sizes))))
            axes.plot(sizes, [middle * size ** fitted[axis] for size in sizes], "--", color=colour(3), linewidth=1)
        axes.plot(sizes, times, "o-", color=colour(0))
        power = "" if fitted[axis] is None else f": exponent {fitted[axis]:.2f}"
        _scale(axes, sizes, times, label)
        style(axes, title=f"ms over {axis}{power}")
    for axes, (axis, memory) in zip(lower, data["memory"].items(), strict=False):
        sizes = [float(size) for size in memory]
        megabytes = [size / 1e6 for size in memory.values()]
        axes.plot(sizes, megabytes, "o-", color=colour(2))
        _scale(axes, sizes, megabytes, labels[axis])
        style(axes, title=f"peak memory over {axis}, MB")
    lower[2].axis("off")
    return figure


def _scale(axes: Any, sizes: list[float], values: list[float], label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.set_yticks([min(values), max(values)], [number(min(values)), number(max(values))])
    axes.set_xlabel(label, fontsize=8)


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    fitted = fits(data)
    return [
        ("exponent of length", fitted["length"], ""),
        ("exponent of batch", fitted["batch"], ""),
        ("exponent of threads", fitted["threads"], ""),
        ("quadratic part at the longest", 100 * fitted["quadratic_share"], "%"),
    ]
