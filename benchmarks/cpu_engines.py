"""The large architecture on a processor, every engine that runs here, by turns in one run.

    python -m benchmarks.cpu_engines [--rounds 8] [--seconds-of-audio 10] [--output docs/benchmarks/cpu-engines]

IndicWav2Vec-Hindi's architecture with random weights: PyTorch in float32, ONNX Runtime in float32 and int8, OpenVINO in
float32, bfloat16 and int8, each as the export makes it, on as many threads as there are cores. The bar is that of the
fastest: 12 times real time. Random weights transcribe nothing, so only log-probabilities are compared here; on speech
that is the gate's business (`shrota export precision`, `shrota export openvino`). Needs the package openvino.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

import click
import numpy as np
import torch

from benchmarks.command_line import command_line
from benchmarks.machine import Machine
from benchmarks.progress import say
from benchmarks.result import Figure, Result, at_least
from scripts.command import run
from shrota_client.pages.host import cores
from shrota_client.pages.load import Load
from shrota_client.samples import SAMPLE_RATE
from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import Engine, Floats, Ints, open_engine
from shrota_export.exporters import Exporter, export_graph
from shrota_export.gate.stages import module_engine
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.openvino.runtime import open_model, write_model
from shrota_export.openvino.weights import with_int8_weights
from shrota_export.precision.graphs import save_graph
from shrota_export.precision.int8 import to_int8
from shrota_export.precision.kinds import Precision
from shrota_export.random_checkpoint import Shape, write_random_checkpoint

BAR = 12.0
"""Times real time."""
REFERENCE, INT8 = "PyTorch fp32", "ONNX Runtime int8"
OPENVINO = (Precision.FP32, Precision.BF16, Precision.INT8)
MARGIN = 1.15
"""So much faster than ONNX Runtime an engine must be to be worth another one."""
Times = Mapping[str, list[float]]


def make_engines(folder: Path, layers: int | None) -> dict[str, Engine]:
    """All of them, of one checkpoint.

    Args:
        folder: for checkpoint and graphs.
        layers: of the encoder; None for those of the published architecture.
    """
    say("making the checkpoint and its graphs")
    write_random_checkpoint(folder / "checkpoint", "indicwav2vec-hindi", Shape(layers), seed=0)
    checkpoint = find_checkpoint(str(folder / "checkpoint"))
    normalize = bool(load_feature_extractor(checkpoint).do_normalize)
    module = AcousticEngine(load_model(checkpoint), normalize=normalize).eval()
    graph = export_graph(module, folder / "graph.onnx", Exporter.TORCHSCRIPT)
    engines = {
        REFERENCE: module_engine(module),
        "ONNX Runtime fp32": open_engine(graph.SerializeToString(), threads=cores(), spin=True),
        INT8: open_engine(to_int8(graph).SerializeToString(), threads=cores(), spin=True),
    }
    for precision in OPENVINO:
        source = folder / f"{precision}.onnx"
        save_graph(with_int8_weights(graph) if precision is Precision.INT8 else graph, source, f"{source.name}.data")
        write_model(source, folder / f"{precision}.xml", precision, SAMPLE_RATE // 40)
        engines[f"OpenVINO {precision}"], _ = open_model(folder / f"{precision}.xml", precision)
    return engines


def by_turns(engines: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run; the first of each, which takes memory, is not among them."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds + 1):
        for name, once in engines.items():
            started = time.perf_counter()
            once()
            if turn:
                times[name].append(time.perf_counter() - started)
    return times


def speed(times: Times, seconds: float, rows: int, others: float) -> Result:
    """The table of one shape."""
    figures = []
    audio_s = seconds * rows
    for name, each in times.items():
        low, _, high = quantiles(each, n=4) if len(each) > 1 else each * 3
        ratio = median(times[INT8]) / median(each)
        note = f"{median(each):.2f} s, quartiles {low:.2f} and {high:.2f}, least {min(each):.2f}; {ratio:.2f} of {INT8}"
        figures.append(Figure(name, audio_s / median(each), "times real time", note=note))
    fastest = max(figures, key=lambda figure: figure.value)
    figures.append(at_least(f"the fastest, {fastest.name}", fastest.value, BAR, "times real time"))
    neighbours = [old / new for old, new in zip(times[INT8], times["OpenVINO int8"], strict=True)]
    name = f"OpenVINO int8 over {INT8}, median of the ratios of neighbours"
    figures.append(Figure(name, median(neighbours), note=f"worth an engine of its own from {MARGIN:g} on"))
    about = (
        f"{rows} x {seconds:g} s of audio, all engines by turns, {len(times[INT8])} rounds, {cores()} threads; "
        f"medians. Other programs took {100 * others:.1f} % of the processors meanwhile."
    )
    return Result(f"Speed: {rows} x {seconds:g} s", about, figures)


def differences(engines: Mapping[str, Engine], audio: Floats, num_samples: Ints) -> Result:
    """Mean and largest difference in log-probability from PyTorch in float32."""
    reference = engines[REFERENCE](audio, num_samples)[0]
    figures = []
    for name, engine in engines.items():
        if name != REFERENCE:
            found = np.abs(np.asarray(engine(audio, num_samples)[0]) - reference)
            figures.append(Figure(name, float(found.mean()), "nats", note=f"largest {found.max():.3g}"))
    about = "Of noise through random weights: mean difference in log-probability from PyTorch in float32."
    return Result("Difference", about, figures)


@click.command()
@click.option("--rounds", type=click.IntRange(2), default=8, show_default=True)
@click.option("--seconds-of-audio", "seconds", type=click.FloatRange(0.5, 20), default=10, show_default=True)
@click.option("--layers", type=click.IntRange(1), help="Transformer layers. [24, as published]")
@click.option("--output", type=click.Path(path_type=Path), help="Writes OUTPUT.md and OUTPUT.json.")
def main(*, rounds: int, seconds: float, layers: int | None, output: Path | None) -> None:
    """Prints the tables."""
    torch.set_num_threads(cores())
    audio = (0.1 * np.random.default_rng(0).standard_normal((1, round(seconds * SAMPLE_RATE)))).astype(np.float32)
    results = []
    with tempfile.TemporaryDirectory(prefix="shrota-cpu-engines-") as name:
        engines = make_engines(Path(name), layers)
        counts = np.full((1, 1), audio.shape[1], np.int32)
        results.append(differences(engines, audio, counts))
        for rows in (1, 4):
            say(f"{rows} x {seconds:g} s")
            batch = np.repeat(audio, rows, axis=0), np.repeat(counts, rows, axis=0)
            before, since = Load.now(), time.monotonic()
            once = {name: lambda engine=engine, batch=batch: engine(*batch) for name, engine in engines.items()}
            times = by_turns(once, max(2, rounds // rows))
            results.insert(-1, speed(times, seconds, rows, before.others(Load.now(), time.monotonic() - since)))
    for result in results:
        print(result.markdown(), flush=True)
    if output is None:
        return
    machine = Machine.here()
    machine = replace(machine, versions={**machine.versions, "openvino": version("openvino")})
    command = command_line("benchmarks.cpu_engines", click.get_current_context())
    described = "" if layers is None else f" with {layers} layers"
    head = f"`{command}`; IndicWav2Vec-Hindi's architecture{described}, random weights; {machine.line()}"
    text = "\n\n".join(result.markdown() for result in results)
    page = f"# Engines on a CPU, the large architecture\n\n{head}\n\n{text}\n"
    output.with_suffix(".md").write_text(page, encoding="utf-8")
    content = {"command": command, "machine": asdict(machine), "results": [asdict(result) for result in results]}
    output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
