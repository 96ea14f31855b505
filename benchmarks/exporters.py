"""Compares PyTorch's two ONNX exporters on one checkpoint: nodes, parity with Hugging Face, ONNX Runtime speed.

    python benchmarks/exporters.py [CHECKPOINT]

Without a checkpoint it takes a twin of IndicWav2Vec-Hindi's architecture with random weights. Sessions take turns, so
that whatever else the machine does meets all alike, and what counts is the least processor time of all threads, which
other programs disturb less than the time on the clock.
"""

import json
import os
import platform
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from scripts.command import run
from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import open_engine
from shrota_export.exporters import Exporter, export_graph
from shrota_export.frontend import receptive_field_and_stride
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.manifest import count_nodes
from shrota_export.random_checkpoint import Shape, write_random_checkpoint
from shrota_export.speech import read_speech
from shrota_export.verification import reference_log_probs, verify

VARIANTS = ((Exporter.TORCHSCRIPT, 17), (Exporter.DYNAMO, 17), (Exporter.DYNAMO, 18), (Exporter.DYNAMO, 20))
SAMPLE_RATE = 16000
THREADS = 2
ROW_SECONDS = (5, 4, 3, 2)


@dataclass
class Row:
    """One exporter's results."""

    name: str
    export_s: float
    nodes: dict[str, int]
    nodes_run: int
    differences: dict[str, float]
    session: onnxruntime.InferenceSession
    single_ms: float = float("inf")
    batch_ms: float = float("inf")


def make_row(checkpoint_folder: Path, exporter: Exporter, opset: int, speech: Path, scratch: Path) -> Row:
    """Exports and verifies with one exporter."""
    checkpoint = find_checkpoint(str(checkpoint_folder))
    model, extractor = load_model(checkpoint), load_feature_extractor(checkpoint)
    utterances = read_speech(speech, extractor.sampling_rate)
    references = reference_log_probs(model, extractor, utterances)
    engine = AcousticEngine(model, normalize=bool(extractor.do_normalize)).eval()
    path = scratch / f"{exporter}-{opset}.onnx"
    started = time.perf_counter()
    graph = export_graph(engine, path, exporter, opset)
    export_s = time.perf_counter() - started
    onnx.save(graph, path)
    receptive_field, _ = receptive_field_and_stride(model.config.conv_kernel, model.config.conv_stride)
    differences = verify(open_engine(path), utterances, references, receptive_field)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(scratch / f"{exporter}-{opset}-optimized.onnx")
    options.log_severity_level = 3  # it warns that the optimized graph suits this machine only
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting is no work
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(options.optimized_model_filepath, load_external_data=False)
    nodes_run = Counter(node.op_type for node in optimized.graph.node).total()
    return Row(f"{exporter}, opset {opset}", export_s, count_nodes(graph), nodes_run, differences, session)


def time_run(session: onnxruntime.InferenceSession, audio: NDArray[np.float32], lengths: list[int]) -> float:
    """Milliseconds of processor time of one run."""
    feed = {"AUDIO": audio, "NUM_SAMPLES": np.array(lengths, np.int32)[:, None]}
    started = time.process_time()
    session.run(None, feed)
    return 1000 * (time.process_time() - started)


def measure(rows: list[Row], rounds: int) -> None:
    """Fills in the times: the longest row alone, and all rows in a batch."""
    random = np.random.default_rng(0)
    audio = random.normal(0, 0.1, (len(ROW_SECONDS), max(ROW_SECONDS) * SAMPLE_RATE)).astype(np.float32)
    lengths = [seconds * SAMPLE_RATE for seconds in ROW_SECONDS]
    for turn in range(rounds + 1):
        for row in rows:
            single = time_run(row.session, audio[:1], lengths[:1])
            batch = time_run(row.session, audio, lengths)
            if turn:  # the first run allocates
                row.single_ms, row.batch_ms = min(row.single_ms, single), min(row.batch_ms, batch)


def table(rows: list[Row]) -> str:
    """The results as a Markdown table."""
    head = (
        "| exporter | export, s | nodes | LayerNormalization / MatMul / Conv | nodes that ONNX Runtime runs "
        "| largest difference from Hugging Face | in a batch from alone | 5 s alone, ms | 5, 4, 3, 2 s in a batch, ms |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        nodes, found = row.nodes, row.differences
        worst = max(found["alone"], found["padded"], found["batch"])
        lines.append(
            f"| {row.name} | {row.export_s:.1f} | {nodes['nodes']} "
            f"| {nodes['LayerNormalization']} / {nodes['MatMul']} / {nodes['Conv']} | {row.nodes_run} "
            f"| {worst:.1e} | {found['invariance']:.1e} | {row.single_ms:.0f} | {row.batch_ms:.0f} |"
        )
    return "\n".join(lines)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--speech", type=click.Path(path_type=Path), default=Path("samples/manifest.jsonl"), show_default=True)
@click.option("--layers", type=int, default=4, show_default=True, help="Of the random twin.")
@click.option("--hidden-size", type=int, default=512, show_default=True, help="Of the random twin.")
@click.option("--conv-dim", type=int, default=256, show_default=True, help="Of the random twin.")
@click.option("--rounds", type=int, default=15, show_default=True)
def main(*, checkpoint: Path | None, speech: Path, layers: int, hidden_size: int, conv_dim: int, rounds: int) -> None:
    """Prints the comparison."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = (
            str(checkpoint)
            if checkpoint
            else f"random twin of indicwav2vec-hindi, {layers} layers, {hidden_size} wide, {conv_dim} channels"
        )
        if checkpoint is None:
            checkpoint = scratch / "checkpoint"
            write_random_checkpoint(
                checkpoint, "indicwav2vec-hindi", Shape(layers, hidden_size, conv_dim=conv_dim), seed=0
            )
        rows = [make_row(checkpoint, exporter, opset, speech, scratch) for exporter, opset in VARIANTS]
        measure(rows, rounds)
    versions = {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime", "transformers")}
    print(f"{model}; {datetime.now(UTC).date()}; {os.cpu_count()} cores, {platform.machine()}, CPU")
    print(f"{json.dumps(versions)}\n")
    print(table(rows))


if __name__ == "__main__":
    run(main)
