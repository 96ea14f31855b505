"""Plans that do not run here are known before Triton starts."""

import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shrota_client.gpu import Gpu
from shrota_server import plan
from shrota_server.errors import PlanError
from shrota_server.plan import Machine, check_plan, look_around
from shrota_testing.repository import copy_repository, make_repository, set_parameter

GIB = 2**30
A10 = Gpu("NVIDIA A10", "8.6", "580.95.05", 24 * GIB, 23 * GIB)
L4 = Gpu("NVIDIA L4", "8.9", "580.95.05", 24 * GIB, 23 * GIB)
EMBEDDED = Machine(L4, "10.13.2.6", None, is_container=False)
SHROTA = str(Path(sys.executable).with_name("shrota"))


def write_plan(repository: Path, flavour: str = "tensorrt", version: str = "10.13.2.6", targets: str = "8.9") -> None:
    folder = repository / "acoustic_trt" / "1"
    (folder / "model.plan").write_bytes(b"a plan")
    description = {
        "tensorrt": {"flavour": flavour, "version": version},
        "compute_capabilities": targets.split(),
        "precision": "fp16",
        "checkpoint": {"name": "models/hindi-small", "sha256": "5a5a"},
        "batcher": {"batch_budget_seconds": 40, "longest_seconds": 20, "max_batch_rows": 64},
        "plan": {"bytes": len(b"a plan")},
    }
    (folder / "plan.json").write_text(json.dumps(description), encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a plan."""
    folder = copy_repository(tmp_path / "model_repository")
    write_plan(folder)
    return folder


def refusal(repository: Path, machine: Machine) -> str:
    with pytest.raises(PlanError) as caught:
        check_plan(repository, machine)
    return str(caught.value)


def test_a_plan_runs_where_it_was_built(repository: Path) -> None:
    check_plan(repository, EMBEDDED)


def test_in_the_container_the_library_tells_less_of_its_version(repository: Path) -> None:
    check_plan(repository, Machine(L4, "10.13.2", None, is_container=True))
    check_plan(repository, Machine(L4, None, None, is_container=True))
    assert "here is TensorRT 10.13.3 and" in refusal(repository, Machine(L4, "10.13.3", None, is_container=True))


def test_one_plan_for_several_gpus(repository: Path) -> None:
    write_plan(repository, "tensorrt-rtx", "1.7.1.116", "8.6 8.9")
    for gpu in (A10, L4):
        check_plan(repository, Machine(gpu, None, "1.7.1.116", is_container=False))


def test_another_gpu_names_both_sides_and_the_command(repository: Path) -> None:
    assert refusal(repository, Machine(A10, "10.13.2.6", None, is_container=False)) == (
        f"the plan {repository}/acoustic_trt/1/model.plan was built by TensorRT 10.13.2.6 for compute capability 8.9, "
        "but here is TensorRT 10.13.2.6 and NVIDIA A10 (compute capability 8.6): "
        f"run `shrota export tensorrt --precision fp16 --repository {repository}` on this machine"
    )


def test_another_version(repository: Path) -> None:
    message = refusal(repository, Machine(L4, "10.13.3.9", None, is_container=False))
    assert "was built by TensorRT 10.13.2.6 for" in message
    assert "but here is TensorRT 10.13.3.9 and NVIDIA L4 (compute capability 8.9)" in message


def test_no_gpu(repository: Path) -> None:
    assert "but here is no NVIDIA GPU" in refusal(repository, Machine(None, "10.13.2.6", None, is_container=False))


def test_another_flavour(repository: Path) -> None:
    write_plan(repository, "tensorrt-rtx", "1.7.1.116")
    message = refusal(repository, EMBEDDED)
    assert "TensorRT-RTX is not installed here (`pip install tensorrt-rtx==1.7.1.116` brings it)" in message
    assert "run `shrota export tensorrt --for rtx --precision fp16 --repository" in message
    message = refusal(repository, Machine(L4, "10.13.2", "1.7.1.116", is_container=True))
    assert "the tritonserver here runs plans of TensorRT 10.13.2 only" in message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tensorrt": {"flavour": "tensorrt"}}'])
def test_a_description_that_is_none(repository: Path, text: str) -> None:
    (repository / "acoustic_trt" / "1" / "plan.json").write_text(text, encoding="utf-8")
    assert "plan.json cannot be read, so nobody knows what the plan was built for" in refusal(repository, EMBEDDED)


def test_a_plan_without_description(repository: Path) -> None:
    (repository / "acoustic_trt" / "1" / "plan.json").unlink()
    assert "plan.json is missing, so nobody knows what the plan was built for" in refusal(repository, EMBEDDED)


def test_a_description_of_another_plan(repository: Path) -> None:
    (repository / "acoustic_trt" / "1" / "model.plan").write_bytes(b"another plan")
    assert "describes another plan" in refusal(repository, EMBEDDED)


def test_no_plan(repository: Path) -> None:
    (repository / "acoustic_trt" / "1" / "model.plan").unlink()
    message = refusal(repository, EMBEDDED)
    assert message == (
        f"no engine at {repository}/acoustic_trt/1/model.plan: run `shrota export tensorrt --repository {repository}`"
    )


def test_a_plan_of_another_checkpoint_than_the_exported_one(repository: Path) -> None:
    manifest = repository / "acoustic_onnx" / "1" / "manifest.json"
    manifest.write_text('{"checkpoint": {"sha256": "5a5a"}}', encoding="utf-8")
    check_plan(repository, EMBEDDED)
    manifest.write_text('{"checkpoint": {"sha256": "b1b1"}}', encoding="utf-8")
    message = refusal(repository, EMBEDDED)
    assert "is out of date: another checkpoint has been exported since: run `shrota export tensorrt" in message


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("batch_budget_seconds", "80", "batch_budget_seconds 80 now, and it was built for 40"),
        ("max_batch_rows", "65", "max_batch_rows 65 now, and it was built for 64"),
        ("window_seconds", "20.5", "longest_seconds 20.5 now, and it was built for 20"),
        ("length_step_seconds", "3", "longest_seconds 21 now, and it was built for 20"),
        ("batch_budget_seconds", "30", None),
        ("window_seconds", "10", None),
        ("length_step_seconds", "2", None),
        ("window_seconds", "twenty", None),
    ],
)
@pytest.mark.parametrize("comments", [True, False], ids=["as in git", "written by the protobuf"])
def test_larger_batches_than_it_was_built_for(
    repository: Path, name: str, value: str, change: str | None, comments: bool
) -> None:
    config = repository / "acoustic" / "config.pbtxt"
    if comments:
        text, count = re.subn(
            rf'(key: "{name}" value {{ string_value: )"[^"]*"', rf'\1"{value}"', config.read_text("utf-8")
        )
        assert count == 1
        config.write_text(text, encoding="utf-8")
    else:
        set_parameter(config, name, value)
    if change is None:
        check_plan(repository, EMBEDDED)
    else:
        assert f"is out of date: acoustic/config.pbtxt allows {change}: run" in refusal(repository, EMBEDDED)


def test_the_library_tells_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, name: str) -> None:
            if name != "libnvinfer.so.10":
                raise OSError

        def getInferLibVersion(self) -> int:  # noqa: N802 - NVIDIA's name
            return 101302

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert plan.library_version() == "10.13.2"


def test_this_machine_has_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "find_gpu", lambda: L4)
    assert look_around().gpu == L4
    monkeypatch.setattr(plan, "LIBRARIES", ("libnvinfer.so.0",))
    assert plan.library_version() is None


def serve(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [SHROTA, "serve", "--repository", str(repository), "--engine", "acoustic_trt", *ports, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})


def test_serving_a_foreign_plan_is_one_line(repository: Path) -> None:
    result = serve(repository)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("shrota: error: the plan")
    assert line.endswith("; or start with --fallback to serve acoustic_onnx instead")
    assert "but here is no NVIDIA GPU" in line


def test_falling_back_says_so_and_needs_the_other_engine(repository: Path) -> None:
    result = serve(repository, "--fallback")
    assert result.returncode == 1
    first, second, last = result.stderr.splitlines()
    assert first.startswith("serving acoustic_onnx instead of acoustic_trt: the plan")
    assert second == f"loading asr, acoustic_onnx from {repository} ..."
    assert "model.onnx: run `shrota export onnx CHECKPOINT" in last


@pytest.mark.triton
def test_the_spare_engine_runs_what_names_none(tmp_path: Path) -> None:
    import numpy as np
    from tritonclient.grpc import InferenceServerClient, InferInput

    repository = make_repository(tmp_path / "model_repository")
    write_plan(repository)
    config = repository / "acoustic" / "config.pbtxt"
    # the default in the configuration is not loaded: the command's engine counts
    config.write_text(
        config.read_text("utf-8").replace('string_value: "acoustic_onnx" }', 'string_value: "acoustic_trt" }'), "utf-8"
    )
    command = [SHROTA, "serve", "--repository", str(repository), "--engine", "acoustic_trt", "--fallback"]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            tensor = InferInput("AUDIO", [1, 16000], "FP32")
            tensor.set_data_from_numpy(np.zeros((1, 16000), np.float32))
            with InferenceServerClient(url) as client:
                result = client.infer("acoustic", [tensor])
            assert result.as_numpy("LOG_PROBS").shape == (1, 49, 68)
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=20)
    assert "serving acoustic_onnx instead of acoustic_trt" in errors
