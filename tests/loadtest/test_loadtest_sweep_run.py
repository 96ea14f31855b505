"""perf_analyzer is run: its command, its files, and what becomes of it where it fails or hangs."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from shrota_loadtest.errors import PerfAnalyzerError
from shrota_loadtest.perf_analyzer.run import Load, command_line, run
from shrota_testing.perf_analyzer import write_script

REPORT = """Concurrency,Inferences/Second,p50 latency,p90 latency,p95 latency,p99 latency
2,10,1000,2000,3000,4000
"""
WRITES = f'for last; do :; done\nprintf "%s" "{REPORT}" > "$last"\n'


def option(command: list[str], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def test_a_closed_loop() -> None:
    command = command_line("perf_analyzer", Load("asr", "host:8001", 64, 7.0), "input.json", "report.csv")
    assert command == [
        "perf_analyzer",
        "-v",
        *("-m", "asr", "-u", "host:8001", "-i", "grpc", "--input-data", "input.json"),
        *("--concurrency-range", "64:64", "--measurement-interval", "2000", "--max-trials", "3"),
        *("--stability-percentage", "1000000", "--shared-memory", "none", "-f", "report.csv"),
    ]


def test_an_open_loop_is_poisson_and_asynchronous() -> None:
    load = Load("acoustic", "host:8000", None, 10.0, rate=2.5, protocol="http")
    command = command_line("perf_analyzer", load, "input.json", "report.csv")
    assert option(command, "--request-intervals") == "intervals.txt"
    assert option(command, "-i") == "http"
    assert "--async" in command
    assert "--concurrency-range" not in command
    assert load.workers == 16


def test_the_arrivals_of_an_open_loop_are_written_for_three_windows(tmp_path: Path) -> None:
    program = write_script(tmp_path, f"{WRITES}cat intervals.txt > seen.txt")
    run(program, Load("asr", "host:1", None, 7.0, rate=20.0), tmp_path / "input.json", tmp_path)
    intervals = [int(line) for line in (tmp_path / "seen.txt").read_text(encoding="utf-8").split()]
    assert (len(intervals), sum(intervals)) == (120, 6_000_000)


def test_rows_and_shared_memory() -> None:
    load = Load("asr", "host:8001", 1, 10.0, shared_memory="system", rows=4, output_bytes=12345)
    command = command_line("perf_analyzer", load, "input.json", "report.csv")
    assert option(command, "-b") == "4"
    assert option(command, "--shared-memory") == "system"
    assert option(command, "--output-shared-memory-size") == "12345"
    assert option(command, "--profile-export-file") == "profile.json"
    assert command[-2:] == ["-f", "report.csv"]


@pytest.mark.parametrize(("concurrency", "rate"), [(None, None), (1, 2.0)])
def test_a_load_is_of_one_kind(concurrency: int | None, rate: float | None) -> None:
    with pytest.raises(PerfAnalyzerError, match="either a concurrency or a rate"):
        command_line("perf_analyzer", Load("asr", "host:1", concurrency, 8.0, rate=rate), "input.json", "report.csv")


def test_its_files_are_its_folder_s(tmp_path: Path) -> None:
    """Named without a folder: perf_analyzer puts the names of an ensemble's steps before the report's."""
    program = write_script(tmp_path, f'{WRITES}echo "$last"; pwd; echo Client: Request count: 7')
    found = run(program, Load("asr", "host:1", 2, 1.0), tmp_path / "input.json", tmp_path)
    assert (found.report.inferences_per_second, found.said.requests) == (10.0, 7)
    assert found.export is None
    assert found.why_unstable == "none of its 3 windows are known"
    assert (tmp_path / "report.csv").read_text(encoding="utf-8") == REPORT


def test_an_unstable_measurement_is_taken_and_said(tmp_path: Path) -> None:
    passes = [
        f"Pass [{each}] throughput: {10 * each} infer/sec. Avg latency: 100 usec (std 1 usec)." for each in (1, 2, 3)
    ]
    program = write_script(tmp_path, f"{WRITES}echo '{' '.join(passes)}'")
    found = run(program, Load("asr", "host:1", 2, 1.0), tmp_path / "input.json", tmp_path)
    assert found.report.inferences_per_second == 10.0
    assert found.why_unstable == "throughput of its windows differs by 50 %"


def test_a_report_of_a_program_that_failed_is_not_taken(tmp_path: Path) -> None:
    program = write_script(tmp_path, f"{WRITES}echo no server >&2; exit 99")
    with pytest.raises(PerfAnalyzerError, match=r"code 99: no server$"):
        run(program, Load("asr", "host:1", 2, 1.0), tmp_path / "input.json", tmp_path)


def test_a_failure_is_the_server_s_error(tmp_path: Path) -> None:
    said = "Thread [0] had error: [request id: 0] Exceeds maximum queue size"
    program = write_script(tmp_path, f"echo '{said}'; exit 99")
    with pytest.raises(PerfAnalyzerError, match=r"code 99: \[request id: 0\] Exceeds maximum queue size$"):
        run(program, Load("asr", "host:1", 2, 1.0), tmp_path / "input.json", tmp_path)


def test_its_wheel_s_command_says_0_whatever_happens(tmp_path: Path) -> None:
    """So a missing report is a failure, and a report of before is not taken."""
    (tmp_path / "report.csv").write_text(REPORT, encoding="utf-8")
    program = write_script(tmp_path, "echo error: no server; exit 0")
    with pytest.raises(PerfAnalyzerError, match=r"^perf_analyzer ended with exit code 0: error: no server$"):
        run(program, Load("asr", "host:1", 2, 1.0), tmp_path / "input.json", tmp_path)


def test_one_that_hangs_is_ended_with_what_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wheel's command waits for the program itself."""
    program = write_script(tmp_path, f"sleep 600 &\necho $! > {tmp_path}/child\nwait")
    monkeypatch.setattr("shrota_loadtest.perf_analyzer.run.GRACE_S", 0.5)
    monkeypatch.setattr("shrota_loadtest.perf_analyzer.run.STOP_S", 0.2)
    with pytest.raises(PerfAnalyzerError, match=r"^perf_analyzer did not end within 0\.7 s$"):
        run(program, Load("asr", "host:1", 2, 0.1), tmp_path / "input.json", tmp_path)
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.02)
    assert not _runs(child)


CLEANS_UP = """
import pathlib, signal, sys, time
def stop(*_):
    time.sleep(0.5)
    pathlib.Path("ended").touch()
    sys.exit()
signal.signal(signal.SIGINT, stop)
time.sleep(600)
"""
WHEEL = "import subprocess, sys; subprocess.run([sys.executable, 'program.py'])"
"""As its wheel's command, which kills the program a quarter of a second after a SIGINT of its own."""


@pytest.mark.parametrize("words", ["program.py", f'-c "{WHEEL}"'], ids=["program", "wheel"])
def test_one_that_hangs_gives_back_its_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """It does so on SIGINT, and takes its time."""
    (tmp_path / "program.py").write_text(CLEANS_UP, encoding="utf-8")
    program = write_script(tmp_path, f"exec {sys.executable} {words}")
    monkeypatch.setattr("shrota_loadtest.perf_analyzer.run.GRACE_S", 2.0)
    with pytest.raises(PerfAnalyzerError, match="did not end within"):
        run(program, Load("asr", "host:1", 2, 0.1), tmp_path / "input.json", tmp_path)
    assert (tmp_path / "ended").is_file()


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_no_program(tmp_path: Path) -> None:
    with pytest.raises(PerfAnalyzerError, match="no perf_analyzer at"):
        run(str(tmp_path / "none"), Load("asr", "host:1", 2, 0.1), tmp_path / "input.json", tmp_path)
