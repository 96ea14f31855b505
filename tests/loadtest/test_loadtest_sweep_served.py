"""Sweeps against a real server: what a point measures, the command, and rounds of configurations.

A program in the place of perf_analyzer really sends its input data, each entry once; the real one is used where it is.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from shrota_client.errors import ShrotaError
from shrota_loadtest.errors import LoadTestError, SweepError, WorkloadError
from shrota_loadtest.perf_analyzer.program import NEEDED
from shrota_loadtest.perf_analyzer.report import PERCENTILES, Report, Said
from shrota_loadtest.perf_analyzer.run import Measured
from shrota_loadtest.sweep.command import describe_speech, speech_of
from shrota_loadtest.sweep.measure import Addresses, Order, measure, wait_idle
from shrota_loadtest.sweep.plan import BATCH, CONCURRENCY, RATE, Point, Way
from shrota_loadtest.sweep.rounds import Rounds, measure_rounds
from shrota_loadtest.sweep.run import LEFT_OUT, measure_points
from shrota_loadtest.sweep.serving import version_of
from shrota_loadtest.sweep.settings import AS_IT_IS, Configuration, Setting
from shrota_loadtest.sweep_cli import sweep
from shrota_loadtest.workload import Clip
from shrota_server import TritonServer
from shrota_testing.perf_analyzer import REAL, needs_perf_analyzer, write_script, write_sending_program
from shrota_testing.repository import ROOT, make_repository
from shrota_testing.triton import wait_until

pytestmark = pytest.mark.triton

SECONDS = (1.0, 2.5, 0.75, 4.0, 3.0)
SAMPLES = str(ROOT / "samples" / "manifest.jsonl")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("sweep") / "model_repository")


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    """A real Triton server that serves ``asr`` with the tiny engine."""
    with TritonServer(repository, models=["asr", "acoustic_onnx"], open_to_all=["shared-memory"]) as running:
        yield running


@pytest.fixture
def addresses(server: TritonServer) -> Addresses:
    return Addresses(server.grpc_url, server.http_url, server.metrics_url)


def order(folder: Path, program: str, limit_s: float = 2.0) -> Order:
    random = np.random.default_rng(0)
    clips = [
        Clip(f"{seconds} s", random.normal(0, 0.1, round(16000 * seconds)).astype(np.float32), None)
        for seconds in SECONDS
    ]
    return Order(program, clips, 1.5, limit_s, folder)


@pytest.mark.parametrize("model", ["asr", "acoustic"])
def test_the_server_counts_what_was_sent(addresses: Addresses, tmp_path: Path, model: str) -> None:
    point = Point(Way(model, "grpc", "none"), CONCURRENCY, 1.0)
    found = measure(order(tmp_path, write_sending_program(tmp_path)), addresses, point)
    assert "failed" not in found
    assert found["counted_seconds"] == pytest.approx(sum(SECONDS) / 5, rel=1e-4)
    assert found["sent_seconds"] == pytest.approx(sum(SECONDS) / 5)
    assert found["audio_seconds_per_second"] == pytest.approx(
        found["utterances_per_second"] * sum(SECONDS) / 5, rel=1e-4
    )
    assert (found["requests"], found["stable"], found["batch_rows"], found["padded_share"]) == (5, True, 1.0, 0.0)
    assert (found["p95_ms"], found["queue_ms"], found["compute_ms"]) == (1.5, 0.04, pytest.approx(0.72))
    inside = {"acoustic", "acoustic_onnx"}  # no other engine is loaded
    assert set(found["models"]) == (inside | {"ctc_decoder"} if model == "asr" else inside)
    assert all(times["compute_ms"] > 0 for times in found["models"].values())


def test_an_engine_is_asked_itself(addresses: Addresses, tmp_path: Path) -> None:
    point = Point(Way("acoustic_onnx", "grpc", "none"), CONCURRENCY, 1.0)
    found = measure(order(tmp_path, write_sending_program(tmp_path)), addresses, point)
    assert "failed" not in found
    assert found["counted_seconds"] is None
    assert found["audio_seconds_per_second"] == pytest.approx(found["utterances_per_second"] * sum(SECONDS) / 5)


def test_rows_are_of_one_length(addresses: Addresses, tmp_path: Path) -> None:
    found = measure(
        order(tmp_path, write_sending_program(tmp_path)), addresses, Point(Way("asr", "grpc", "none"), BATCH, 2.0)
    )
    assert "failed" not in found
    assert found["counted_seconds"] == pytest.approx(1.5, rel=1e-4)
    assert found["batch_rows"] == 2.0


def test_a_point_that_fails_says_why_and_the_others_go_on(addresses: Addresses, tmp_path: Path) -> None:
    program = write_script(tmp_path, "echo 'Thread [0] had error: queue full'; exit 99")
    points = [Point(Way("asr", "grpc", "none"), CONCURRENCY, value) for value in (1.0, 2.0, 4.0)]
    said: list[str] = []
    over = iter([False, False, True])
    found = measure_points(order(tmp_path, program), addresses, points, said.append, lambda: next(over))
    assert [each["failed"] for each in found] == [
        "perf_analyzer ended with exit code 99: queue full",
        "perf_analyzer ended with exit code 99: queue full",
        LEFT_OUT,
    ]
    assert said[0] == ("1 of 3: asr, gRPC, concurrency 1: failed: perf_analyzer ended with exit code 99: queue full")


def test_a_point_begins_once_nothing_is_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter(
        [
            {"nv_inference_pending_request_count": 3.0, "shrota_pending_seconds": 20.0},
            {"nv_inference_pending_request_count": 0.0, "shrota_pending_seconds": 20.0},
            {"nv_inference_pending_request_count": 0.0, "shrota_pending_seconds": 0.0},
        ]
    )
    monkeypatch.setattr("shrota_loadtest.sweep.measure.read_metrics", lambda _: next(pages))
    assert wait_idle("host:1")
    assert next(pages, None) is None
    monkeypatch.setattr("shrota_loadtest.sweep.measure.read_metrics", lambda _: {"shrota_pending_seconds": 1.0})
    assert not wait_idle("host:1", 0.2)


def test_counters_are_read_where_nothing_is_pending_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """perf_analyzer ends before its last answers are there, and these belong to its load."""
    happened: list[str] = []

    def counters(*_: object) -> dict[str, dict[str, float]]:
        happened.append("counters")
        return {"": {}}

    def load(*_: object) -> Measured:
        happened.append("load")
        report = Report(2.0, dict.fromkeys(PERCENTILES, 1.0), None, None)
        return Measured(report, Said((), None, None), None, None)

    monkeypatch.setattr("shrota_loadtest.sweep.measure.wait_idle", lambda _: happened.append("idle"))
    monkeypatch.setattr("shrota_loadtest.sweep.measure._counters", counters)
    monkeypatch.setattr("shrota_loadtest.sweep.measure.run", load)
    point = Point(Way("acoustic_onnx", "grpc", "none"), CONCURRENCY, 1.0)
    found = measure(order(tmp_path, "none"), Addresses("host:1", "host:2", "host:3"), point)
    assert found["utterances_per_second"] == 2.0
    assert happened == ["idle", "counters", "load", "idle", "counters"]


def test_the_server_tells_its_version(server: TritonServer) -> None:
    assert version_of(server.http_url) == "triton 2.51.0"
    assert version_of(server.metrics_url) is None


ROUND = Rounds(Way("asr", "grpc", "none"), ("asr", "acoustic_onnx"), 8, 1, 3)


def test_rounds_go_forwards_and_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration whose server does not start fails alone."""
    visited: list[str] = []

    @contextmanager
    def serving(repository: Path, models: Any) -> Iterator[Addresses]:
        visited.append(repository.name)
        if repository.name == "c":
            raise LoadTestError("no room")
        yield Addresses("g", "h", "m")

    def measured(_order: Order, _addresses: Addresses, point: Point) -> dict[str, Any]:
        return {"utterances_per_second": point.value, "p95_ms": 1.0, "stable": True}

    monkeypatch.setattr("shrota_loadtest.sweep.rounds.serving", serving)
    monkeypatch.setattr("shrota_loadtest.sweep.rounds.measure", measured)
    monkeypatch.setattr("shrota_loadtest.sweep.rounds.version_of", lambda url: f"triton at {url}")
    copies = {
        Configuration((Setting("acoustic", "engine_calls", name),) if name != "a" else ()): tmp_path / name
        for name in ("a", "b", "c")
    }
    found = measure_rounds(order(tmp_path, "none"), copies, ROUND, say=lambda _: None)
    assert visited == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert found["server"] == "triton at h"
    by_name = found["configurations"]
    assert list(by_name) == [AS_IT_IS, "acoustic.engine_calls=b", "acoustic.engine_calls=c"]
    assert [each["utterances_per_second"] for each in by_name[AS_IT_IS]["throughput"]] == [8.0] * 3
    assert [each["utterances_per_second"] for each in by_name[AS_IT_IS]["latency"]] == [1.0] * 3
    assert by_name["acoustic.engine_calls=c"]["latency"] == [{"failed": "no room"}] * 3
    visited.clear()
    over = iter([False, False, False, True, True, True, True, True, True])
    found = measure_rounds(order(tmp_path, "none"), copies, ROUND, say=lambda _: None, is_over=lambda: next(over))
    assert (visited, found["left_out"]) == (["a", "b", "c"], 6)


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(sweep, [str(each) for each in arguments])


def test_the_command_on_a_running_server(addresses: Addresses, tmp_path: Path) -> None:
    output = tmp_path / "page"
    result = invoke(
        *("--grpc", addresses.grpc, "--http", addresses.http, "--metrics", addresses.metrics),
        *("--model", "acoustic", "--also", "asr", "--concurrency", "1,2", "--batch", "2", "--clips", "5"),
        *("--manifest", SAMPLES, "--output", output, "--perf-analyzer", write_sending_program(tmp_path)),
    )
    assert result.exit_code == 0, result.output
    content = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert [(each["model"], each["axis"], each["value"]) for each in content["points"]] == [
        ("acoustic", "concurrency", 1),
        ("acoustic", "concurrency", 2),
        ("asr", "concurrency", 1),
        ("asr", "concurrency", 2),
        ("acoustic", "batch", 2),
    ]
    assert not [each for each in content["points"] if "failed" in each]
    assert content["server"] == "triton 2.51.0"
    assert content["perf_analyzer"] == "9.8.7 (commit abc)"
    assert content["command"] == (
        "shrota sweep --model acoustic --also asr --concurrency 1,2 --batch 2 --manifest samples/manifest.jsonl "
        "--clips 5"
    )
    assert content["configuration"] is None
    page = (output / "index.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    for point in content["points"]:
        assert point["counted_seconds"] == pytest.approx(point["sent_seconds"], rel=1e-3)


def test_the_command_over_configurations(repository: Path, tmp_path: Path) -> None:
    """Servers of its own, each with a copy of the repository."""
    output = tmp_path / "page"
    result = invoke(
        *("--repository", repository, "--set", "acoustic_onnx.threads=1", "--rounds", "1", "--clips", "5"),
        *("--manifest", SAMPLES, "--output", output, "--perf-analyzer", write_sending_program(tmp_path)),
    )
    assert result.exit_code == 0, result.output
    content = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert content["points"] == []
    assert content["server"] == "triton 2.51.0"
    found = content["configuration"]["configurations"]
    assert list(found) == [AS_IT_IS, "acoustic_onnx.threads=1"]
    assert all(len(each["throughput"]) == len(each["latency"]) == 1 for each in found.values())
    assert not [point for each in found.values() for point in each["throughput"] if "failed" in point]
    assert "; no spread is known from 1 round." in (output / "report.md").read_text(encoding="utf-8")
    assert not list(repository.parent.glob(".shrota*"))


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        (["--perf-analyzer", "/none/perf_analyzer"], LoadTestError, "no perf_analyzer at /none/perf_analyzer: take it"),
        (["--concurrency", "0"], SweepError, "'0' is no list of whole numbers above 0"),
        (["--set", "acoustic.engine_calls=2"], SweepError, "--set starts servers on copies of a repository"),
        (["--repository", "REPOSITORY", "--set", "acoustic.engine_calls=99"], SweepError, "a number from 1 to 16"),
        (["--repository", "REPOSITORY", "--set", "acoustic.engine_calls=1"], SweepError, "--set changes nothing"),
        (["--repository", "REPOSITORY", "--engine", "acoustic_gpu"], SweepError, "no model 'acoustic_gpu'"),
        (["--repository", "REPOSITORY", "--model", "acoustic_trt"], SweepError, "with --engine acoustic_trt too"),
        (["--repository", "REPOSITORY", "--also", "acoustic_trt"], SweepError, "with --engine acoustic_trt too"),
        (["--also", "acoustic", "--batch", "2"], SweepError, "--also is measured over concurrency alone"),
        (["--lengths", "long"], WorkloadError, "the lengths 'long' are neither news, audiobook, meeting, whole nor"),
        (["--manifest", "/none.jsonl"], ShrotaError, "none.jsonl"),
        (["--metrics", "127.0.0.1:1"], LoadTestError, "no metrics at 127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(
    repository: Path, tmp_path: Path, arguments: list[str], error: type[Exception], why: str
) -> None:
    program = write_sending_program(tmp_path)
    usual = ["--output", str(tmp_path / "page"), "--perf-analyzer", program, "--manifest", SAMPLES]
    result = invoke(*usual, *(str(repository) if each == "REPOSITORY" else each for each in arguments))
    assert isinstance(result.exception, error)
    assert why in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(tmp_path.glob("page/*"))


def test_lengths_are_named_or_given_in_seconds() -> None:
    """As ``shrota loadtest`` takes them."""
    clips = speech_of(Path(SAMPLES), "3,0.2,2,4", 7)
    assert len(clips) == 7
    assert all(2.0 <= clip.seconds <= 4.0 for clip in clips)
    assert describe_speech(clips, Path("m.jsonl"), "3,0.2,2,4")["lengths"] == "cut to the lengths of: 3,0.2,2,4"
    whole = speech_of(Path(SAMPLES), "whole", 2)
    assert describe_speech(whole, Path("m.jsonl"), "whole")["lengths"] == "as they are"


def test_a_repository_is_no_running_server(repository: Path) -> None:
    result = invoke("--repository", str(repository), "--grpc", "127.0.0.1:8001")
    assert result.exit_code == 2
    assert "no --grpc, --http or --metrics beside it" in result.output


def test_a_sweep_without_any_measurement_fails_and_has_its_page(addresses: Addresses, tmp_path: Path) -> None:
    program = write_sending_program(tmp_path)
    result = invoke(
        *("--grpc", "127.0.0.1:1", "--http", addresses.http, "--metrics", addresses.metrics),
        *("--concurrency", "1", "--manifest", SAMPLES, "--output", tmp_path / "page", "--perf-analyzer", program),
    )
    assert isinstance(result.exception, SweepError)
    assert str(result.exception).startswith("no point could be measured: perf_analyzer ended with exit code 1: ")
    assert (tmp_path / "page" / "index.html").is_file()


def test_a_sweep_over_configurations_without_any_measurement_fails_and_has_its_page(
    repository: Path, tmp_path: Path
) -> None:
    usage = f'if [ $# = 0 ]; then echo "{" ".join(NEEDED)}"; exit; fi; if [ $# = 1 ]; then exit; fi'
    program = write_script(tmp_path, f"{usage}\necho error: no room; exit 3")
    asked = [
        "--repository",
        str(repository),
        "--set",
        "acoustic_onnx.threads=1",
        "--rounds",
        "1",
        "--manifest",
        SAMPLES,
    ]
    result = invoke(*asked, "--output", tmp_path / "page", "--perf-analyzer", program)
    assert isinstance(result.exception, SweepError)
    assert str(result.exception) == (
        "no configuration could be measured: perf_analyzer ended with exit code 3: error: no room"
    )
    assert (tmp_path / "page" / "index.html").is_file()


def test_sigterm_ends_what_was_started(repository: Path, tmp_path: Path) -> None:
    """perf_analyzer, the server and the copies of the repository."""
    usage = f'if [ $# = 0 ]; then echo "{" ".join(NEEDED)}"; exit; fi; if [ $# = 1 ]; then exit; fi'
    program, child = (
        write_script(tmp_path, f"{usage}\nsleep 600 &\necho $! > {tmp_path}/child\nwait"),
        tmp_path / "child",
    )
    command = [
        *(sys.executable, "-c", "from shrota_loadtest.sweep_cli import sweep; sweep()"),
        *("--repository", str(repository), "--set", "acoustic_onnx.threads=1", "--manifest", SAMPLES),
        *("--output", str(tmp_path / "page"), "--perf-analyzer", program),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert wait_until(lambda: child.is_file() and bool(child.read_text(encoding="utf-8").strip()), 60)
        started = psutil.Process(int(child.read_text(encoding="utf-8")))
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert wait_until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE, 10)
    assert not list(repository.parent.glob(".shrota*"))


@needs_perf_analyzer
@pytest.mark.parametrize(
    "point",
    [
        Point(Way("asr", "grpc", "none"), CONCURRENCY, 4.0),
        Point(Way("asr", "http", "system"), CONCURRENCY, 2.0),
        Point(Way("acoustic", "http", "none"), CONCURRENCY, 2.0),
        Point(Way("acoustic", "grpc", "system"), RATE, 20.0),
        Point(Way("acoustic_onnx", "grpc", "system"), CONCURRENCY, 2.0),
        Point(Way("acoustic_onnx", "http", "none"), BATCH, 3.0),
        Point(Way("asr", "grpc", "system"), BATCH, 2.0),
    ],
    ids=lambda point: point.label,
)
def test_the_real_perf_analyzer(addresses: Addresses, tmp_path: Path, point: Point) -> None:
    found = measure(order(tmp_path, str(REAL)), addresses, point)
    assert "failed" not in found
    assert "known" not in (found["why_unstable"] or "")  # its words are understood
    assert found["utterances_per_second"] > 1
    assert found["p50_ms"] <= found["p90_ms"] <= found["p95_ms"] <= found["p99_ms"]
    if point.rate is not None:
        assert found["utterances_per_second"] == pytest.approx(point.rate, rel=0.2)
    if point.way.model != "acoustic_onnx":
        assert found["counted_seconds"] == pytest.approx(found["sent_seconds"], rel=0.1)
    assert found["audio_seconds_per_second"] > found["utterances_per_second"]
