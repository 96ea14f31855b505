"""A plan is compared before it is installed. TensorRT and the GPU are fakes; the runner and the gate are real."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from shrota_client.gpu import Gpu
from shrota_export.cli import export
from shrota_export.errors import GateError, PlanError
from shrota_export.gate import Thresholds, check
from shrota_export.paths import FLOAT32_MODEL, MODEL, PLAN, PLAN_DESCRIPTION
from shrota_export.precision import graphs
from shrota_export.precision.kinds import Precision as GraphPrecision
from shrota_export.tensorrt import comparison, export_plan
from shrota_export.tensorrt.comparison import within_profiles
from shrota_export.tensorrt.profiles import Batcher, Profile, make_profiles
from shrota_testing.engines import write_tiny_engine
from shrota_testing.fake_tensorrt import FakeDevice, FakeTensorRT
from shrota_testing.files import snapshot
from shrota_testing.half_engine import write_half_engine
from shrota_testing.repository import copy_repository, make_repository
from shrota_testing.windows import shorten_windows

L4 = Gpu("NVIDIA L4", "8.9", "580.95.05", 24 * 2**30, 23 * 2**30)
PROFILES = make_profiles(Batcher(640_000, 320_000, 400, 64, 16000))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDevice:
    """An L4 with a TensorRT."""
    fake = FakeDevice()
    shapes = [(one.least, one.usual, one.largest) for one in PROFILES]
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(device=fake, profiles=shapes))
    runner = importlib.import_module(comparison.RUNNER)
    monkeypatch.setattr(runner, "CudaDevice", lambda _: fake)
    fake.out_of_memory = importlib.import_module(runner.CudaError.__module__).CudaMemoryError
    monkeypatch.setattr(export_plan, "find_gpu", lambda: L4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the tiny engine."""
    return make_repository(tmp_path / "model_repository")


@pytest.fixture
def build(repository: Path, speech: Path) -> Callable[..., dict[str, Any]]:
    """Builds a plan, compares it on three short files, and gives the comparison in its description."""

    def run(*arguments: str) -> dict[str, Any]:
        command = ["tensorrt", *arguments, "--repository", str(repository), "--manifest", str(speech)]
        export.main(command, standalone_mode=False)
        content: dict[str, Any] = json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))["comparison"]
        return content

    return run


def test_what_the_gate_measured_is_beside_the_plan(
    device: FakeDevice, build: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = build()
    assert (comparison["was_run"], comparison["passed"], comparison["precision"]) == (True, True, "fp32")
    # beside padding the gate's batches are longer than any profile, and were run all the same
    assert comparison["from_reference"].keys() == {"alone", "full batch", "padding", "shortest", "longest"}
    assert device.memory == {}
    assert "compared with the float32 graph on speech: it passed" in capsys.readouterr().err


@pytest.mark.usefixtures("device")
def test_tf32_is_judged_by_its_mantissa(build: Callable[..., dict[str, Any]]) -> None:
    assert build("--precision", "fp32")["thresholds"] == Thresholds.of(GraphPrecision.FP32).as_dict()
    assert build("--precision", "tf32")["thresholds"] == Thresholds.of(GraphPrecision.FP16).as_dict()


@pytest.mark.parametrize("older", [True, False], ids=["over an older plan", "first plan"])
def test_a_plan_that_gives_something_else_is_not_installed(
    device: FakeDevice,
    build: Callable[..., dict[str, Any]],
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    older: bool,
) -> None:
    if older:
        build()
    before = snapshot(repository)

    def write(path: Path, _: Any) -> None:
        write_tiny_engine(path, seed=1)

    monkeypatch.setattr(export_plan, "_write", write)
    with pytest.raises(GateError, match=r"^the fp32 plan \(fp32\) is refused: .*; nothing was installed$"):
        build("--force")
    assert snapshot(repository) == before
    assert device.memory == {}


def test_a_plan_that_does_not_run_is_not_installed(
    device: FakeDevice, build: Callable[..., dict[str, Any]], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(repository)
    monkeypatch.setattr(device, "_capacity", 1000)
    with pytest.raises(PlanError, match=r"the new plan does not run here and was not installed: .* GPU memory than is"):
        build()
    assert snapshot(repository) == before


@pytest.mark.usefixtures("device")
def test_a_half_graph_is_compared_with_the_float32_graph_beside_it(
    build: Callable[..., dict[str, Any]], repository: Path
) -> None:
    write_half_engine(repository / FLOAT32_MODEL, TensorProto.FLOAT)
    write_half_engine(repository / MODEL, TensorProto.FLOAT16)
    half = build("--precision", "fp16")
    assert (half["precision"], half["reference"]) == ("fp16", str(repository / FLOAT32_MODEL))
    # more than rounding in a sum, less than another network
    assert 1e-5 < half["from_reference"]["alone"]["largest"] < 0.05
    single = build("--precision", "tf32")
    assert (single["precision"], single["reference"]) == ("fp32", str(repository / FLOAT32_MODEL))


@pytest.mark.usefixtures("device")
def test_without_a_float32_graph(build: Callable[..., dict[str, Any]], repository: Path) -> None:
    write_half_engine(repository / MODEL)
    why = "the repository holds no float32 graph to compare it with"
    assert build("--precision", "fp16") == {"was_run": False, "why": why}


@pytest.mark.usefixtures("device")
def test_without_the_server_that_runs_plans(
    build: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, comparison.RUNNER, None)
    why = "shrota-server, which runs plans, is not installed on the machine that built it"
    assert build() == {"was_run": False, "why": why}


@pytest.mark.usefixtures("device")
def test_where_the_plan_cannot_run_its_graph_is_judged(
    build: Callable[..., dict[str, Any]],
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, comparison.RUNNER, None)
    write_half_engine(repository / MODEL, TensorProto.FLOAT)
    graph = tmp_path / "half.onnx"
    write_half_engine(graph)
    found = build("--precision", "fp16", str(graph))
    assert (found["was_run"], found["graph"]["passed"], found["graph"]["precision"]) == (False, True, "fp16")
    assert "the graph that it was built from was, and passed" in capsys.readouterr().err
    write_tiny_engine(repository / MODEL)  # another network
    before = snapshot(repository)
    with pytest.raises(GateError, match=r"half\.onnx \(fp16\) is refused: .*; nothing was installed"):
        build("--precision", "fp16", str(graph), "--force")
    assert snapshot(repository) == before


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the candidates that the plan's comparison has judged. Windows are short."""
    judged: list[str] = []

    def counted(candidate: Any, *arguments: Any) -> Any:
        judged.append(candidate.name)
        return check(candidate, *arguments)

    monkeypatch.setattr(comparison, "check", counted)
    shorten_windows(monkeypatch)
    return judged


def flip(path: Path) -> None:
    """Another last bit of a number at the end: float16 or float32, little-endian."""
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)


def test_a_judgement_is_taken_over_only_where_nothing_has_changed(
    tmp_path: Path, speech: Path, export_tiny: Callable[..., None], gate: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the graph, of its weights, of the float32 graph; thresholds; speech."""
    monkeypatch.setattr(graphs, "LARGEST_PROTOBUF", 10_000)
    repository = copy_repository(tmp_path / "repository")
    export_tiny(repository)
    graph, reference = repository / MODEL, repository / FLOAT32_MODEL
    convert = ["precision", str(graph), "--to", "fp16", "--manifest", str(speech)]

    def judge(manifest: Path = speech) -> int:
        """How often the gate ran."""
        gate.clear()
        found = comparison.check_graph(graph, repository, reference, manifest)
        assert found is not None
        assert found["passed"] is True
        assert found["thresholds"] == Thresholds.of(GraphPrecision.FP16).as_dict()
        return len(gate)

    export.main([*convert, "--threshold", "mean_difference=50"], standalone_mode=False)
    assert judge() == 1
    export.main(convert, standalone_mode=False)
    assert judge() == 0
    (weights,) = graphs.weights_files(graph)
    (float32,) = graphs.weights_files(reference)
    for path in (weights, float32):
        flip(path)
        assert judge() == 1
        flip(path)
    other = speech.with_name("other.jsonl")
    other.write_text(speech.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    assert judge(other) == 1
    assert judge() == 0


def engine_of(calls: list[tuple[int, ...]]) -> Callable[..., Any]:
    def run(audio: Any, num_samples: Any) -> tuple[Any, Any]:
        calls.append(audio.shape)
        return audio[:, :1, None], num_samples

    return run


def test_batches_beyond_the_profiles_are_run_in_parts() -> None:
    calls: list[tuple[int, ...]] = []
    profiles = [Profile((1, 400), (4, 1000), (8, 1000)), Profile((1, 1001), (2, 2000), (3, 2000))]
    run = within_profiles(engine_of(calls), profiles)
    for rows, samples in ((8, 1000), (9, 1000), (7, 1001), (1, 2500)):
        audio = np.arange(rows * samples, dtype=np.float32).reshape(rows, samples)
        log_probs, num_samples = run(audio, np.full((rows, 1), min(samples, 2000), np.int32))
        np.testing.assert_array_equal(log_probs[:, 0, 0], audio[:, 0])
        assert num_samples.shape == (rows, 1)
    assert calls == [(8, 1000), (8, 1000), (1, 1000), (3, 1001), (3, 1001), (1, 1001), (1, 2000)]


def check_stages(repository: Path, speech: Path, *options: str) -> None:
    graph = str(repository / MODEL)
    arguments = ["check", graph, "--against", graph, "--manifest", str(speech), "--stages", *options]
    export.main(arguments, standalone_mode=False)


def test_the_plan_is_a_stage(
    device: FakeDevice,
    build: Callable[..., dict[str, Any]],
    repository: Path,
    speech: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build("--precision", "tf32")
    capsys.readouterr()
    check_stages(repository, speech, "--plan", str(repository / PLAN))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["ONNX -> fused", "fused -> the tf32 plan"]
    assert device.memory == {}
    write_tiny_engine(repository / PLAN, seed=1)
    with pytest.raises(GateError, match=r"^the tf32 plan .* is refused: "):
        check_stages(repository, speech, "--plan", str(repository / PLAN))
    assert device.memory == {}


def test_a_plan_that_cannot_be_a_stage(
    build: Callable[..., dict[str, Any]],
    device: FakeDevice,
    repository: Path,
    speech: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PlanError, match=r"has no whole plan\.json beside it: build it with `shrota export tensorrt`$"):
        check_stages(repository, speech, "--plan", str(repository / PLAN))
    build()
    monkeypatch.setattr(device, "_capacity", 1000)
    with pytest.raises(PlanError, match=r"model\.plan does not run here: .* GPU memory"):
        check_stages(repository, speech, "--plan", str(repository / PLAN))
    monkeypatch.setitem(sys.modules, comparison.RUNNER, None)
    with pytest.raises(PlanError, match=r"^plans are run by shrota-server: run `pip install \./server`$"):
        check_stages(repository, speech, "--plan", str(repository / PLAN))
