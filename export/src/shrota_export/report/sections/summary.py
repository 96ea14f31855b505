"""What to run on this machine, with the evidence."""

from collections.abc import Mapping
from typing import Any

from shrota_client.pages.blocks import Block, Paragraph, Table, number
from shrota_export.errors import ReportError
from shrota_export.report.material import Material
from shrota_export.report.sections.backends import REFERENCE, best, keeps
from shrota_export.report.served_tables import share

TITLE = "Summary"


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Chooses from what was measured: the most throughput of all that a server can run and the gate would pass."""
    variants = found["backends"]["variants"]
    candidates = [name for name, each in variants.items() if each["is_served"] and keeps(each)]
    if not candidates:
        raise ReportError("no variant that a server can run keeps what the gate asks")
    chosen = max(candidates, key=lambda name: best(variants[name])[1])
    threads = found["scaling"]["threads"]
    fastest = min(threads, key=lambda count: threads[count]["median"])
    batch = best(variants[chosen])[0]
    most = best(variants[chosen])[1]
    return {
        "variant": chosen,
        "faster": {
            name: best(each)[1] / most
            for name, each in variants.items()
            if not each["is_served"] and keeps(each) and best(each)[1] > most
        },
        "refused": {name: each["failures"][0] for name, each in variants.items() if not keeps(each)},
        "batch": batch,
        "batch_budget_seconds": batch * found["backends"]["batch_seconds"],
        "threads": int(fastest),
        "thread_gain": threads["1"]["median"] / threads[fastest]["median"],
    }


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:
    """The recommendation and three lines."""
    variants = found["backends"]["variants"]
    chosen, reference = variants[data["variant"]], variants[REFERENCE]
    latency = chosen["latency"]["median"]
    errors = chosen["errors"]
    lines = [
        (
            f"Speed: {1000 * latency:,.1f} ms at batch 1 on {found['backends']['seconds']:g} s of audio, "
            f"{reference['latency']['median'] / latency:.2f} times as fast as PyTorch in float32; at most "
            f"{number(best(chosen)[1])} s of audio per second, at batch {data['batch']} of the batches that were "
            f"tried{_through_triton(data['variant'], found['backends'])}."
        ),
        f"Errors: {100 * errors['word_error_rate']:.1f} % of {errors['words']} words wrong, "
        f"{100 * errors['rise']:+.2f} points from PyTorch in float32; "
        f"{100 * chosen['difference']['changed_frames']:.2f} % of the frames have another best token."
        if errors
        else "Errors: unknown, because the weights are random or the speech has no texts; log-probabilities differ by "
        f"{number(chosen['difference']['mean'])} in the mean, {number(chosen['difference']['largest'])} at most.",
        f"Resources: {_memory(chosen)}; {_threads(data)}.",
    ]
    faster = ", ".join(f"{name} ({gain:.2f} times)" for name, gain in data["faster"].items())
    faster = f" Faster, but installed by no command of this project: {faster}." if faster else ""
    refused = "; ".join(f"{name} ({reason})" for name, reason in data["refused"].items())
    refused = f" Not considered, because the gate would refuse it: {refused}." if refused else ""
    return [
        Paragraph(
            f"On this machine run {data['variant']} with {data['threads']} "
            f"thread{'s' if data['threads'] > 1 else ''} and batches of up to {data['batch_budget_seconds']:g} s of "
            "audio: of what a server here can run, it has the most throughput among those whose errors on this "
            f"speech the gate allows.{faster}{refused}"
        ),
        Table(["evidence"], [[line] for line in lines]),
    ]


def _threads(data: Mapping[str, Any]) -> str:
    if data["threads"] == 1:
        return "in float32, more threads than one are not faster"
    return f"in float32, {data['threads']} threads are {data['thread_gain']:.2f} times as fast as one"


def _through_triton(name: str, backends: Mapping[str, Any]) -> str:
    served = backends.get("triton", {}).get(name)
    return "" if served is None else f"; Triton adds {share(served['added']['median'])}"


def _memory(chosen: Mapping[str, Any]) -> str:
    if chosen["peak_bytes"] is None:
        return "memory could not be measured"
    return f"{chosen['peak_bytes'] / 1e6:,.0f} MB at the peak beside the libraries, loaded in {chosen['load_s']:.2f} s"


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    return [("batch budget", data["batch_budget_seconds"], "s"), ("threads", float(data["threads"]), "")]
