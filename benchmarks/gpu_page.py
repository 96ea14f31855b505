"""The page of :mod:`benchmarks.gpu`, as far as it has come."""

from typing import Any

BAR = 1.7
"""float16 over tf32, utterances a second through Triton."""


GATE = """\
ONNX Runtime's CUDA provider against PyTorch in float32 on the same GPU: difference in log-probability (nats) of each
utterance alone, frames whose best token changes, and the largest difference of an utterance elsewhere (full batch,
beside padding, shortest and longest window) from itself alone. tf32 is judged as float16 is: it has as many bits of
mantissa. Tokens of random weights mean nothing, so there is no error rate of the large model."""


LOADS = (
    "| precision | in flight | utterances / s | audio, s / s | p50, ms | p99, ms | by | note |",
    "|---|---|---|---|---|---|---|---|",
)


def best_throughput(results: dict[str, Any], mode: str) -> float | None:
    """Utterances a second through Triton at the best concurrency."""
    loads = results["steps"].get(f"triton large {mode}", {}).get("loads", [])
    found = [load["utterances_per_second"] for load in loads if load.get("utterances_per_second") is not None]
    return max(found, default=None)


def markdown(results: dict[str, Any]) -> str:
    """The page."""
    machine = results["machine"]
    gpu = machine["gpu"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    where = f"{gpu['name']}, driver {gpu['driver']}" if gpu else "no GPU"
    head = (
        f"`{results['command']}`; {_shape(results['shape'])}; {_bundled(results)}{where}, CUDA {machine['cuda']}; "
        f"{machine['processor']}; {results['date']}; python {machine['python']}, {versions}"
    )
    lines = [
        "# Precision on a GPU",
        "",
        head,
        "",
        "## The gate",
        "",
        GATE,
        "",
        "| graph | verdict | mean | largest | best token changes, % | largest from itself | word error rate | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, step in results["steps"].items():
        if "gate" in step:
            lines.append(_gate_row(name.removeprefix("gate "), step))
    if any(step.get("loads") for step in results["steps"].values()):
        lines += ["", "## Through Triton", "", _served(results), "", *LOADS]
    for name, step in results["steps"].items():
        for load in step.get("loads", []):
            lines.append(_load_row(name.removeprefix("triton large "), load, step))
    fast, slow = best_throughput(results, "fp16"), best_throughput(results, "tf32")
    if fast and slow:
        lines += ["", f"fp16 over tf32: {fast / slow:.2f}; bar: {_verdict(results, fast / slow)}."]
    for name, step in results["steps"].items():
        if "engines" in step:
            lines += _engine_table(step, "the graph's two forms" if "convolutions" in name else "against PyTorch")
    lines += _gone(results)
    return "\n".join(lines) + "\n"


def _gone(results: dict[str, Any]) -> list[str]:
    """What was not measured, and why."""
    gone = {name: step.get("error") or step.get("left_out") for name, step in results["steps"].items()}
    if not any(gone.values()):
        return []
    return ["", "## Not measured", "", *(f"- {name}: {why}" for name, why in gone.items() if why)]


def _bundled(results: dict[str, Any]) -> str:
    checkpoint = results.get("checkpoint")
    return "" if checkpoint is None else f"bundled: `models/hindi-small` (SHA-256 {checkpoint['sha256'][:12]}); "


def _shape(shape: dict[str, Any]) -> str:
    which = "the published shape" if shape["is_published"] else "**not the published shape**"
    return (
        f"large model: {shape['num_hidden_layers']} layers of width {shape['hidden_size']}, "
        f"{shape['num_attention_heads']} heads, convolutions of width {max(shape['conv_dim'])} ({which})"
    )


def _verdict(results: dict[str, Any], ratio: float) -> str:
    """The bar is about the published shape on a GPU, and says nothing of a trial."""
    if results["device"] != "cuda":
        return "not judged, it is for CUDA"
    if not results["shape"]["is_published"]:
        return "not judged, it is for the published shape"
    return f"at least {BAR}, {'met' if ratio >= BAR else '**not met**'}"


def _load_row(name: str, load: dict[str, Any], step: dict[str, Any]) -> str:
    throughput = load.get("utterances_per_second")
    seconds = step.get("seconds_of_audio")
    audio = None if throughput is None or seconds is None else throughput * seconds
    numbers = (throughput, audio, load.get("p50_ms"), load.get("p99_ms"))
    shown = " | ".join("not measured" if number is None else f"{number:,.1f}" for number in numbers)
    notes = "; ".join(
        text for text in (step.get("note"), load.get("note"), "**unstable**" if load.get("unstable") else None) if text
    )
    return f"| {name} | {load.get('concurrency')} | {shown} | {load.get('by')} | {notes} |"


def _gate_row(name: str, step: dict[str, Any]) -> str:
    report = step["gate"]
    alone = report["from_reference"]["alone"]
    elsewhere = max(_or_infinity(found["largest"]) for found in report["from_itself_alone"].values())
    rate = "not judged"
    if report["transcripts"] and not report["tokens_not_judged_because"]:
        words = report["transcripts"]["word_error_rate"]
        low, high = (100 * bound for bound in words["difference"]["interval"])
        rate = (
            f"{100 * words['candidate']['value']:.2f} % of {report['transcripts']['words']:,} words "
            f"({100 * words['difference']['value']:+.2f}; 95 % {low:+.2f} to {high:+.2f})"
        )
    verdict = "passes" if report["passed"] else f"fails: {report['failures'][0]}"
    mean, largest = _or_infinity(alone["mean"]), _or_infinity(alone["largest"])
    return (
        f"| {name} | {verdict} | {mean:.2g} | {largest:.2g} | {100 * alone['changed_frames']:.3f} "
        f"| {elsewhere:.2g} | {rate} | {step.get('note') or ''} |"
    )


def _served(results: dict[str, Any]) -> str:
    """What was measured there."""
    step: dict[str, Any] = next((each for each in results["steps"].values() if each.get("loads")), {})
    instances, seconds = step.get("instances", "-"), step.get("seconds_of_audio", 0)
    return (
        f"`acoustic_onnx` of the large model on the embedded server ({instances} instances), gRPC with the audio in\n"
        f"shared memory, utterances of {seconds:g} s, all as long; Triton's dynamic batcher joins what is in flight."
    )


def _engine_table(step: dict[str, Any], what: str) -> list[str]:
    lines = [
        "",
        f"## One run of {step['rows']} x {step['seconds_of_audio']:g} s, {what}",
        "",
        "Inputs and outputs on the device; all engines by turns.",
        "",
        "| engine | median, ms | least, ms | utterances / s | audio, s / s | note |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {found['median_ms']:.2f} | {found['least_ms']:.2f} | {found['utterances_per_second']:.1f} "
        f"| {found['utterances_per_second'] * step['seconds_of_audio']:,.0f} | {found.get('note') or ''} |"
        for name, found in step["engines"].items()
    ]
    return [*lines, *(f"\n{name} does not run: {why}" for name, why in step["failed"].items())]


def _or_infinity(value: float | None) -> float:
    """JSON has no infinity."""
    return float("inf") if value is None else value
