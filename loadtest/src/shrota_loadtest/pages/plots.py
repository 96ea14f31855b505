"""The pictures of a load test."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shrota_client.pages.drawing import colour, new_figure, style

MIB = 2**20
MANY_DECADES = 6


def draw_latency(steps: Sequence[Mapping[str, Any]], unit: str, bound_s: float, best: float | None) -> Any:
    """Latency percentiles over the load, with the bound and the highest load that was carried."""
    figure = new_figure()
    axes = figure.subplots()
    ordered = _by_load(steps)
    for index, name in enumerate(("p50", "p90", "p95", "p99")):
        points = [(step["load"], step["latency_s"][name]) for step in ordered if step["latency_s"][name] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour(index), label=name)
    axes.axhline(bound_s, color="#4d4d4d", linestyle="--", linewidth=1, label=f"bound, {bound_s:g} s for p95")
    _mark(axes, best, unit)
    axes.set_yscale("log")
    axes.set_yticks(find_ticks(*axes.get_ylim()))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel(f"load, {unit}", fontsize=8)
    axes.set_ylabel("latency, s", fontsize=8)
    style(axes, title="Latency over load", grid="both")
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


def draw_throughput(steps: Sequence[Mapping[str, Any]], unit: str, best: float | None) -> Any:
    """Seconds of audio that arrived and that were answered a second, over the load."""
    figure = new_figure()
    axes = figure.subplots()
    ordered = _by_load(steps)
    loads = [step["load"] for step in ordered]
    arriving = [step["arriving_audio_seconds_per_second"] for step in ordered]
    axes.plot(loads, arriving, "--", color="#8a8a8a", label="arrived")
    axes.plot(loads, [step["audio_seconds_per_second"] for step in ordered], "o-", color=colour(0), label="answered")
    _mark(axes, best, unit)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"load, {unit}", fontsize=8)
    axes.set_ylabel("seconds of audio a second", fontsize=8)
    style(axes, title="Throughput over load", grid="both")
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


def draw_lengths(step: Mapping[str, Any], alone: Sequence[Mapping[str, Any]], unit: str) -> Any:
    """Latency by length of the utterance, at one load and alone."""
    figure = new_figure()
    axes = figure.subplots()
    names = [each["bucket"] for each in step["buckets"]]
    for index, name in enumerate(("p50", "p95", "max")):
        heights = [each["latency_s"][name] for each in step["buckets"]]
        places = [place + 0.2 * (index - 1.5) for place in range(len(names))]
        axes.bar(places, heights, 0.2, color=colour(index), label=name)
    before = {each["bucket"]: each["mean_latency_s"] for each in alone}
    places = [place + 0.3 for place in range(len(names))]
    axes.bar(places, [before.get(name, 0.0) for name in names], 0.2, color="#8a8a8a", label="mean, alone")
    axes.set_xticks(range(len(names)), [f"{each['bucket']}\n{each['requests']} requests" for each in step["buckets"]])
    axes.set_ylabel("latency, s", fontsize=8)
    style(axes, title=f"Latency by length of the utterance, at {step['load']:g} {unit}")
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


def draw_memory(memory: Mapping[str, Any], began_s: float, ended_s: float) -> Any:
    """Memory of each process over time; what it is about lies between the lines."""
    figure = new_figure()
    axes = figure.subplots()
    minutes = [seconds / 60 for seconds in memory["series"]["seconds"]]
    for index, (name, series) in enumerate(memory["series"]["bytes"].items()):
        values = [float("nan") if value is None else value / MIB for value in series]
        axes.plot(minutes, values, color=colour(index), linewidth=1.2, label=name)
    for moment_s in (began_s, ended_s):
        axes.axvline(moment_s / 60, color="#8a8a8a", linestyle=":", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes", fontsize=8)
    axes.set_ylabel("memory, MiB", fontsize=8)
    style(axes, title="Memory of the server's processes", grid="both")
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure


def find_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between the two; only powers of ten where that would be many, one number where none fits."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    leading = (1, 2, 5) if len(decades) < MANY_DECADES else (1,)
    ticks = [tick for decade in decades for digit in leading if low <= (tick := digit * 10.0**decade) <= high]
    return ticks or [float(f"{math.sqrt(low * high):.2g}")]


def _by_load(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """In the order of their loads; of one that was measured again, the longest."""
    found = {step["load"]: step for step in sorted(steps, key=lambda step: float(step["measured_s"]))}
    return [found[load] for load in sorted(found)]


def _mark(axes: Any, best: float | None, unit: str) -> None:
    """The highest load that was carried: the knee."""
    if best is not None:
        axes.axvline(best, color=colour(2), linewidth=1.5, label=f"highest carried, {best:g} {unit}")
