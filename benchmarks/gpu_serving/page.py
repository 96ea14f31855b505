"""The page: ``OUTPUT.md`` with its pictures, HTML and JSON in the folder ``OUTPUT``."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_serving.bars import AUDIO_S_PER_S, all_in_one, bars, is_judged, points_of, served_steps
from benchmarks.gpu_serving.costs import ATTENTION, EXTRACTOR, PRODUCTS, WHOLE, costs
from benchmarks.gpu_serving.engines import REFERENCE
from benchmarks.gpu_serving.kernels import ATTENTION as ATTENTION_KERNELS
from benchmarks.gpu_serving.kernels import ENCODER, KINDS
from benchmarks.gpu_serving.kernels import EXTRACTOR as EXTRACTOR_STAGE
from benchmarks.gpu_serving.kernels import PRODUCTS as PRODUCT_KERNELS
from benchmarks.gpu_serving.pictures import (
    BATCHES,
    KERNELS,
    LOAD,
    PICTURES,
    ROOFLINE,
    draw_batches,
    draw_kernels,
    draw_load,
    draw_roofline,
)
from benchmarks.gpu_serving.served import ENSEMBLE, EQUAL, MIXED
from benchmarks.gpu_serving.watch import GENERATOR
from shrota_client.errors import MissingPackageError
from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.load import QUIET
from shrota_client.pages.page import Chapter
from shrota_client.pages.write import MARKDOWN, write_pages

MIB = 2**20
NO_PICTURES = (
    "Pictures need matplotlib, which was not there: `python -m benchmarks.gpu_serving --page FILE` draws them."
)
LONG_NAME = 90
LEAST_PROCESSORS = 0.03
"""Processes that take less are not shown."""


def write(results: Mapping[str, Any], output: Path) -> Path:
    """Writes the page as far as it has come.

    Returns:
        The Markdown file, beside the folder.
    """
    gpu = results["machine"]["gpu"]
    title = f"The engine on {'an ' + gpu['name'] if gpu else 'no GPU (a trial)'}"
    about, found = heading(results), chapters(results)
    write_pages(title, about, found, output, results, pictures=PICTURES)
    page = output.with_name(f"{output.name}.md")
    text = (output / MARKDOWN).read_text(encoding="utf-8")
    page.write_text(re.sub(r"\]\((\w+\.png)\)", rf"]({output.name}/\1)", text), encoding="utf-8")
    (output / MARKDOWN).unlink()
    return page


def heading(results: Mapping[str, Any]) -> list[str]:
    """Command, model, machine and what else ran."""
    machine, shape = results["machine"], results["shape"]
    gpu = machine["gpu"]
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    where = f"{results.get('gpus', 1)} x {gpu['name']}, driver {gpu['driver']}" if gpu else "no GPU"
    published = "the published shape" if shape["is_published"] else "NOT the published shape: a trial"
    others = _others(results)
    used = results.get("memory_before_mib") or {}
    if used:
        others += f" GPU memory in use before: {', '.join(f'{mib:,.0f} MiB' for mib in used.values())}."
    model = (
        f"Random weights in the architecture of IndicWav2Vec-Hindi: {shape['num_hidden_layers']} layers of width "
        f"{shape['hidden_size']}, {shape['num_attention_heads']} heads, convolutions of width {max(shape['conv_dim'])} "
        f"({published}). Not compared on speech here: that is the gate's business, `shrota export torch`."
    )
    place = (
        f"{where}, CUDA {machine['cuda']}; {machine['processor']}, {results['cores']} cores; {results['date']}; python "
        f"{machine['python']}, {versions}; Triton embedded (nvidia-pytriton's tritonserver), perf_analyzer on the same "
        f"machine. {others}"
    )
    counterpart = "The processor's counterpart is `make bench`: [cpu.md](cpu.md)."
    return [f"`{results['command']}`", model, place, counterpart]


def _others(results: Mapping[str, Any]) -> str:
    """What other programs took, and the host of a virtual machine: at most, and where it was too much."""
    shares = {name: [step["others_share"]] for name, step in results["steps"].items() if "others_share" in step}
    for step in served_steps(results):
        shares[step["configuration"]] = [point["others_share"] for point in step["points"] if "others_share" in point]
    known = {name: [share for share in each if share is not None] for name, each in shares.items()}
    every = [share for each in known.values() for share in each]
    if not every:
        return "Other programs: not known."
    said = f"Other programs took at most {percent(max(every))} of the processors during a step or a load"
    loud = {name: sum(share > QUIET for share in each) for name, each in known.items()}
    where = [
        name + (f" ({count} of {len(known[name])} loads)" if len(known[name]) > 1 else "")
        for name, count in loud.items()
        if count
    ]
    if not where:
        return f"{said}."
    quiet = [share for share in every if share <= QUIET]
    rest = f"; at most {percent(max(quiet))} during all others" if quiet else ""
    return f"{said}, too much to trust what was measured there: over {percent(QUIET)} during {', '.join(where)}{rest}."


def chapters(results: Mapping[str, Any]) -> list[Chapter]:
    """Those that have something to show."""
    steps = results["steps"]
    found = [
        Chapter("bars", "The bars", _bars(results)),
        Chapter("process", "In process", _process(results)),
        Chapter("kernels", "Where the milliseconds go", _kernels(steps.get("kernels", {}))),
        Chapter("roofline", "Roofline", _roofline(results)),
        Chapter("triton", "Through Triton", _triton(results)),
        Chapter("gone", "Not measured", _gone(results)),
    ]
    return [chapter for chapter in found if chapter.blocks]


def _picture(name: str, caption: str, draw: Any, *arguments: Any) -> list[Block]:
    try:
        return [Picture(name, caption, draw(*arguments))]
    except MissingPackageError:
        return [Paragraph(NO_PICTURES)]


def _bars(results: Mapping[str, Any]) -> list[Block]:
    words = {True: "met", False: "NOT met", None: "not judged"}
    rows = [
        [bar.what, bar.precision, bar.found, "-" if bar.ratio is None else f"{bar.ratio:.2f}", words[bar.holds]]
        for bar in bars(results)
    ]
    if not rows:
        return []
    rows.append(["peak GPU memory", "", _peak_memory(results), "", "stated"])
    blocks: list[Block] = [
        Table(
            ["bar", "precision", "found: instances/calls, seconds of a batch", "times PyTorch", "verdict"],
            rows,
            f"The best configuration of each bar; ratios are to {REFERENCE}, in process in this run: to its throughput "
            f"on {results['rows']} x {results['seconds_of_audio']:g} s, or to its time on one utterance",
        )
    ]
    if is_judged(results):
        kept = all_in_one(results)
        blocks.append(Paragraph(f"Bars of one GPU all met in one configuration: {'; '.join(kept) or 'none'}."))
    else:
        blocks.append(Paragraph("The bars are for the published shape on CUDA, and are not judged here."))
    return blocks


def _peak_memory(results: Mapping[str, Any]) -> str:
    found = []
    for step in served_steps(results):
        peaks = [each["memory_mib"] for point in step["points"] for each in (point.get("gpus") or {}).values()]
        before = sum((step.get("memory_mib") or {}).get("before", {}).values())
        if peaks:
            found.append(f"{step['configuration']}: {max(peaks):,.0f} MiB, of which {before:,.0f} before the server")
    return "; ".join(found) or "no GPU"


def _process(results: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for name, step in results["steps"].items():
        if step.get("engines") and not name.startswith("kernels"):
            blocks.append(_turns(name, step))
            blocks += [Paragraph(f"{engine} does not run: {why}") for engine, why in step.get("failed", {}).items()]
    attention = results["steps"].get("load engines", {}).get("attention_of_reference")
    if attention and blocks:
        blocks.append(Paragraph(f"{REFERENCE}: not compiled, attention by {attention!r}, as transformers chooses it."))
    points = results["steps"].get("batches", {}).get("points", [])
    if points:
        rows_of = sorted({point["rows"] for point in points})
        names = list(dict.fromkeys(point["engine"] for point in points))
        cells = {(point["engine"], point["rows"]): point for point in points}
        rows = [[name, *(_rate(cells.get((name, rows))) for rows in rows_of)] for name in names]
        caption = f"Audio-seconds per second over utterances of {results['seconds_of_audio']:g} s in a run, by turns"
        blocks += [Table(["engine", *(str(rows) for rows in rows_of)], rows, caption)]
        blocks += _picture(BATCHES, caption, draw_batches, points)
    memory = results["steps"].get("load engines", {}).get("memory", {})
    if memory:
        rows = [
            [name, f"{each['weights_bytes'] / MIB:,.0f}", f"{each['peak_bytes'] / MIB:,.0f}"]
            for name, each in memory.items()
        ]
        caption = f"GPU memory of PyTorch's allocator, MiB, {results['rows']} x {results['seconds_of_audio']:g} s"
        blocks.append(Table(["engine", "weights", "most, weights included"], rows, caption))
    return blocks


def _rate(point: Mapping[str, Any] | None) -> str:
    return "-" if point is None else f"{point['audio_seconds_per_second']:,.0f}"


def _turns(name: str, step: Mapping[str, Any]) -> Table:
    base = step["engines"].get(REFERENCE, {}).get("median_ms")
    rows = [
        [
            engine,
            f"{found['median_ms']:.2f}",
            f"{found['lower_quartile_ms']:.2f} to {found['upper_quartile_ms']:.2f}",
            f"{found['least_ms']:.2f}",
            f"{found['utterances_per_second'] * step['seconds_of_audio']:,.0f}",
            "-" if base is None else f"{base / found['median_ms']:.2f}",
            str(found["runs"]),
        ]
        for engine, found in step["engines"].items()
    ]
    return Table(
        ["engine", "median, ms", "half of the runs, ms", "least, ms", "audio, s/s", "times PyTorch", "runs"],
        rows,
        f"{name}: {step['rows']} x {step['seconds_of_audio']:g} s, raw audio to log-probabilities, all engines by "
        "turns; audio and results on the GPU unless it says host",
    )


def _kernels(step: Mapping[str, Any]) -> list[Block]:
    engines = step.get("engines", {})
    if not engines:
        return []
    rows = [
        [kind, *(_share(each["kinds"].get(kind, 0.0), each["busy_ms"]) for each in engines.values())] for kind in KINDS
    ]
    rows.append(["GPU busy", *(f"{each['busy_ms']:.2f}" for each in engines.values())])
    rows.append(["whole run, unprofiled", *(number(each["median_ms"]) for each in engines.values())])
    caption = (
        f"Milliseconds of one run of {step['rows']} x {step['seconds_of_audio']:g} s by kind of kernel, by PyTorch's "
        "profiler, launched one by one; idle is what the run, as it is served, takes beyond that without the profiler"
    )
    blocks: list[Block] = [Table(["kind", *engines], rows, caption)]
    blocks += _picture(KERNELS, caption, draw_kernels, engines)
    for name, each in engines.items():
        if each["stages"]:
            parts = [
                [stage, f"{sum(kinds.values()):.2f}", *(f"{kinds[kind]:.2f}" for kind in KINDS)]
                for stage, kinds in each["stages"].items()
            ]
            blocks.append(Table(["part", "all", *KINDS], parts, f"{name}: milliseconds by part of the model"))
    for name, each in engines.items():
        top = [
            [f"`{one['name'][:LONG_NAME]}`", one["kind"], str(one["calls"]), f"{one['ms']:.2f}"] for one in each["top"]
        ]
        blocks.append(Table(["kernel", "kind", "calls", "ms"], top, f"{name}: the longest"))
    return blocks


def _share(spent: float, whole: float) -> str:
    return f"{spent:.2f} ({percent(spent / whole if whole else 0.0)})"


def roofline_points(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Operations a byte, and operations a second reached, of each part of each engine that was profiled."""
    step = results["steps"].get("kernels", {})
    found = []
    for name, each in step.get("engines", {}).items():
        times = {WHOLE: each["median_ms"] or each["busy_ms"]}
        if each["stages"]:
            times[EXTRACTOR] = sum(each["stages"].get(EXTRACTOR_STAGE, {}).values())
            encoder = each["stages"].get(ENCODER, {})
            times[ATTENTION] = encoder.get(ATTENTION_KERNELS, 0.0)
            times[PRODUCTS] = encoder.get(PRODUCT_KERNELS, 0.0)
        parts = costs(results["config"], step["rows"], round(step["seconds_of_audio"] * 16000), each["precision"])
        found += [
            {
                "engine": name,
                "precision": each["precision"],
                "part": part,
                "gflop": parts[part].flops / 1e9,
                "gbyte": parts[part].bytes / 1e9,
                "intensity": parts[part].intensity,
                "ms": spent,
                "tflops": parts[part].flops / spent / 1e9,
            }
            for part, spent in times.items()
            if spent
        ]
    return found


def _roofline(results: Mapping[str, Any]) -> list[Block]:
    peaks = results["steps"].get("peaks", {}).get("peaks", {})
    if not peaks:
        return []
    rows = [
        [name, "-" if "failed" in each else f"{each['value']:,.4g}", each["how"], each.get("failed", "")]
        for name, each in peaks.items()
    ]
    blocks: list[Block] = [
        Table(["", "TFLOP/s, TB/s", "how", ""], rows, "What the card gives, measured, the best of some tries")
    ]
    points = roofline_points(results)
    bandwidth = peaks.get("bandwidth", {}).get("value")
    roofs = {name: each["value"] for name, each in peaks.items() if name != "bandwidth" and "value" in each}
    if not points or not bandwidth or not roofs:
        return blocks
    cells = []
    for point in points:
        roof = roofs.get(point["precision"])
        least = None if roof is None else min(roof, bandwidth * point["intensity"])
        cells.append(
            [
                point["engine"],
                point["part"],
                number(point["gflop"], 4),
                number(point["gbyte"]),
                number(point["intensity"]),
                f"{point['ms']:.2f}",
                number(point["tflops"]),
                percent(point["tflops"] / least if least else None),
            ]
        )
    blocks.append(
        Table(
            ["engine", "part", "GFLOP", "GB at least", "FLOP/byte", "ms", "TFLOP/s", "of what the card gives"],
            cells,
            "Operations by formula (two for each multiply-add of matrix products and convolutions), bytes that memory "
            "must move at least (inputs, weights and results once), over the time measured. The extractor has its "
            "LayerNorms and GELUs in its time, the whole run everything; fp8 is the encoder's products alone, so the "
            "whole run of fp8 cannot reach its roof",
        )
    )
    caption = "Lines: what the card gives. Marks: the parts of the model."
    blocks += _picture(ROOFLINE, caption, draw_roofline, roofs, bandwidth, points)
    return blocks


def _triton(results: Mapping[str, Any]) -> list[Block]:
    steps = served_steps(results)
    if not steps:
        return []
    blocks: list[Block] = [
        Paragraph(
            "Audio-seconds per second are requests a second times the seconds of audio that the server counted in a "
            f"request; lengths of {MIXED} are uniform. Each load runs for some seconds after a warm-up of all lengths."
        )
    ]
    lines = load_lines(steps)
    if lines:
        bar = AUDIO_S_PER_S if is_judged(results) else None
        blocks += _picture(LOAD, "Through asr, end to end, decoding included", draw_load, lines, bar)
    for step in steps:
        ready = f"; ready after {step['ready_s']:.0f} s" if step.get("ready_s") else ""
        blocks.append(
            Table(
                [
                    *("model", "lengths", "memory", "under way", "audio, s/s", "requests/s", "p50 ms", "p95 ms"),
                    *("p99 ms", "batch rows", "padded", "GPU %", "GPU MiB", ""),
                ],
                [_load_row(point, results) for point in step["points"]],
                f"{step['configuration']} (instances/calls, seconds of a batch){ready}",
            )
        )
        blocks += _inside(step)
        blocks += _processors(step)
        if step.get("error"):
            blocks.append(Paragraph(f"It ended early: {step['error']}"))
    return blocks


def load_lines(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Requests under way and audio-seconds per second on equal lengths, by configuration and way."""
    lines = {}
    for step in steps:
        for memory, way in (("none", "gRPC"), ("system", "shared memory")):
            points = [
                *points_of(step, ENSEMBLE, EQUAL, memory, one=True),
                *points_of(step, ENSEMBLE, EQUAL, memory, one=False),
            ]
            if points:
                line = sorted((point["value"], point["audio_seconds_per_second"]) for point in points)
                lines[f"{step['configuration']}, {way}"] = line
    return lines


def _load_row(point: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    lengths = f"{results['seconds_of_audio']:g} s" if point["lengths"] == EQUAL else point["lengths"]
    memory = "shared" if point["shared_memory"] != "none" else "gRPC"
    start = [point["model"], lengths, memory, f"{point['value']:g}"]
    if "failed" in point:
        return [*start, *["-"] * 9, f"failed: {point['failed']}"]
    gpus = list((point.get("gpus") or {}).values())
    return [
        *start,
        f"{point['audio_seconds_per_second']:,.0f}",
        f"{point['utterances_per_second']:,.1f}",
        *(f"{point[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        number(point.get("batch_rows")),
        percent(point.get("padded_share")),
        ", ".join(f"{each['utilization_percent']:.0f}" for each in gpus) or "-",
        ", ".join(f"{each['memory_mib']:,.0f}" for each in gpus) or "-",
        "" if point["stable"] else f"unstable: {point['why_unstable']}",
    ]


def _inside(step: Mapping[str, Any]) -> list[Block]:
    """Queue and computing inside, of the loads with many requests under way."""
    rows = [
        [_which(point), name, number(times["queue_ms"]), number(times["compute_ms"])]
        for point in step["points"]
        if "failed" not in point
        for name, times in point.get("models", {}).items()
    ]
    if not rows:
        return []
    return [Table(["load", "model", "queue ms", "compute ms"], rows, "Mean of a request in each model")]


def _processors(step: Mapping[str, Any]) -> list[Block]:
    """Processors that each process uses: a Python process at one is at its end."""
    points = [point for point in step["points"] if point.get("processors")]
    if not points:
        return []
    names = sorted(
        {name for point in points for name, used in point["processors"].items() if used >= LEAST_PROCESSORS},
        key=lambda name: (name == GENERATOR, name),
    )
    rows = [
        [
            _which(point),
            *(number(point["processors"].get(name)) for name in names),
            f"{sum(point['processors'].values()):.1f}",
        ]
        for point in points
    ]
    caption = (
        "Processors in use by each process while there was load; a Python model's process has little more than one"
    )
    return [Table(["load", *names, "all"], rows, caption)]


def _which(point: Mapping[str, Any]) -> str:
    memory = ", shared" if point["shared_memory"] != "none" else ""
    return f"{point['model']}, {point['lengths']}, {point['value']:g}{memory}"


def _gone(results: Mapping[str, Any]) -> list[Block]:
    rows = [
        [name, step.get("error") or f"left out: {step['left_out']}"]
        for name, step in results["steps"].items()
        if step.get("error") or step.get("left_out")
    ]
    failed = results["steps"].get("load engines", {}).get("failed", {})
    rows += [[f"engine {name}", why] for name, why in failed.items()]
    return [Table(["what", "why"], rows)] if rows else []
