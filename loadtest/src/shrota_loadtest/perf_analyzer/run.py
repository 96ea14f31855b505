"""One load by perf_analyzer."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from shrota_loadtest.errors import PerfAnalyzerError
from shrota_loadtest.perf_analyzer.arrivals import write_intervals
from shrota_loadtest.perf_analyzer.program import absolute
from shrota_loadtest.perf_analyzer.report import Export, Report, Said, read_export, read_report, read_words, reason_of
from shrota_loadtest.perf_analyzer.windows import WINDOWS, why_unstable

ANY_PERCENT = 1_000_000
"""By which windows may differ for perf_analyzer: where they differ by more it writes no report at all. How far they do
is read from its words, and told."""
RATE_WORKERS = 16
"""Threads of perf_analyzer's that send at a rate, by default (``DEFAULT_MAX_THREADS``)."""
GRACE_S = 30.0
"""That it may take beside twice the time of its measurement, to start and to end."""
STOP_S = 5.0
"""After SIGINT, which makes it give back its shared memory, here and at the server; then it is killed."""
REPORT, EXPORT, INTERVALS = "report.csv", "profile.json", "intervals.txt"


@dataclass(frozen=True)
class Load:
    """One load on one model.

    Attributes:
        model: its name.
        url: of the server, for the protocol.
        concurrency: requests under way all the time (closed loop); None for a rate.
        rate: requests a second, Poisson arrivals (open loop); None for a concurrency.
        limit_s: seconds that the measurement may take.
        protocol: ``grpc`` or ``http``.
        shared_memory: ``none`` or ``system``.
        rows: in each request, by ``-b``.
        output_bytes: of shared memory for each output.
    """

    model: str
    url: str
    concurrency: int | None
    limit_s: float
    rate: float | None = None
    protocol: str = "grpc"
    shared_memory: str = "none"
    rows: int = 1
    output_bytes: int = 2**20

    @property
    def workers(self) -> int:
        """Threads of perf_analyzer's that send: with synchronous calls, one for each request under way."""
        return self.concurrency or RATE_WORKERS

    @property
    def window_s(self) -> float:
        """Seconds of one window, with some left to start and to end."""
        return self.limit_s / (WINDOWS + 0.5)


@dataclass(frozen=True)
class Measured:
    """What one load gave.

    Attributes:
        report: of all windows.
        said: its words.
        why_unstable: what speaks against the mean of its windows; None where nothing does.
        export: the profile export; None without shared memory, where it would hold all audio as text.
    """

    report: Report
    said: Said
    why_unstable: str | None
    export: Export | None


def command_line(program: str, load: Load, data: Path | str, report: Path | str) -> list[str]:
    """The command; the report's name stands last.

    Raises:
        PerfAnalyzerError: the load has neither a concurrency nor a rate, or both.
    """
    if (load.concurrency is None) == (load.rate is None):
        raise PerfAnalyzerError("a load has either a concurrency or a rate")
    options: dict[str, object] = {"-m": load.model, "-u": load.url, "-i": load.protocol, "--input-data": data}
    if load.rate is None:
        options["--concurrency-range"] = f"{load.concurrency}:{load.concurrency}"
    else:
        options["--request-intervals"] = INTERVALS
    options["--measurement-interval"] = int(1000 * load.window_s)
    options["--max-trials"] = WINDOWS
    options["--stability-percentage"] = ANY_PERCENT
    if load.rows > 1:
        options["-b"] = load.rows
    options["--shared-memory"] = load.shared_memory
    if load.shared_memory != "none":
        options["--output-shared-memory-size"] = load.output_bytes
        options["--profile-export-file"] = EXPORT
    options["-f"] = report
    # synchronous calls would hold a rate back once every thread waits for an answer
    flags = ["-v"] if load.rate is None else ["-v", "--async"]
    return [program, *flags, *(str(word) for pair in options.items() for word in pair)]


def run(program: str, load: Load, data: Path, folder: Path) -> Measured:
    """Runs the load.

    Args:
        program: path of perf_analyzer.
        load: what to do.
        data: the input data, see :mod:`shrota_loadtest.perf_analyzer.data`.
        folder: for its files; those of an earlier run are removed.

    Raises:
        PerfAnalyzerError: it failed, did not end in time, or its report lacks a number.
    """
    report, export = folder / REPORT, folder / EXPORT
    for path in (report, export):
        path.unlink(missing_ok=True)
    if load.rate is not None:
        write_intervals(folder / INTERVALS, load.rate, WINDOWS * load.window_s)
    command = command_line(absolute(program), load, data.absolute(), report.name)
    exit_code, text = _call(command, folder, 2 * load.limit_s + GRACE_S)
    said = read_words(text)
    if not report.is_file() or exit_code:
        raise PerfAnalyzerError(f"perf_analyzer ended with exit code {exit_code}: {reason_of(text)}")
    return Measured(
        read_report(report),
        said,
        why_unstable(said.windows, load.window_s, load.rate),
        read_export(export) if export.is_file() else None,
    )


def _call(command: list[str], folder: Path, limit_s: float) -> tuple[int, str]:
    """Exit code and words. Its wheel's command starts the program as a process of its own, which must end too."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the user names the program
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise PerfAnalyzerError(f"perf_analyzer: {error}") from error
    with process:
        try:
            text, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise PerfAnalyzerError(f"perf_analyzer did not end within {limit_s:g} s") from None
        finally:
            if process.poll() is None:  # also when Ctrl-C ends the wait
                _stop(process)
    return process.returncode, text


def _stop(process: "subprocess.Popen[str]") -> None:
    """Ends it with what it has started. SIGINT is the program's alone: its wheel's command would kill it at once."""
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid)
        for each in started.children(recursive=True) or [started]:
            with contextlib.suppress(psutil.Error):
                each.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):  # all of its group have ended
        os.killpg(process.pid, signal.SIGKILL)
