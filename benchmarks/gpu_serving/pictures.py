"""The pictures of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu_serving.kernels import KINDS
from shrota_client.pages.drawing import colour, new_figure, style

BATCHES, KERNELS, ROOFLINE, LOAD = "batches", "kernels", "roofline", "load"
PICTURES = frozenset({BATCHES, KERNELS, ROOFLINE, LOAD})
IDLE = "GPU idle"


def draw_batches(points: Sequence[Mapping[str, Any]]) -> Any:
    """Throughput over rows of a run, a line for each engine."""
    figure = new_figure(9, 4.4)
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(point["engine"] for point in points)):
        line = [point for point in points if point["engine"] == name]
        axes.plot(
            [point["rows"] for point in line],
            [point["audio_seconds_per_second"] for point in line],
            "o-",
            color=colour(index),
            linewidth=1.4,
            markersize=4,
            label=name,
        )
    ticks = sorted({point["rows"] for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(rows) for rows in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("utterances in a run", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    style(axes, title="audio-seconds per second, in process")
    return figure


def draw_kernels(engines: Mapping[str, Mapping[str, Any]]) -> Any:
    """A stacked bar for each engine: milliseconds by kind."""
    figure = new_figure(10, 1.6 + 0.5 * len(engines))
    axes = figure.subplots()
    left = dict.fromkeys(engines, 0.0)
    for index, kind in enumerate((*KINDS, IDLE)):
        widths = [
            (each["idle_ms"] or 0.0) if kind == IDLE else each["kinds"].get(kind, 0.0) for each in engines.values()
        ]
        faint = kind == IDLE
        axes.barh(
            list(engines),
            widths,
            left=list(left.values()),
            height=0.6,
            label=kind,
            color="none" if faint else colour(index),
            edgecolor="#999999" if faint else "none",
        )
        for name, width in zip(engines, widths, strict=True):
            left[name] += width
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of one run", fontsize=8)
    style(axes, grid="x")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def draw_roofline(roofs: Mapping[str, float], bandwidth: float, points: Sequence[Mapping[str, Any]]) -> Any:
    """What the card gives, and where each part of the model lies.

    Args:
        roofs: TFLOP/s of matrix products, by name.
        bandwidth: TB/s.
        points: ``engine``, ``part``, ``intensity`` (operations a byte), ``tflops``.
    """
    figure = new_figure(9, 5.2)
    axes = figure.subplots()
    intensities = [point["intensity"] for point in points]
    low = min([*intensities, min(roofs.values()) / bandwidth]) / 3
    high = max([*intensities, max(roofs.values()) / bandwidth]) * 3
    for index, (name, roof) in enumerate(roofs.items()):
        ridge = roof / bandwidth
        axes.plot(
            [low, ridge, high],
            [low * bandwidth, roof, roof],
            color="#444444",
            linewidth=1.2,
            linestyle=("-", "--", ":")[index % 3],
            label=f"{name}: {roof:,.3g} TFLOP/s, memory {bandwidth:.2g} TB/s",
        )
    markers = "osD^vP*X"
    parts = list(dict.fromkeys(point["part"] for point in points))
    names = list(dict.fromkeys(point["engine"] for point in points))
    for point in points:
        axes.plot(
            point["intensity"],
            point["tflops"],
            markers[parts.index(point["part"]) % len(markers)],
            color=colour(names.index(point["engine"])),
            markersize=8,
            label=f"{point['engine']}: {point['part']}",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_xlabel("floating-point operations for each byte that memory must move", fontsize=8)
    axes.set_ylabel("TFLOP/s", fontsize=8)
    style(axes, grid="both")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return figure


def draw_load(lines: Mapping[str, Sequence[tuple[float, float]]], bar: float | None) -> Any:
    """Audio-seconds per second through ``asr`` over requests under way, a line for each configuration and way."""
    figure = new_figure(10, 4.8)
    axes = figure.subplots()
    for index, (name, line) in enumerate(lines.items()):
        dashed = "shared memory" in name
        axes.plot(
            *zip(*line, strict=True),
            "s--" if dashed else "o-",
            color=colour(index // 2),
            linewidth=1.3,
            markersize=4,
            label=name,
            markerfacecolor="none" if dashed else colour(index // 2),
        )
    if bar is not None:
        axes.axhline(bar, color="#a33b3b", linewidth=1, linestyle=":", label=f"the bar, {bar:,.0f}")
    ticks = sorted({at for line in lines.values() for at, _ in line})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests under way", fontsize=8)
    style(axes, title="audio-seconds per second through asr")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
