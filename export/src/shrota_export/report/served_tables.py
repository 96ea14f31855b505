"""What is shown of the variants through Triton, and compared."""

from collections.abc import Mapping
from typing import Any

from shrota_client.pages.blocks import Block, Table, number
from shrota_export.report.timing import spread_text

Rows = list[tuple[str, float | None, str]]


def show_served(data: Mapping[str, Any]) -> list[Block]:
    """Two tables, of latency and throughput; nothing where nothing was served, or in a report from before."""
    served: Mapping[str, Any] = data.get("triton", {})
    if not served:
        return []
    batches = list(dict.fromkeys(rows for each in served.values() for rows in each["audio_seconds_per_second"]))
    fewest = min(each["latency"]["count"] for each in served.values())
    return [
        Table(
            [
                "through Triton",
                f"latency on {data['seconds']:g} s",
                "p95",
                "bare, in the same rounds",
                "Triton adds",
                "ready after",
                "peak memory",
                "difference from bare",
            ],
            [
                [
                    name,
                    spread_text(each["latency"]),
                    f"{1000 * each['latency']['p95']:,.1f} ms",
                    f"{1000 * each['bare_latency']['median']:,.1f} ms",
                    _added(each["added"]),
                    f"{each['ready_s']:.1f} s",
                    f"{each['peak_bytes'] / 1e6:,.0f} MB",
                    number(each["difference_from_bare"]),
                ]
                for name, each in served.items()
            ],
            "The engine acoustic_onnx of the embedded server, through gRPC, one request at a time at batch 1: median "
            f"and quartiles of at least {fewest} rounds in which it and the bare engine took turns; what Triton adds "
            "is that of neighbouring runs; ready is the server from its start; its memory is that of all its "
            "processes, libraries included, at batch 1; the difference is the largest in log-probability",
        ),
        Table(
            ["through Triton", *(f"batch {rows}" for rows in batches)],
            [
                [
                    name,
                    *(
                        f"{number(each['audio_seconds_per_second'][rows])} s/s ({share(each['added_by_batch'][rows])})"
                        for rows in batches
                    ),
                ]
                for name, each in served.items()
            ],
            f"Throughput through Triton in seconds of audio per second, in requests of as many rows of "
            f"{data['batch_seconds']:g} s, and what Triton adds to the time of the bare engine in the same few rounds",
        ),
    ]


def _added(found: Mapping[str, float]) -> str:
    return f"{share(found['median'])} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def share(value: float) -> str:
    """A share as per cent with its sign, to a tenth."""
    return f"{100 * value:+.1f} %"


def served_figures(data: Mapping[str, Any]) -> Rows:
    """For comparisons."""
    rows: Rows = []
    for name, each in data.get("triton", {}).items():
        rows += [
            (f"{name} through Triton, latency", 1000 * each["latency"]["median"], "ms"),
            (f"{name} through Triton, most throughput", max(each["audio_seconds_per_second"].values()), "s/s"),
            (f"{name}, Triton adds", 100 * each["added"]["median"], "%"),
        ]
    return rows
