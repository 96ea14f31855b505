"""What each precision changes and what int8 gains: the gate on much speech, and speed on the large architecture.

    python -m benchmarks.precision [--graph FILE] [--output docs/benchmarks/precision] MANIFEST...

Parity: the float32 graph, converted as `shrota export precision` does it (ranges measured on `samples/`), through the
gate on all utterances of the manifests. Speed: a checkpoint of IndicWav2Vec-Hindi's architecture with random weights,
float32 and int8 in ONNX Runtime on two threads, taking turns on 10 s of noise, so that whatever else the machine does
meets both; what counts is the median of the ratios of neighbours.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

import click
import numpy as np

from benchmarks.machine import Machine
from benchmarks.result import Figure, Result, at_least, at_most
from scripts.command import run
from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import Engine, make_batch, open_engine
from shrota_export.exporters import Exporter, export_graph
from shrota_export.gate import Report, Spoken, Subject, check, open_subject, read_speech
from shrota_export.gate.subject import make_subject
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.precision.convert import convert
from shrota_export.precision.graphs import load_graph
from shrota_export.precision.int8 import to_int8
from shrota_export.precision.kinds import Precision
from shrota_export.precision.ranges import measure_ranges
from shrota_export.random_checkpoint import Shape, write_random_checkpoint

SAMPLES = Path("samples/manifest.jsonl")
GRAPH = Path("model_repository/acoustic_onnx/1/model.onnx")
LOW = (Precision.FP16, Precision.BF16, Precision.INT8)
POINTS = {Precision.FP16: 0.2, Precision.BF16: 0.2, Precision.INT8: 0.5}
SECONDS = 10
THREADS = 2


def parity(path: Path, speech: Sequence[Spoken], reference: Subject) -> list[tuple[Report, Result]]:
    """The gate's reports of all precisions."""
    ranges = measure_ranges(load_graph(path), read_speech(SAMPLES, reference))
    found = []
    for precision in LOW:
        graph = convert(load_graph(path), precision, ranges)
        candidate = make_subject(str(precision), graph, vocabulary=reference.vocabulary)
        report = check(candidate, reference, speech)
        print("\n".join(report.lines()), flush=True)
        found.append((report, parity_result(report, precision)))
    return found


def parity_result(report: Report, precision: Precision) -> Result:
    """Its figures beside the bars."""
    alone, words = report.cases["alone"], report.transcripts
    assert words is not None  # noqa: S101 - the manifests have texts
    low, high = words.words.interval or (0.0, 0.0)
    old, new = words.reference.words, words.candidate.words
    figures = [
        Figure("words", old.edits.reference_length),
        Figure("word error rate, float32", 100 * old.value, "%"),
        Figure(f"word error rate, {precision}", 100 * new.value, "%"),
        at_most(
            "word error rate, rise",
            100 * words.words.value,
            POINTS[precision],
            "points",
            f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}",
        ),
        Figure("character error rate, rise", 100 * words.characters.value, "points"),
    ]
    agreement = 100 * (1 - alone.changed_share)
    if precision.is_half:
        figures.append(at_least("frames with the same best token", agreement, 99.5, "%"))
    else:
        figures.append(Figure("frames with the same best token", agreement, "%"))
    figures += [
        Figure("mean difference in log-probability", alone.mean),
        Figure("largest difference in log-probability", alone.largest),
        Figure(
            "largest difference from itself alone, in a batch or beside padding",
            max(each.largest for each in report.invariance.values()),
        ),
    ]
    note = f" {report.note}." if report.note else ""
    verdict = "passes" if report.passed else f"fails: {report.failures[0].text}"
    return Result(f"Parity: {precision}", f"The gate {verdict}.{note}", figures)


def large_graph(folder: Path) -> bytes:
    """The float32 graph of a random checkpoint of the published architecture."""
    write_random_checkpoint(folder / "checkpoint", "indicwav2vec-hindi", Shape(), seed=0)
    checkpoint = find_checkpoint(str(folder / "checkpoint"))
    normalize = bool(load_feature_extractor(checkpoint).do_normalize)
    engine = AcousticEngine(load_model(checkpoint), normalize=normalize).eval()
    graph = export_graph(engine, folder / "graph.onnx", Exporter.TORCHSCRIPT)
    content: bytes = graph.SerializeToString()
    return content


def speed(rounds: int) -> Result:
    """float32 and int8 by turns on the large architecture."""
    import onnx  # noqa: PLC0415 - with the graph, which is 1.3 GB

    with tempfile.TemporaryDirectory() as folder:
        content = large_graph(Path(folder))
    engines = {"float32": open_engine(content, threads=THREADS, spin=False)}
    quantized = to_int8(onnx.load_from_string(content)).SerializeToString()
    engines["int8"] = open_engine(quantized, threads=THREADS, spin=False)
    del content, quantized
    clock: dict[str, list[float]] = {name: [] for name in engines}
    processor: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds + 1):
        for name, engine in engines.items():
            wall_s, processor_s = time_run(engine)
            if turn:  # the first run allocates
                clock[name].append(wall_s)
                processor[name].append(processor_s)
    figures = [
        Figure(f"{name}, median", 1000 * median(clock[name]), "ms", note=f"least {1000 * min(clock[name]):.0f}")
        for name in engines
    ]
    figures.append(_ratios("float32 over int8, on the clock", clock))
    figures.append(_ratios("float32 over int8, processor time", processor))
    about = (
        f"IndicWav2Vec-Hindi's architecture with random weights, {SECONDS} s of audio, ONNX Runtime on {THREADS} "
        f"threads; {rounds} rounds, by turns; medians of the ratios of neighbours. Processor time is that of all "
        "threads, which other programs disturb less."
    )
    return Result("Speed: int8 over float32", about, figures)


def _ratios(name: str, times: dict[str, list[float]]) -> Figure:
    ratios = [old / new for old, new in zip(times["float32"], times["int8"], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    least = min(times["float32"]) / min(times["int8"])
    return at_least(
        name, median(ratios), 2.2, note=f"quartiles {low:.2f} and {high:.2f}; of the least times {least:.2f}"
    )


def time_run(engine: Engine) -> tuple[float, float]:
    """Seconds of one run: on the clock, and of processor time of all threads."""
    noise = np.random.default_rng(0).normal(0, 0.1, SECONDS * 16000).astype(np.float32)
    audio, num_samples = make_batch([noise])
    started, started_processor = time.perf_counter(), time.process_time()
    engine(audio, num_samples)
    return time.perf_counter() - started, time.process_time() - started_processor


@click.command()
@click.argument("manifests", type=click.Path(path_type=Path), nargs=-1)
@click.option("--graph", type=click.Path(path_type=Path), default=GRAPH, show_default=True)
@click.option("--rounds", type=int, default=11, show_default=True, help="Of the speed; 0 leaves it out.")
@click.option("--output", type=click.Path(path_type=Path), help="Writes OUTPUT.md and OUTPUT.json.")
def main(*, manifests: tuple[Path, ...], graph: Path, rounds: int, output: Path | None) -> None:
    """Prints the results; without manifests only the speed."""
    results, reports = [], []
    if manifests:
        reference = open_subject(graph)
        speech = [spoken for manifest in manifests for spoken in read_speech(manifest, reference)]
        for report, result in parity(graph, speech, reference):
            reports.append(report.as_dict())
            results.append(result)
    if rounds:
        results.append(speed(rounds))
    text = "\n\n".join(result.markdown() for result in results)
    print(text)
    if output is not None:
        machine = Machine.here()
        names = " ".join("/".join(path.parts[-2:]) for path in manifests)
        title = f"# Precision on a CPU\n\n`python -m benchmarks.precision {names}`; {machine.line()}\n\n"
        output.with_suffix(".md").write_text(title + text + "\n", encoding="utf-8")
        output.with_suffix(".json").write_text(
            json.dumps({"machine": machine.line(), "reports": reports}, ensure_ascii=False, indent=1) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    run(main)
