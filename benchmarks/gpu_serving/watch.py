"""What server and load generator take of the processors, by process, and the GPU's own numbers meanwhile."""

import contextlib
import re
import shutil
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import psutil

from shrota_loadtest.processes import processor_times

SMI = "nvidia-smi"
SMI_S = 30.0
EVERY_S, GPU_EVERY_S = 0.5, 1.0
QUERY = ("utilization.gpu", "memory.used", "power.draw", "clocks.sm")
"""Of nvidia-smi: per cent of the time in which a kernel ran, MiB, W, MHz."""
BUSY = 0.5
"""Of the greatest use: intervals with less are before and after the load, and left out."""
GENERATOR = "perf_analyzer"
WORDS = 6
"""Of its command line, where its name may stand: behind Python, or a loader with its options."""
NUMBER = re.compile(r" \(\d+\)$")


@dataclass(frozen=True)
class Moment:
    """Processor seconds so far, by process."""

    at: float
    server: Mapping[str, float]
    generator_s: float


class Watch:
    """Looks at the processors twice a second and at the GPUs once, within a ``with`` statement.

    Args:
        pid: of tritonserver.
        gpu: whether to ask nvidia-smi.
    """

    def __init__(self, pid: int, *, gpu: bool) -> None:
        self._server = psutil.Process(pid)
        self._moments: list[Moment] = []
        self._over = threading.Event()
        self._said: list[str] = []
        self._threads = [threading.Thread(target=self._watch, name="processors", daemon=True)]
        if gpu and shutil.which(SMI) is not None:
            self._threads.append(threading.Thread(target=self._ask, name=SMI, daemon=True))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def result(self) -> dict[str, Any]:
        """In plain types: processors of each process, and of each GPU the numbers of :data:`QUERY`."""
        return {"processors": processors(self._moments), "gpus": gpus("\n".join(self._said))}

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self._moments.append(Moment(time.monotonic(), processor_times(self._server), self._generator_s()))

    def _ask(self) -> None:
        while not self._over.wait(GPU_EVERY_S):
            self._said.append(ask_gpus(QUERY))

    def _generator_s(self) -> float:
        """Of perf_analyzer, which this process has started."""
        spent = 0.0
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(GENERATOR in word for word in child.cmdline()[:WORDS]):
                    times = child.cpu_times()
                    spent += times.user + times.system
        return spent


def processors(moments: Sequence[Moment]) -> dict[str, float]:
    """Processors that each process used while there was load, by name; those of one name are told apart by a number."""
    intervals: list[tuple[dict[str, float], float]] = []
    for before, after in pairwise(moments):
        seconds = after.at - before.at
        if seconds <= 0:
            continue
        used = {
            name: max(0.0, spent - before.server[name]) / seconds
            for name, spent in after.server.items()
            if name in before.server
        }
        generator = max(0.0, after.generator_s - before.generator_s) / seconds
        intervals.append(({**used, GENERATOR: generator}, sum(used.values())))
    most = max((total for _, total in intervals), default=0.0)
    busy = [used for used, total in intervals if total >= BUSY * most and most]
    if not busy:
        return {}
    names = dict.fromkeys(name for used in busy for name in used)
    return {_told(name, names): sum(used.get(name, 0.0) for used in busy) / len(busy) for name in names}


def _told(name: str, names: Mapping[str, None]) -> str:
    """Without the process id where no other process has the name."""
    short = NUMBER.sub("", name)
    return short if sum(NUMBER.sub("", each) == short for each in names) == 1 else name


def gpus(said: str) -> dict[str, dict[str, float]]:
    """From nvidia-smi's lines: median use, power and clock of the busy half of the looks, and the most memory."""
    looks: dict[str, list[list[float]]] = defaultdict(list)
    for line in said.splitlines():
        index, *fields = [field.strip() for field in line.split(",")]
        try:
            numbers = [float(field) for field in fields]
        except ValueError:  # "[N/A]", or a line that was not written to its end
            continue
        if len(numbers) == len(QUERY):
            looks[index].append(numbers)
    found = {}
    for index, rows in looks.items():
        most = max(row[0] for row in rows)
        busy = [row for row in rows if row[0] >= BUSY * most]
        found[index] = {
            "utilization_percent": statistics.median(row[0] for row in busy),
            "memory_mib": max(row[1] for row in rows),
            "power_w": statistics.median(row[2] for row in busy),
            "clock_mhz": statistics.median(row[3] for row in busy),
        }
    return found


def gpu_memory_mib() -> dict[str, float]:
    """Memory in use on each GPU now, whoever has it; empty where there is none."""
    pairs = [line.split(",") for line in ask_gpus(("memory.used",)).splitlines() if line.strip()]
    try:
        return {index.strip(): float(used) for index, used in pairs}
    except ValueError:  # "[N/A]"
        return {}


def ask_gpus(names: Sequence[str]) -> str:
    """A line for each GPU: its index, and what nvidia-smi calls by these names; empty where there is none."""
    if shutil.which(SMI) is None:
        return ""
    command = [SMI, f"--query-gpu=index,{','.join(names)}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SMI_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
