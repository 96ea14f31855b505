"""A plan is compared before it is installed. TensorRT, the GPU and the gate are fakes; the plan's runner is real."""
# ruff: noqa: ARG002 - the gate's own names

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shrota_client.gpu import Gpu
from shrota_export.cli import export
from shrota_export.errors import PlanError, VerificationError
from shrota_export.paths import MODEL, PLAN_DESCRIPTION
from shrota_export.tensorrt import comparison, export_plan
from shrota_export.tensorrt.comparison import within_profiles
from shrota_export.tensorrt.profiles import Batcher, Profile, make_profiles
from shrota_testing.engines import tiny_log_probs
from shrota_testing.fake_tensorrt import FakeDevice, FakeTensorRT
from shrota_testing.files import snapshot
from shrota_testing.half_engine import write_half_engine
from shrota_testing.repository import make_repository
from shrota_testing.utterances import noise_rows

L4 = Gpu("NVIDIA L4", "8.9", "580.95.05", 24 * 2**30, 23 * 2**30)
PROFILES = make_profiles(Batcher(640_000, 320_000, 400, 64, 16000))


class Gate:
    """The gate's interface; it keeps the candidate, and fails where it is told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.trusted: list[Path] = []
        self.candidates: list[tuple[str, Any, str]] = []
        self.worst = 0.0

    def open_subject(self, path: Path) -> SimpleNamespace:
        """The float32 graph."""
        self.trusted.append(path)
        return SimpleNamespace(beside=lambda *candidate: candidate)

    def read_speech(self, manifest: Path, subject: object) -> list[Any]:
        """No speech; its own in :meth:`check`."""
        return []

    def check(self, candidate: tuple[str, Any, str], reference: object, speech: object) -> SimpleNamespace:
        """Runs a batch of more rows than its profile holds."""
        self.candidates.append(candidate)
        audio = noise_rows(9, 130_000, seed=1)
        log_probs, num_frames = candidate[1](audio, np.full((9, 1), 130_000, np.int32))
        assert num_frames.tolist() == [[406]] * 9
        differences = [np.abs(row - tiny_log_probs(one)).max() for row, one in zip(log_probs, audio, strict=True)]
        self.worst = float(max(differences))

        def raise_for_failures() -> None:
            if self.refuses:
                raise VerificationError("the plan differs")

        return SimpleNamespace(raise_for_failures=raise_for_failures, as_dict=lambda: {"largest": 0.5})


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """In the place of shrota_export.gate."""
    fake = Gate()
    monkeypatch.setitem(sys.modules, comparison.GATE, fake)
    monkeypatch.setitem(sys.modules, "shrota_export.precision.kinds", SimpleNamespace(Precision=str))
    return fake


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


def build(repository: Path, *arguments: str) -> dict[str, Any]:
    export.main(["tensorrt", *arguments, "--repository", str(repository)], standalone_mode=False)
    content: dict[str, Any] = json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))["comparison"]
    return content


def test_what_the_gate_measured_is_beside_the_plan(gate: Gate, device: FakeDevice, repository: Path) -> None:
    assert build(repository) == {"was_run": True, "largest": 0.5}
    assert gate.trusted == [repository / MODEL]
    assert gate.candidates[0][0] == "the fp32 plan"
    assert gate.worst < 1e-4
    assert device.memory == {}


@pytest.mark.parametrize(("precision", "judged_as"), [("fp32", "fp32"), ("tf32", "fp16")])
def test_tf32_is_judged_by_its_mantissa(
    gate: Gate, device: FakeDevice, repository: Path, precision: str, judged_as: str
) -> None:
    build(repository, "--precision", precision)
    assert gate.candidates[0][2] == judged_as


def test_a_plan_that_the_gate_refuses_is_not_installed(gate: Gate, device: FakeDevice, repository: Path) -> None:
    gate.refuses = True
    before = snapshot(repository)
    with pytest.raises(VerificationError, match="the plan differs"):
        build(repository)
    assert snapshot(repository) == before
    assert device.memory == {}


def test_a_plan_that_does_not_run_is_not_installed(
    gate: Gate, device: FakeDevice, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(repository)
    monkeypatch.setattr(device, "_capacity", 1000)
    with pytest.raises(PlanError, match=r"the new plan does not run here and was not installed: .* GPU memory than is"):
        build(repository)
    assert snapshot(repository) == before


def test_a_half_graph_is_compared_with_the_float32_graph_beside_it(
    gate: Gate, device: FakeDevice, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (repository / MODEL).with_name("float32.onnx")
    shutil.copy(repository / MODEL, kept)
    write_half_engine(repository / MODEL)
    monkeypatch.setattr(gate, "check", lambda *_: SimpleNamespace(raise_for_failures=lambda: None, as_dict=dict))
    assert build(repository, "--precision", "fp16") == {"was_run": True}
    assert build(repository, "--precision", "tf32") == {"was_run": True}
    assert gate.trusted == [kept, kept]


def test_without_a_float32_graph(gate: Gate, device: FakeDevice, repository: Path) -> None:
    write_half_engine(repository / MODEL)
    why = "the repository holds no float32 graph to compare it with"
    assert build(repository, "--precision", "fp16") == {"was_run": False, "why": why}


@pytest.mark.parametrize(
    ("module", "why"), [("RUNNER", "shrota-server, which runs plans,"), ("GATE", "the gate")], ids=["runner", "gate"]
)
@pytest.mark.usefixtures("gate", "device")
def test_without_what_it_takes(repository: Path, monkeypatch: pytest.MonkeyPatch, module: str, why: str) -> None:
    monkeypatch.setitem(sys.modules, getattr(comparison, module), None)
    assert build(repository) == {"was_run": False, "why": f"{why} is not installed on the machine that built it"}


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
