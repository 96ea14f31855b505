"""What a 30-minute file costs in memory, over a file of one minute."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.result import Figure, Result, at_most
from benchmarks.speech import Audio, cut
from shrota_client import Client
from shrota_server import TritonServer

SHORT_S, LONG_S = 60.0, 1800.0
BYTES_PER_SAMPLE = 24
INTERVAL_S = 0.05
REPEATS = 4
DECODERS = 2
"""Processes of the decoder, which have one file each before growth is counted: each takes its working memory once."""
SETTLE_S = 2.0
MIB = 2**20


def engine_process(server_pid: int) -> psutil.Process:
    """The process of the engine: the Python-based backend's stub for ``acoustic_onnx``."""
    for process in psutil.Process(server_pid).children(recursive=True):
        if any("acoustic_onnx" in argument for argument in process.cmdline()):
            return process
    raise LookupError("the server has no process for acoustic_onnx")


def proportional_bytes(process: psutil.Process) -> int:
    """Memory of a process; what several share counts in parts (PSS)."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


class Peak:
    """Largest memory, within a ``with`` block, of a server's processes together and of its engine."""

    def __init__(self, server_pid: int) -> None:
        server = psutil.Process(server_pid)
        self.processes = [server, *server.children(recursive=True)]
        self.engine = engine_process(server_pid)
        self.all_bytes = self.engine_bytes = self.settled_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _sample(self) -> None:
        sizes = {process.pid: proportional_bytes(process) for process in self.processes}
        self.all_bytes = max(self.all_bytes, sum(sizes.values()))
        self.engine_bytes = max(self.engine_bytes, self.engine.memory_full_info().uss)

    def settle(self) -> None:
        """Notes what the processes hold now."""
        self.settled_bytes = sum(proportional_bytes(process) for process in self.processes)

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._sample()

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def peak_of(client: Client, server_pid: int, audio: Audio, times: int) -> Peak:
    """Memory while a file is transcribed some times, one after the other, and when it has been."""
    with Peak(server_pid) as peak:
        for _ in range(times):
            client.transcribe(audio)
    time.sleep(SETTLE_S)
    peak.settle()
    return peak


def measure(repository: Path, speech: Audio) -> Result:
    """One server: the one-minute file several times, then the 30-minute file again and again."""
    [short], [long] = cut(speech, [SHORT_S]), cut(speech, [LONG_S])
    additional = long.size - short.size
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server, Client(server.grpc_url) as client:
        client.transcribe(short)
        one_minute = peak_of(client, server.pid, short, 5)
        repeats = [peak_of(client, server.pid, long, 1) for _ in range(REPEATS)]
    first, last = repeats[DECODERS - 1], repeats[-1]
    largest = max(repeat.all_bytes for repeat in repeats)
    engine_bytes = max(repeat.engine_bytes for repeat in repeats)
    return Result(
        "Memory: a 30-minute file",
        "The bundled checkpoint; proportional set size (PSS) of all server processes, sampled every "
        f"{1000 * INTERVAL_S:g} ms, while a file of 1 minute is transcribed 5 times, then one of 30 minutes {REPEATS} "
        f"times; and {SETTLE_S:g} s after each, when the server is idle.",
        [
            Figure("peak, 1 minute", one_minute.all_bytes / MIB, "MiB"),
            Figure(
                f"peak, 30 minutes, largest of {REPEATS}",
                largest / MIB,
                "MiB",
                note=", ".join(f"{repeat.all_bytes / MIB:.0f}" for repeat in repeats),
            ),
            at_most("per additional sample", (largest - one_minute.all_bytes) / additional, BYTES_PER_SAMPLE, "bytes"),
            at_most(
                "engine's memory, 30 minutes over 1",
                engine_bytes / one_minute.engine_bytes,
                1.02,
                note=f"{one_minute.engine_bytes / MIB:.0f} and {engine_bytes / MIB:.0f} MiB of its own (USS)",
            ),
            at_most(
                f"idle memory after the last of {REPEATS} over after the second",
                last.settled_bytes / first.settled_bytes,
                1.02,
                note=", ".join(f"{repeat.settled_bytes / MIB:.0f}" for repeat in repeats) + " MiB",
            ),
        ],
    )
