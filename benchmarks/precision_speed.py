"""What int8 gains on the large architecture, and where the time goes; see :mod:`benchmarks.precision`."""

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import onnxruntime

from benchmarks.progress import say
from benchmarks.result import Figure, Result, at_least
from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import Engine, Floats, Ints, make_batch, open_engine
from shrota_export.exporters import Exporter, export_graph
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.precision.int8 import to_int8
from shrota_export.random_checkpoint import Shape, write_random_checkpoint

SECONDS = 10
THREADS = 2
PROFILED_RUNS = 4
KINDS = 8
"""Of nodes, that a profile shows."""
Graphs = dict[str, bytes]


def large_graphs() -> Graphs:
    """A random checkpoint of the published architecture in float32 and in int8, 1.3 and 0.3 GB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_checkpoint(folder / "checkpoint", "indicwav2vec-hindi", Shape(), seed=0)
        checkpoint = find_checkpoint(str(folder / "checkpoint"))
        normalize = bool(load_feature_extractor(checkpoint).do_normalize)
        engine = AcousticEngine(load_model(checkpoint), normalize=normalize).eval()
        graph = export_graph(engine, folder / "graph.onnx", Exporter.TORCHSCRIPT)
    return {"float32": graph.SerializeToString(), "int8": to_int8(graph).SerializeToString()}


def measure_speed(graphs: Graphs, rounds: int) -> Result:
    """Both by turns."""
    engines = {name: open_engine(graph, threads=THREADS, spin=False) for name, graph in graphs.items()}
    clock: dict[str, list[float]] = {name: [] for name in engines}
    processor: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds + 1):
        for name, engine in engines.items():
            wall_s, processor_s = time_run(engine)
            if turn:  # the first run allocates
                clock[name].append(wall_s)
                processor[name].append(processor_s)
        if turn == 1:
            say(f"{rounds} rounds, about {rounds * sum(times[0] for times in clock.values()) / 60:.1f} minutes")
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
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    least = min(times["float32"]) / min(times["int8"])
    return at_least(
        name, median(ratios), 2.2, note=f"quartiles {low:.2f} and {high:.2f}; of the least times {least:.2f}"
    )


def time_run(engine: Engine) -> tuple[float, float]:
    """Seconds of one run: on the clock, and of processor time of all threads."""
    audio, num_samples = _noise()
    started, started_processor = time.perf_counter(), time.process_time()
    engine(audio, num_samples)
    return time.perf_counter() - started, time.process_time() - started_processor


def measure_shares(graphs: Graphs) -> Result:
    """Which kinds of nodes take the time, as ONNX Runtime's profiler has it."""
    figures = []
    for name, graph in graphs.items():
        times = profile(graph)
        total_us = sum(times.values())
        figures.append(Figure(f"{name}, all nodes", total_us / 1000, "ms"))
        figures += [
            Figure(f"{name}, {kind}", 100 * time_us / total_us, "%") for kind, time_us in times.most_common(KINDS)
        ]
    about = (
        f"ONNX Runtime's profiler on the graphs of the speed above: of each node the least of {PROFILED_RUNS} runs, "
        "added up by kind."
    )
    return Result("Where the time goes", about, figures)


def profile(graph: bytes) -> Counter[str]:
    """Microseconds of each kind of nodes: the least of each node."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = THREADS
    options.enable_profiling = True
    audio, num_samples = _noise()
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(PROFILED_RUNS):
            session.run(None, {"AUDIO": audio, "NUM_SAMPLES": num_samples})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    least: dict[str, tuple[str, int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind, time_us = event["args"]["op_name"], event["dur"]
            least[event["name"]] = (kind, min(time_us, least.get(event["name"], (kind, time_us))[1]))
    times: Counter[str] = Counter()
    for kind, time_us in least.values():
        times[kind] += time_us
    return times


def _noise() -> tuple[Floats, Ints]:
    noise = np.random.default_rng(0).normal(0, 0.1, SECONDS * 16000).astype(np.float32)
    return make_batch([noise])
