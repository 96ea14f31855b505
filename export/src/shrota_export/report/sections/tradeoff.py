"""What accuracy costs in speed: the efficient frontier of the variants."""

from collections.abc import Mapping
from typing import Any

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.report.fit import frontier
from shrota_export.report.material import Material
from shrota_export.report.sections.backends import best

TITLE = "Trade-off"


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Points of the section on backends: cost (errors, or the difference where words mean nothing) and throughput."""
    variants = found["backends"]["variants"]
    rated = all(each["errors"] for each in variants.values())
    points = {}
    for name, each in variants.items():
        cost = 100 * each["errors"]["word_error_rate"] if rated else each["difference"]["mean"]
        if cost is not None:
            interval = each["errors"]["word_error_rate_interval"] if rated else None
            bounds = [100 * value for value in interval] if interval else None
            points[name] = {
                "cost": cost,
                "interval": bounds,
                "throughput": best(each)[1],
                "latency_s": each["latency"]["median"],
            }
    pairs = [(each["cost"], each["throughput"]) for each in points.values()]
    names = list(points)
    return {
        "unit": "word error rate, %" if rated else "mean difference in log-probability",
        "points": points,
        "frontier": [names[index] for index in frontier(pairs)],
    }


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:  # noqa: ARG001
    """Points and frontier."""
    efficient = data["frontier"]
    return [
        Paragraph(
            f"Efficient, so that no other is both at least as good and at least as fast: {', '.join(efficient)}. "
            "Differences of errors within the intervals of the section on backends are no differences."
        ),
        Table(
            ["", data["unit"], "most throughput, s/s", "latency at batch 1", "efficient"],
            [
                [
                    name,
                    number(each["cost"]),
                    number(each["throughput"]),
                    f"{1000 * each['latency_s']:,.1f} ms",
                    "yes" if name in efficient else "",
                ]
                for name, each in data["points"].items()
            ],
        ),
        Picture(
            "tradeoff",
            "Errors and latency against throughput; rings and line are the efficient frontier, bars 95 % intervals",
            _draw(data),
        ),
    ]


def _draw(data: dict[str, Any]) -> Any:
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for index, (name, each) in enumerate(data["points"].items()):
        left.plot(each["throughput"], each["cost"], "o", color=colour(index), markersize=8, label=name)
        if each["interval"]:
            left.vlines(each["throughput"], *each["interval"], color=colour(index), linewidth=1, alpha=0.6)
        right.plot(each["throughput"], 1000 * each["latency_s"], "o", color=colour(index), markersize=8)
    line = [data["points"][name] for name in data["frontier"]]
    left.plot(
        [each["throughput"] for each in line],
        [each["cost"] for each in line],
        color="#555555",
        linewidth=1,
        label="efficient",
    )
    left.plot(
        [each["throughput"] for each in line],
        [each["cost"] for each in line],
        "o",
        markersize=13,
        fillstyle="none",
        color="#555555",
    )
    for axes in (left, right):
        axes.set_xlim(0, 1.08 * max(each["throughput"] for each in data["points"].values()))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("most throughput, seconds of audio per second", fontsize=8)
    style(left, title=data["unit"])
    style(right, title="latency at batch 1, ms")
    figure.legend(fontsize=8, ncols=3, loc="outside lower center", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons: none that the section on backends does not have."""
    return [("variants on the frontier", float(len(data["frontier"])), "")]
