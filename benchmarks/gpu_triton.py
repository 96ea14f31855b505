"""Load on one engine of the embedded Triton server, for :mod:`benchmarks.gpu`: perf_analyzer, or threads of our own."""

import base64
import csv
import json
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_engines import batch_of, cuda_options
from scripts.repository import EXPORTED, ROOT
from shrota_export.configuration import configurations_to_change, read_configuration, write_configuration
from shrota_export.errors import ExportError
from shrota_export.paths import MODEL
from shrota_server import TritonServer

ENGINE = "acoustic_onnx"
TRIALS = 4
CSV = {"Inferences/Second": "utterances_per_second", "p50 latency": "p50_ms", "p99 latency": "p99_ms"}
"""Columns of perf_analyzer's report; its latencies are in microseconds."""
UNSTABLE = "Failed to obtain stable measurement"
"""In what perf_analyzer says, where its windows differ too much; it may end with an exit code for that."""


def make_repository(folder: Path, graph: Path, mode: str, vocabulary_size: int, instances: int) -> Path:
    """A model repository with one engine; the graph (and its weights beside it) is linked, not copied."""
    shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns(*EXPORTED))
    for relative, text in configurations_to_change(folder, vocabulary_size).items():
        (folder / relative).write_text(text, encoding="utf-8")
    path = folder / ENGINE / "config.pbtxt"
    config = read_configuration(path)
    config.instance_group[0].count = instances
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        accelerator.parameters["use_tf32"] = cuda_options(mode)["use_tf32"]
    path.write_text(write_configuration(config), encoding="utf-8")
    for file in [graph, *graph.parent.glob(f"{graph.name}.data")]:
        name = MODEL.name if file == graph else file.name
        (folder / MODEL).with_name(name).hardlink_to(file)
    return folder


def served(repository: Path, log: Path, timeout_s: float) -> TritonServer:
    """The embedded server, to be entered; the log of an earlier one is removed."""
    log.unlink(missing_ok=True)
    return TritonServer(
        repository, models=[ENGINE], log_path=log, ready_timeout_s=timeout_s, open_to_all=["shared-memory"]
    )


def check_provider(log: Path, device: str) -> None:
    """Raises :class:`ExportError` unless all instances of the engine, as the server's log has it, run on the device."""
    wanted = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}[device]
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if ENGINE in line]
    said = [line for line in lines if "ExecutionProvider" in line]
    others = [line for line in said if wanted not in line]
    if others or not said:
        why = " ".join(others[-1].split())[:300] if others else "nothing of its provider in the log"
        raise ExportError(f"{ENGINE} does not run on the {device}: {why}")


def write_input(path: Path, seconds: float) -> None:
    """One utterance as perf_analyzer's ``--input-data``."""
    audio, num_samples = batch_of(1, seconds)
    tensors = {
        "AUDIO": {"content": {"b64": base64.b64encode(audio.tobytes()).decode()}, "shape": [audio.size]},
        "NUM_SAMPLES": {"content": {"b64": base64.b64encode(num_samples.tobytes()).decode()}, "shape": [1]},
    }
    path.write_text(json.dumps({"data": [tensors]}), encoding="utf-8")


@dataclass(frozen=True)
class Load:
    """A closed loop: so many requests of one utterance are under way all the time.

    Attributes:
        url: of the server, gRPC.
        seconds_of_audio: of the utterance.
        concurrency: requests under way.
        limit_s: seconds that the measurement may take.
    """

    url: str
    seconds_of_audio: float
    concurrency: int
    limit_s: float


def perf_analyzer_command(program: str, load: Load, data: Path, report: Path) -> list[str]:
    """``--shared-memory system``: the audio does not go through gRPC, which is not what is measured here."""
    options = {
        "-m": ENGINE,
        "-u": load.url,
        "-i": "grpc",
        "--input-data": data,
        "--concurrency-range": f"{load.concurrency}:{load.concurrency}",
        "--measurement-interval": int(1000 * load.limit_s / (TRIALS + 1)),
        "--max-trials": TRIALS,
        "--stability-percentage": 25,
        "--shared-memory": "system",
        "--output-shared-memory-size": 2**20,
        "-f": report,
    }
    return [program, *(str(word) for pair in options.items() for word in pair)]


def run_perf_analyzer(program: str, load: Load, folder: Path) -> dict[str, Any]:
    """The load by NVIDIA's program.

    Returns:
        With ``unstable`` where its windows differ by more than the stability percentage.

    Raises:
        ExportError: it failed, or its report lacks a number; the end of what it said.
    """
    data, report = folder / "input.json", folder / f"report-{load.concurrency}.csv"
    report.unlink(missing_ok=True)
    write_input(data, load.seconds_of_audio)
    command = perf_analyzer_command(program, load, data, report)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * load.limit_s + 30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"perf_analyzer: {error}") from error
    said = " ".join((done.stdout + done.stderr).split())
    unstable = UNSTABLE in said
    if not report.is_file() or (done.returncode and not unstable):
        raise ExportError(f"perf_analyzer ended with exit code {done.returncode}: {said[-300:]}")
    return {
        "by": "perf_analyzer",
        "concurrency": load.concurrency,
        **read_report(report),
        "unstable": unstable,
        "exit_code": done.returncode,
    }


def short_reason(error: Exception) -> str:
    """For the page: the first sentence of what went wrong that says it, else its end."""
    text = " ".join(str(error).split())
    return "perf_analyzer: its windows differed too much" if UNSTABLE in text else text[-120:]


def read_report(path: Path) -> dict[str, float]:
    """Throughput in utterances a second, latencies in milliseconds.

    Raises:
        ExportError: a column or its number is missing.
    """
    with path.open(encoding="utf-8", newline="") as file:
        row = next(iter(csv.DictReader(file)), None)
    if row is None:
        raise ExportError("perf_analyzer's report has no row")
    found = {}
    for column, name in CSV.items():
        try:
            found[name] = float(row[column]) / (1000 if name.endswith("_ms") else 1)
        except (KeyError, TypeError, ValueError):  # no such column; a row that ends before it; no number
            raise ExportError(f"perf_analyzer's report has no number for {column!r}") from None
    return found


def run_threads(load: Load) -> dict[str, Any]:
    """The same load from threads of this process, where perf_analyzer is not at hand.

    Raises:
        ExportError: a request failed.
    """
    from tritonclient import grpc  # noqa: PLC0415

    audio, num_samples = batch_of(1, load.seconds_of_audio)
    inputs = [
        grpc.InferInput("AUDIO", list(audio.shape), "FP32").set_data_from_numpy(audio),
        grpc.InferInput("NUM_SAMPLES", list(num_samples.shape), "INT32").set_data_from_numpy(num_samples),
    ]
    latencies: list[float] = []
    failures: list[BaseException] = []
    warm = time.monotonic() + load.limit_s / 4
    end = time.monotonic() + load.limit_s

    def work() -> None:
        try:
            with grpc.InferenceServerClient(load.url) as client:
                while (started := time.monotonic()) < end:
                    client.infer(ENGINE, inputs)
                    if started > warm:
                        latencies.append(time.monotonic() - started)
        except Exception as error:  # noqa: BLE001 - told once all threads have ended
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(load.concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or not latencies:
        raise ExportError(f"load on {ENGINE}: {' '.join(str(failures[0] if failures else 'no answer').split())[:300]}")
    return {
        "by": "threads of one Python process",
        "concurrency": load.concurrency,
        "utterances_per_second": len(latencies) / (time.monotonic() - warm),
        "p50_ms": 1000 * float(np.median(latencies)),
        "p99_ms": 1000 * float(np.quantile(latencies, 0.99)),
    }
