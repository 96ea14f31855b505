"""Plans by the package ``tensorrt``, which is played by a fake: what it is told, and what its failures become."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from shrota_client.gpu import Gpu
from shrota_export.cli import export
from shrota_export.errors import PlanError
from shrota_export.paths import MODEL, PLAN, PLAN_DESCRIPTION
from shrota_export.tensorrt import comparison, export_plan
from shrota_testing.fake_tensorrt import BuilderFlag, Config, FakeTensorRT, Logger
from shrota_testing.files import snapshot
from shrota_testing.half_engine import write_half_engine
from shrota_testing.repository import make_repository, set_parameter

GIB = 2**30
T4 = Gpu("Tesla T4", "7.5", "535.104.05", 15 * GIB, 14 * GIB)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the tiny engine, on a machine with a T4 that runs nothing, and a cache of its own."""
    monkeypatch.setattr(comparison, "compare_plan", lambda *_: {"was_run": False, "why": "it is a fake"})
    monkeypatch.setattr(export_plan, "find_gpu", lambda: T4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_repository(tmp_path / "model_repository")


def install(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FakeTensorRT:
    fake = FakeTensorRT(**options)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


def build(repository: Path, *arguments: str) -> None:
    export.main(["tensorrt", *arguments, "--repository", str(repository)], standalone_mode=False)


@pytest.mark.parametrize(("version", "flags"), [("10.13.2.6", 1 << 3), ("11.4.0.106", 0)])
def test_networks_are_strongly_typed(
    repository: Path, monkeypatch: pytest.MonkeyPatch, version: str, flags: int
) -> None:
    trt = install(monkeypatch, version=version)
    build(repository)
    assert trt.network_flags == [flags]
    description = json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))
    assert description["tensorrt"] == {"flavour": "tensorrt", "version": version}
    assert description["compute_capabilities"] == ["7.5"]
    assert description["built_on"] == {"name": "Tesla T4", "driver": "535.104.05"}
    assert (repository / PLAN).read_bytes() == (repository / MODEL).read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_tf32_is_on_for_nothing_else(repository: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    if precision == "fp16":
        write_half_engine(repository / MODEL)
    trt = install(monkeypatch)
    build(repository, "--precision", precision)
    assert (BuilderFlag.TF32 in trt.configs[0].flags) is (precision == "tf32")
    assert json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))["tf32"] is (precision == "tf32")


def test_both_inputs_have_the_rows_of_each_profile(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = install(monkeypatch)
    build(repository)
    profiles = trt.configs[0].profiles
    assert profiles[-1] == {
        "AUDIO": ((1, 128001), (2, 320000), (4, 320000)),
        "NUM_SAMPLES": ((1, 1), (2, 1), (4, 1)),
    }
    assert len(profiles) == 5


def test_no_gpu(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(export_plan, "find_gpu", lambda: None)
    with pytest.raises(PlanError, match=r"^there is no NVIDIA GPU here .* build it there, or .* with --for rtx"):
        build(repository)


def test_no_tensorrt(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(PlanError, match=r"^the package tensorrt is not installed: run `pip install tensorrt`"):
        build(repository)


def test_a_tensorrt_without_its_libraries(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PlanError, match=r"^the package tensorrt cannot be loaded \(libnvinfer\.so\.10: cannot open"):
        build(repository)


def test_a_tensorrt_without_strong_types(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, version="8.5.3.1")
    with pytest.raises(
        PlanError, match=r"^TensorRT 8\.5\.3\.1 cannot build the plan: install version 10 or 11 of tens"
    ):
        build(repository)


def test_another_gpu_than_the_one_here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(PlanError, match=r"^TensorRT builds for the GPU that it runs on, Tesla T4 .*, and not for 8\.9"):
        build(repository, "--compute-capability", "8.9")


def test_an_unsupported_node_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [("StringNormalizer", "/text", "no importer\nregistered"), ("Optional", "", "another")]
    install(monkeypatch, parse_errors=errors)
    before = snapshot(repository)
    message = r"node /text \(StringNormalizer\) is not supported: no importer registered \(and 1 more\)$"
    with pytest.raises(PlanError, match=message):
        build(repository)
    assert snapshot(repository) == before


def test_out_of_memory_says_which_profile_would_fit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = [
        (Logger.INFO, "Total Activation Memory: 1000 bytes"),
        (Logger.ERROR, f"Requested amount of GPU memory ({42 * GIB} bytes) could not be allocated."),
    ]
    install(monkeypatch, build_log=log)
    set_parameter(repository / "acoustic" / "config.pbtxt", "batch_budget_seconds", "80")
    before = snapshot(repository)
    message = (
        r"^out of GPU memory at the profile of 38 x 4\.21 s, which asked for 42\.0 GiB at once; Tesla T4 \(compute "
        r"capability 7\.5\) has 14\.0 GiB free: a profile of 6 x 8\.67 s should fit: set batch_budget_seconds in "
        r"acoustic/config\.pbtxt to 26, or free GPU memory$"
    )
    with pytest.raises(PlanError, match=message):
        build(repository)
    assert snapshot(repository) == before


def test_out_of_memory_even_for_one_window(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, build_log=[(Logger.ERROR, "CUDA error 2: out of memory")])
    message = r"a profile of 2 x 5 s should fit: set window_seconds and batch_budget_seconds in .* to 5, or free GPU"
    set_parameter(repository / "acoustic" / "config.pbtxt", "batch_budget_seconds", "20")
    with pytest.raises(PlanError, match=message):
        build(repository)


def test_what_tensorrt_says_last_is_passed_on(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, build_log=[(Logger.ERROR, "first"), (Logger.ERROR, "no implementation\n for node X")])
    with pytest.raises(PlanError, match=r"cannot build a plan of .*model\.onnx: no implementation for node X$"):
        build(repository)


def test_ctrl_c_ends_the_build(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(config: Config) -> None:
        config.progress_monitor.phase_start("Tactics", "Building", 3)

        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(config.progress_monitor._bars["Tactics"], "update", interrupt)
        assert config.progress_monitor.step_complete("Tactics", 0) is False
        assert config.progress_monitor.step_complete("Tactics", 1) is False
        config.progress_monitor.phase_finish("Tactics")

    install(monkeypatch, on_build=press)
    before = snapshot(repository)
    with pytest.raises(click.Abort):
        build(repository)
    assert snapshot(repository) == before


def test_timings_are_kept_for_the_next_build(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = install(monkeypatch)
    build(repository)
    build(repository, "--force")
    assert [config.timing for config in trt.configs] == [b"", b" and this build"]
    (file,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert file.name == "tensorrt-10.13.2.6-Tesla-T4-7.5.timing"
    assert file.read_bytes() == b" and this build and this build"


def test_timings_of_another_version_are_not_used(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = install(monkeypatch)
    (tmp_path / "timing").write_bytes(b"foreign")
    build(repository, "--timing-cache", str(tmp_path / "timing"))
    assert trt.configs[0].timing == b""
    assert (tmp_path / "timing").read_bytes() == b" and this build"


def test_timings_that_cannot_be_kept_are_a_warning(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    (tmp_path / "file").touch()
    build(repository, "--timing-cache", str(tmp_path / "file" / "timing"))
    assert "the timings are not kept (File exists" in capsys.readouterr().err
    assert (repository / PLAN).is_file()
