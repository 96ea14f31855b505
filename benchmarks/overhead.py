"""What Triton and the ensemble cost beside the bare engine: one client, the large architecture, 10 s of audio."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.result import Figure, Result, at_most
from benchmarks.speech import RATE, Audio
from shrota_client import Client
from shrota_server import TritonServer

ROUNDS = 25
BAR = 1.05


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def bare_session(repository: Path) -> Callable[[Audio], object]:
    """The engine's graph in an ONNX Runtime session of this process, on all cores, as the server runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    path = repository / "acoustic_onnx" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(audio: Audio) -> object:
        return session.run(None, {"AUDIO": audio[None], "NUM_SAMPLES": np.array([[audio.size]], np.int32)})

    return run


def measure(repository: Path, speech: Audio, rounds: int = ROUNDS) -> Result:
    """Interleaves gRPC calls and bare runs of the same 10 s; the median of the ratios of neighbours."""
    audio = speech[: 10 * RATE]
    bare = bare_session(repository)
    served_s, bare_s = [], []
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server, Client(server.grpc_url) as client:
        client.transcribe(audio)
        bare(audio)
        for number in range(rounds):
            # which comes first alternates, so that a machine that slows down or speeds up favours neither
            if number % 2:
                bare_s.append(seconds(lambda: bare(audio)))
            served_s.append(seconds(lambda: client.transcribe(audio)))
            if not number % 2:
                bare_s.append(seconds(lambda: bare(audio)))
    served_median, bare_median = statistics.median(served_s), statistics.median(bare_s)
    ratios = sorted(served / alone for served, alone in zip(served_s, bare_s, strict=True))
    return Result(
        "One client: Triton over the bare engine",
        f"The published architecture with random weights, 10 s of audio; {rounds} calls of `asr` through gRPC and "
        f"{rounds} bare ONNX Runtime runs (default options) on as many threads, alternating; medians, and the "
        "median of the ratios of neighbouring calls. The ratio of the least times is that with the "
        "least other work on the machine.",
        [
            Figure("through gRPC", served_median, "s", note=f"{min(served_s):.3f} to {max(served_s):.3f}"),
            Figure("bare ONNX Runtime", bare_median, "s", note=f"{min(bare_s):.3f} to {max(bare_s):.3f}"),
            at_most(
                "gRPC over bare, median of the ratios",
                statistics.median(ratios),
                BAR,
                note=f"quartiles {ratios[rounds // 4]:.3f} and {ratios[-1 - rounds // 4]:.3f}",
            ),
            Figure("gRPC over bare, least times", min(served_s) / min(bare_s)),
        ],
    )
