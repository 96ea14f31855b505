"""Load on one engine of the embedded Triton server, for :mod:`benchmarks.gpu`: perf_analyzer, or threads of our own."""

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_engines import batch_of, cuda_options
from scripts.repository import EXPORTED, ROOT
from shrota_client.configuration import write_configuration
from shrota_export.configuration import configurations_to_change, read_configuration
from shrota_export.errors import ExportError
from shrota_export.paths import MODEL
from shrota_loadtest.perf_analyzer import run as perf_analyzer
from shrota_loadtest.perf_analyzer.data import write_input
from shrota_server import TritonServer

ENGINE = "acoustic_onnx"


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


def run_perf_analyzer(program: str, load: Load, folder: Path) -> dict[str, Any]:
    """The load by NVIDIA's program; audio in shared memory, as what gRPC adds is not what is measured here.

    Returns:
        With ``unstable`` where its windows differ too much.

    Raises:
        PerfAnalyzerError: it failed, or its report lacks a number; the end of what it said.
    """
    data = folder / "input.json"
    audio, _ = batch_of(1, load.seconds_of_audio)
    write_input(data, [audio[0]], ENGINE)
    wanted = perf_analyzer.Load(ENGINE, load.url, load.concurrency, load.limit_s, shared_memory="system")
    done = perf_analyzer.run(program, wanted, data, folder)
    return {
        "by": "perf_analyzer",
        "concurrency": load.concurrency,
        "utterances_per_second": done.report.inferences_per_second,
        "p50_ms": done.report.latency_ms[50],
        "p99_ms": done.report.latency_ms[99],
        "unstable": done.why_unstable is not None,
    }


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
