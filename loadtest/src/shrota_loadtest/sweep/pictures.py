"""Pictures of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from shrota_client.pages.drawing import colour, new_figure, style
from shrota_loadtest.sweep.plan import BATCH, CONCURRENCY, RATE, Way
from shrota_loadtest.sweep.verdict import Spread

NAMES = {CONCURRENCY: "concurrency", RATE: "rate", BATCH: "batch"}
"""Of the files, by axis."""
CONFIGURATION = "configuration"
PICTURES = frozenset({*NAMES.values(), CONFIGURATION})
UNITS = {CONCURRENCY: "requests under way", RATE: "requests a second", BATCH: "rows of a request"}
PANELS = (
    ("audio_seconds_per_second", "audio-seconds per second"),
    ("p95_ms", "p95 latency, ms"),
)


def by_way(points: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Points in the order in which they were measured, by what was asked and how."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        label = Way(point["model"], point["protocol"], point["shared_memory"]).label
        found.setdefault(label, []).append(point)
    return found


def draw_axis(points: Sequence[Mapping[str, Any]], axis: str) -> Any:
    """Throughput and p95 over one axis, a line for each way; hollow where perf_analyzer's windows differed too much."""
    figure = new_figure(11, 4.6)
    panels = figure.subplots(1, len(PANELS))
    measured = [point for point in points if "failed" not in point]
    ticks = sorted({point["value"] for point in measured})
    for axes, (name, title) in zip(panels, PANELS, strict=True):
        for index, (label, line) in enumerate(by_way(measured).items()):
            line = sorted(line, key=lambda point: point["value"])  # noqa: PLW2901
            at, height = [point["value"] for point in line], [point[name] for point in line]
            axes.plot(at, height, "-", color=colour(index), linewidth=1.4, label=label)
            for stable in (True, False):
                chosen = [number for number, point in enumerate(line) if point["stable"] is stable]
                axes.plot(
                    [at[number] for number in chosen],
                    [height[number] for number in chosen],
                    "o",
                    color=colour(index),
                    markersize=5,
                    markerfacecolor=colour(index) if stable else "none",
                )
        axes.set_ylim(bottom=0)
        if ticks and ticks[0] * 4 <= ticks[-1]:
            axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
        axes.minorticks_off()
        axes.set_xlabel(UNITS[axis], fontsize=8)
        style(axes, title=title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=8, frameon=False)
    return figure


def draw_configurations(throughput: Mapping[str, Sequence[float]], latency: Mapping[str, Sequence[float]]) -> Any:
    """Median, least and greatest of each configuration's rounds: throughput on the left, p95 latency on the right."""
    names = list(throughput)
    figure = new_figure(11, 1.6 + 0.42 * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("utterances per second, many at once", "p95 latency, ms, few at once")
    for axes, values, title in zip(panels, (throughput, latency), titles, strict=True):
        for place, name in enumerate(names):
            if not values[name]:
                axes.annotate("not measured", (0, place), fontsize=8, va="center")
                continue
            spread = Spread.of(values[name])
            axes.barh(place, spread.median, height=0.62, color=colour(0 if place else 6), alpha=0.85)
            axes.plot([spread.low, spread.high], [place, place], "-", color="#222222", linewidth=1.6)
            axes.plot(values[name], [place] * len(values[name]), "o", color="#222222", markersize=3)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(left=0)
        style(axes, title=title, grid="x")
    panels[0].invert_yaxis()  # the first on top, in both
    return figure
