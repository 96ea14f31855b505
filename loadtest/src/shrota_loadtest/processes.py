"""Memory of the server's processes while it is under load."""

import re
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psutil

from shrota_client.pages.load import Load
from shrota_loadtest.errors import LoadTestError

INSTANCE = re.compile(r"\w+_\d+_\d+")
"""How Triton names the process of a Python model in its arguments."""
EDGE_SHARE = 0.1
"""Of the measured time: what is told of its start and end is the median of so much at either end."""

LEAST_EDGE_S = 2.0
"""Or so many seconds, of a short one."""


@dataclass(frozen=True)
class Sample:
    """Bytes of each process, by name with process id, at a moment in seconds since 1970."""

    at: float
    bytes: Mapping[str, int]


def find_process(pid: int) -> psutil.Process:
    """The server's process.

    Raises:
        LoadTestError: there is none of this id.
    """
    try:
        return psutil.Process(pid)
    except psutil.Error as error:
        raise LoadTestError(f"there is no process {pid} here: give tritonserver's with --pid") from error


def read_memory(server: psutil.Process) -> dict[str, int]:
    """Bytes of the server and of all processes under it: PSS, which parts shared pages, or RSS where that is hidden."""
    try:
        found = [server, *server.children(recursive=True)]
    except psutil.Error:
        return {}
    memory = {}
    for process in found:
        try:
            name = f"{_name(process)} ({process.pid})"
            try:
                memory[name] = int(process.memory_full_info().pss)
            except psutil.AccessDenied:
                memory[name] = int(process.memory_info().rss)
        except psutil.Error:
            continue  # gone since
    return memory


def read_processor_s(server: psutil.Process) -> float:
    """Processor seconds of the server and of all processes under it, so far."""
    return sum(processor_times(server).values())


def processor_times(server: psutil.Process) -> dict[str, float]:
    """Processor seconds of the server and of each process under it so far, by name with process id."""
    spent: dict[str, float] = {}
    try:
        for process in [server, *server.children(recursive=True)]:
            times = process.cpu_times()
            spent[f"{_name(process)} ({process.pid})"] = times.user + times.system
    except psutil.Error:
        return spent  # it ends
    return spent


class Others:
    """What programs that are no part of the test take of the processors meanwhile, within a ``with`` statement.

    Args:
        find_pid: the server's process on this machine.
        look: the machine's processor time.
        clock: seconds.
    """

    def __init__(
        self,
        find_pid: Callable[[], int],
        look: Callable[[], Load] = Load.now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_pid = find_pid
        self._look = look
        self._clock = clock
        self.share: float | None = None

    def __enter__(self) -> Self:
        self._load, self._since, self._server_s = self._look(), self._clock(), self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        later = self._look()
        ours_s = later.own_s + max(0.0, self._read() - self._server_s)
        self.share = self._load.others(Load(later.all_s, ours_s), self._clock() - self._since)

    def _read(self) -> float:
        try:
            return read_processor_s(psutil.Process(self._find_pid()))
        except psutil.Error:
            return 0.0


def _name(process: psutil.Process) -> str:
    words = process.cmdline()[1:]
    return str(next((word for word in words if INSTANCE.fullmatch(word)), process.name()))


class MemoryWatch:
    """Reads the memory at regular times, in a thread, within a ``with`` statement."""

    def __init__(self, find_pid: Callable[[], int], every_s: float = 1.0) -> None:
        self.samples: list[Sample] = []
        self._find_pid = find_pid  # a supervised server may be started again
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        find_process(self._find_pid())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                memory = read_memory(psutil.Process(self._find_pid()))
            except psutil.Error:
                memory = {}
            self.samples.append(Sample(time.time(), memory))


def memory_figures(samples: Sequence[Sample], began: float, ended: float) -> dict[str, Any]:
    """Memory of each process at the start and at the end of a time, the largest sum, and the series.

    Args:
        samples: of the whole test.
        began: seconds since 1970.
        ended: likewise.

    Raises:
        LoadTestError: no sample lies at one of its ends.
    """
    edge_s = max(LEAST_EDGE_S, EDGE_SHARE * (ended - began))
    first = [sample for sample in samples if began <= sample.at <= began + edge_s and sample.bytes]
    last = [sample for sample in samples if ended - edge_s <= sample.at <= ended and sample.bytes]
    if not first or not last:
        raise LoadTestError("the server's memory could not be read: is its process on this machine?")
    names = list(dict.fromkeys(name for sample in [*first, *last] for name in sample.bytes))
    rows = []
    for name in names:
        start, end = _median(first, name), _median(last, name)
        growth = None if start is None or end is None else end / start - 1
        rows.append({"process": name, "start_bytes": start, "end_bytes": end, "growth": growth})
    inside = [sample for sample in samples if began <= sample.at <= ended]
    return {
        "edge_s": edge_s,
        "processes": rows,
        "peak_bytes": max(sum(sample.bytes.values()) for sample in inside),
        "series": {
            "seconds": [round(sample.at - began, 1) for sample in samples],
            "bytes": {name: [sample.bytes.get(name) for sample in samples] for name in names},
        },
    }


def _median(samples: Sequence[Sample], name: str) -> float | None:
    """Of a process that was there all the time; None for one that came or went."""
    if any(name not in sample.bytes for sample in samples):
        return None
    return float(statistics.median(sample.bytes[name] for sample in samples))
