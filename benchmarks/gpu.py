"""What each precision gives on a GPU: the gate, PyTorch, ONNX Runtime's CUDA provider, and the embedded Triton server.

    python -m benchmarks.gpu --output build/gpu --seconds 540

For the bundled checkpoint and for one of IndicWav2Vec-Hindi's architecture with random weights: float32, tf32 (a flag
of the provider), float16 and bfloat16 graphs, as `shrota export onnx --target gpu` and `shrota export precision` make
them, through the gate against PyTorch in float32 on the same GPU; then, of the
large one, time of a run by turns (PyTorch and ONNX Runtime, tensors on the GPU; at the end, the graph in its other
form, with convolutions, beside it) and throughput and latency of
`acoustic_onnx` on Triton under perf_analyzer, whose requests the dynamic batcher joins. The bar: float16 through Triton
at least 1.7 times tf32. It is judged for the published shape on CUDA only, and the page's head has
the options and the shape.

It needs no network. ``OUTPUT.json`` is written after each step, ``OUTPUT.md`` with it; a step for which too little of
``--seconds`` is left is named as left out, and one that fails with its error. What to install is in
``benchmarks/gpu-requirements.txt``, with how to carry it to a machine without network. ``--device cpu`` tries the whole
on a processor, with ``--layers 1 --hidden-size 64 --heads 4 --conv-dim 32`` in a minute.
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.command_line import command_line
from benchmarks.gpu_engines import CPU_MODES, MODES, OnnxEngine, as_engine, batch_of, graph_precision, time_by_turns
from benchmarks.gpu_model import Model, Models
from benchmarks.gpu_page import markdown
from benchmarks.gpu_run import LEAST_S, Run, describe_shape
from benchmarks.gpu_triton import (
    Load,
    check_provider,
    make_repository,
    run_perf_analyzer,
    run_threads,
    served,
)
from benchmarks.progress import say
from scripts.command import run
from scripts.repository import ROOT
from shrota_export.errors import ExportError, GateSettingError
from shrota_export.gate import Subject, Thresholds, check, read_speech
from shrota_export.precision.kinds import Precision
from shrota_export.random_checkpoint import Shape
from shrota_loadtest.errors import PerfAnalyzerError

SAMPLES = ROOT / "samples" / "manifest.jsonl"
MEASURE_S = 4.0
"""Of one batch size in ONNX Runtime and PyTorch, all engines together."""
CUDA_INVARIANCE = 1e-3
"""Largest difference of an utterance from itself alone, in float32: for another number of rows cuBLAS takes another
kernel, which adds up in another order. On a processor it is 1e-4, ten times less."""
LOAD_S = 12.5
"""Of one concurrency on Triton."""


def gate_step(model: Model, mode: str, device: str) -> dict[str, Any]:
    """ONNX Runtime on the device against PyTorch in float32 there."""
    reference = model.subject(f"PyTorch, fp32, {device}", as_engine(model.torch_engine("fp32", device)), Precision.FP32)
    graph, note = model.graph_that_runs(mode, device)
    engine = OnnxEngine(graph, mode, device)
    precision = graph_precision(mode)
    candidate = model.subject(f"{model.name}, {mode}", as_engine(engine), precision)
    # tf32 has as many bits of mantissa as float16
    thresholds = Thresholds.of(Precision.FP16 if mode == "tf32" else precision)
    if mode == "fp32" and device == "cuda":
        thresholds = thresholds.changed([f"invariance_largest={CUDA_INVARIANCE}"])
    report = check(candidate, reference, model.speech(), thresholds, explain=False)
    say("\n".join(report.lines()))
    if mode == "fp32" and device == "cuda":
        note = "; ".join(text for text in (note, f"from itself: {CUDA_INVARIANCE:g} allowed") if text)
    return {"gate": report.as_dict(), "note": note}


def engines_step(
    model: Model, modes: tuple[str, ...], device: str, rows: int, seconds: float, *, convolutions: Model | None = None
) -> dict[str, Any]:
    """Time of a run, all engines by turns; with ``convolutions``, the graph in that form in the place of PyTorch."""
    engines: dict[str, Any] = {}
    failed = {}
    notes: dict[str, str | None] = {}

    def open_graph(source: Model, name: str, mode: str) -> OnnxEngine:
        graph, notes[name] = source.graph_that_runs(mode, device)
        return OnnxEngine(graph, mode, device)

    for mode in modes:
        name = f"onnxruntime {mode}"
        makers: dict[str, Callable[[], Any]] = {name: partial(open_graph, model, name, mode)}
        if convolutions is None:
            makers[f"pytorch {mode}"] = partial(model.torch_engine, mode, device, "sdpa")
        else:
            name = f"onnxruntime {mode}, convolutions"
            makers[name] = partial(open_graph, convolutions, name, mode)
        for name, make in makers.items():
            try:
                engine = make()
                run_once, wait = engine.prepare(*batch_of(rows, seconds))
                run_once()
                wait()
                engines[name] = engine
            except Exception as error:  # noqa: BLE001 - of one engine; the others are measured
                failed[name] = " ".join(str(error).split())[:300]
    timed = time_by_turns(engines, batch_of(rows, seconds), MEASURE_S)
    return {
        "rows": rows,
        "seconds_of_audio": seconds,
        "engines": {name: {**found.as_dict(), "note": notes.get(name)} for name, found in timed.items()},
        "failed": failed,
    }


def triton_step(model: Model, mode: str, order: "Order", folder: Path, left_s: float) -> dict[str, Any]:
    """The embedded server under load."""
    repository = folder / f"repository-{mode}"
    graph, note = model.graph_that_runs(mode, order.device)
    make_repository(repository, graph, mode, len(model.vocabulary.tokens), order.instances)
    log = order.output.with_name(f"{order.output.name}-triton-{mode}.log")
    loads = []
    with served(repository, log, min(180.0, left_s)) as server:
        check_provider(log, order.device)
        for concurrency in order.concurrencies:
            load = Load(server.grpc_url, order.seconds_of_audio, concurrency, LOAD_S)
            if order.perf_analyzer is not None:
                try:
                    loads.append(run_perf_analyzer(order.perf_analyzer, load, folder))
                    continue
                except PerfAnalyzerError as error:
                    say(f"  {error}; measured with threads instead")
                    loads.append({**run_threads(load), "note": str(error)[-120:]})
                    continue
            loads.append(run_threads(load))
    shutil.rmtree(repository)
    return {
        "seconds_of_audio": order.seconds_of_audio,
        "instances": order.instances,
        "loads": loads,
        "note": note,
    }


class Order:
    """What the command line asks for."""

    def __init__(self, **options: Any) -> None:
        self.device: str = options["device"]
        self.output: Path = options["output"]
        self.instances: int = options["instances"]
        self.concurrencies: tuple[int, ...] = options["concurrencies"]
        self.batches: tuple[int, ...] = options["batches"]
        self.seconds_of_audio: float = options["seconds_of_audio"]
        self.only: tuple[str, ...] = options["only"]
        self.perf_analyzer: str | None = options["perf_analyzer"] or shutil.which("perf_analyzer")
        self.shape = Shape(options["layers"], options["hidden_size"], None, options["heads"], options["conv_dim"])


def measure(order: Order, limit_s: float, speech: Path, command: str) -> dict[str, Any]:
    """All steps, those first that the bar needs."""
    work = Run(order.output, order.device, limit_s, command, describe_shape(order.shape), only=order.only)
    modes = MODES if order.device == "cuda" else CPU_MODES
    first = [mode for mode in modes if mode in {"tf32", "fp16"}]
    later = [mode for mode in modes if mode not in first]
    with tempfile.TemporaryDirectory(prefix="shrota-gpu-") as name:
        folder = Path(name)
        models = Models(folder, speech, order.shape)
        work.results["checkpoint"] = {"sha256": models.bundled.sha256}

        def load(which: str) -> dict[str, Any]:
            return {"checkpoint": models[which].sha256}

        work.step("load bundled", lambda: load("bundled"))
        work.step("load large", lambda: load("large"))
        for part in (first, later):
            for mode in part:
                work.step(f"gate bundled {mode}", lambda mode=mode: gate_step(models["bundled"], mode, order.device))  # type: ignore[misc]
                work.step(f"gate large {mode}", lambda mode=mode: gate_step(models["large"], mode, order.device))  # type: ignore[misc]
            for mode in part:
                work.step(
                    f"triton large {mode}",
                    lambda mode=mode: triton_step(models["large"], mode, order, folder, work.left_s),  # type: ignore[misc]
                    least_s=3 * LEAST_S,
                )
            if part is first:
                for rows in order.batches:
                    work.step(
                        f"engines large, {rows} rows",
                        lambda rows=rows: engines_step(  # type: ignore[misc]
                            models["large"], modes, order.device, rows, order.seconds_of_audio
                        ),
                    )
        work.step("load convolutions", lambda: load("convolutions"))
        for rows in order.batches:
            work.step(
                f"engines convolutions, {rows} rows",
                lambda rows=rows: engines_step(  # type: ignore[misc]
                    models["large"],
                    modes,
                    order.device,
                    rows,
                    order.seconds_of_audio,
                    convolutions=models["convolutions"],
                ),
            )
    if not work.results["steps"]:
        raise GateSettingError(
            f"no step has {' or '.join(order.only)} in its name: write load, gate, triton or engines"
        )
    return work.results


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = (0,)
    if min(counts) < 1:
        raise GateSettingError(f"{text!r} is no list of counts: write 1,32")
    return counts


@click.command()
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=30), default=540, show_default=True, help="For everything.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/gpu"), show_default=True)
@click.option("--manifest", type=click.Path(path_type=Path), default=SAMPLES, show_default=True, help="Speech.")
@click.option("--batches", default="1,32", show_default=True, help="Rows of a run.")
@click.option("--concurrency", default="1,128", show_default=True, help="Requests in flight on Triton.")
@click.option("--seconds-of-audio", type=click.FloatRange(min=0.5, max=20), default=10, show_default=True)
@click.option("--instances", type=click.IntRange(1), default=2, show_default=True, help="Of the engine on Triton.")
@click.option("--only", multiple=True, metavar="TEXT", help="Steps with this in their name: bundled, gate, triton, ...")
@click.option("--perf-analyzer", help="The program. [that on the PATH; without one, threads of our own]")
@click.option("--layers", type=click.IntRange(1), help="A smaller large model, to try the script.")
@click.option("--hidden-size", type=click.IntRange(16))
@click.option("--heads", type=click.IntRange(1))
@click.option("--conv-dim", type=click.IntRange(1))
def main(*, seconds: float, manifest: Path, batches: str, concurrency: str, **options: Any) -> None:
    """Measures, and writes OUTPUT.json and OUTPUT.md after each step."""
    if options["device"] == "cuda" and not torch.cuda.is_available():
        raise ExportError("there is no GPU here that PyTorch can use; --device cpu tries the script without one")
    order = Order(batches=_counts(batches), concurrencies=_counts(concurrency), **options)
    read_speech(
        manifest, Subject("", lambda audio, count: (audio, count), Precision.FP32)
    )  # before anything is measured
    command = command_line("benchmarks.gpu", click.get_current_context())
    results = measure(order, seconds, manifest, command)
    print(markdown(results))


if __name__ == "__main__":
    run(main)
