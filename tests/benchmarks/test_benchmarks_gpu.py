"""``python -m benchmarks.gpu``, as far as it can be tried on a processor."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernelError

from benchmarks.gpu import Order, engines_step, gate_step, main, triton_step
from benchmarks.gpu_engines import OnnxEngine, cuda_options, graph_precision
from benchmarks.gpu_model import FLOAT32_CONVOLUTIONS, Model
from benchmarks.gpu_page import markdown
from benchmarks.gpu_run import Run, describe_shape
from benchmarks.gpu_triton import (
    Load,
    check_provider,
    make_repository,
    run_perf_analyzer,
    served,
)
from shrota_export.checkpoint import find_checkpoint
from shrota_export.configuration import read_configuration
from shrota_export.engines import make_batch
from shrota_export.errors import ExportError
from shrota_export.precision.kinds import Precision
from shrota_export.random_checkpoint import Shape
from shrota_loadtest.errors import PerfAnalyzerError
from shrota_testing.checkpoints import TOKENS, make_audio, write_checkpoint
from shrota_testing.windows import shorten_windows

REPORT = """Concurrency,Inferences/Second,Client Send,Server Queue,p50 latency,p90 latency,p95 latency,p99 latency
64,251.5,12,99000,240000,260000,270000,281500
"""
LOAD = {"concurrency": 64, "utterances_per_second": 100.0, "p50_ms": 1.0, "p99_ms": 2.0, "by": "perf_analyzer"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny checkpoint in the place of the large one."""
    import soundfile

    folder = tmp_path_factory.mktemp("gpu")
    soundfile.write(folder / "speech.wav", make_audio(24000), 16000)
    (folder / "manifest.jsonl").write_text('{"audio": "speech.wav"}', encoding="utf-8")
    checkpoint = find_checkpoint(str(write_checkpoint(folder / "checkpoint")))
    return Model("large", checkpoint, folder, folder / "manifest.jsonl")


@pytest.fixture(autouse=True)
def short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_windows(monkeypatch)
    monkeypatch.setattr("benchmarks.gpu.LOAD_S", 1.0)
    monkeypatch.setattr("benchmarks.gpu.MEASURE_S", 0.2)


def order(output: Path, **changes: Any) -> Order:
    usual = {
        "device": "cpu",
        "output": output,
        "instances": 1,
        "concurrencies": (1, 3),
        "batches": (1,),
        "seconds_of_audio": 1.0,
        "perf_analyzer": None,
        "only": (),
        **dict.fromkeys(("layers", "hidden_size", "heads", "conv_dim")),
    }
    return Order(**{**usual, **changes})


def page_of(steps: dict[str, Any], **changes: Any) -> str:
    machine: dict[str, Any] = {"gpu": None, "cuda": None, "processor": "one", "python": "3.12", "versions": {}}
    content = {
        "command": "python -m benchmarks.gpu",
        "checkpoint": {"sha256": "0123456789abcdef"},
        "shape": describe_shape(Shape()),
        "device": "cuda",
    }
    return markdown({"date": "today", "machine": machine, "steps": steps, **content, **changes})


def test_pytorch_in_half_precision_is_near_float32(model: Model) -> None:
    """Also with offset and noise in the audio: its normalisation stays float32."""
    batch = make_batch([make_audio(16000), make_audio(9000, 1)])
    expected, frames = model.torch_engine("fp32", "cpu")(*batch)
    for mode, attention, limit in (("fp32", "sdpa", 1e-5), ("fp16", "sdpa", 0.02), ("bf16", "sdpa", 0.2)):
        found, same_frames = model.torch_engine(mode, "cpu", attention)(*batch)
        np.testing.assert_array_equal(frames, same_frames)
        for row, count in enumerate(frames[:, 0]):
            assert np.abs(found - expected)[row, :count].mean() < limit


def test_tf32_is_a_flag() -> None:
    assert [cuda_options(mode)["use_tf32"] for mode in ("fp32", "tf32", "fp16")] == ["0", "1", "0"]
    assert graph_precision("tf32") is Precision.FP32


def test_the_gate_judges_what_the_device_gives(model: Model) -> None:
    found = gate_step(model, "fp16", "cpu")["gate"]
    assert found["passed"] is True
    assert found["reference"] == "PyTorch, fp32, cpu"


def refuse_bfloat16(monkeypatch: pytest.MonkeyPatch, kind: str, error: type[Exception]) -> None:
    """ONNX Runtime as on a GPU, where a kind of node has no bfloat16; what is left runs as float32 here."""
    real = OnnxEngine

    def open_engine(path: Path, mode: str, device: str) -> OnnxEngine:
        if mode != "bf16":
            return real(path, mode, device)
        if "float32-convolutions" not in path.name:
            raise error(
                f"[ONNXRuntimeError] : 9 : Could not find an implementation for {kind}(11) node with name '/Conv'"
            )
        return real(path.with_name("large-fp32.onnx"), mode, device)

    monkeypatch.setattr("benchmarks.gpu_model.OnnxEngine", open_engine)
    monkeypatch.setattr("benchmarks.gpu.OnnxEngine", open_engine)


def test_float32_convolutions_are_said_wherever_bf16_stands(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_bfloat16(monkeypatch, "Conv", NoKernelError)
    path, note = model.graph_that_runs("bf16", "cpu")
    assert (path.name, note) == ("large-bf16-float32-convolutions.onnx", FLOAT32_CONVOLUTIONS)
    assert model.graph_that_runs("fp16", "cpu") == (model.graph(Precision.FP16), None)
    steps = {
        "gate large bf16": gate_step(model, "bf16", "cpu"),
        "triton large bf16": {"loads": [LOAD], "note": note},
        "engines large, 1 rows": engines_step(model, ("fp32", "bf16"), "cpu", 1, 1.0),
    }
    rows = [line for line in page_of(steps).splitlines() if line.startswith("|")]
    assert [row for row in rows if row.endswith(f"| {FLOAT32_CONVOLUTIONS} |")] == [
        row for row in rows if row.startswith(("| large bf16 |", "| bf16 |", "| onnxruntime bf16 |"))
    ]
    assert sum(FLOAT32_CONVOLUTIONS in row for row in rows) == 3


@pytest.mark.parametrize(("kind", "error"), [("MatMul", NoKernelError), ("Conv", RuntimeError)])
def test_another_failure_of_a_bf16_graph_is_no_reason_for_another_graph(
    model: Model, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[Exception]
) -> None:
    refuse_bfloat16(monkeypatch, kind, error)
    with pytest.raises(error):
        model.graph_that_runs("bf16", "cpu")


def test_engines_by_turns(model: Model) -> None:
    found = engines_step(model, ("fp32", "bf16"), "cpu", 2, 1.0)
    assert {"onnxruntime fp32", "pytorch fp32", "pytorch bf16"} <= set(found["engines"])
    assert found["engines"]["pytorch fp32"]["runs"] >= 3
    assert "onnxruntime bf16" in found["failed"]  # ONNX Runtime has no bfloat16 on a processor


def test_a_repository_of_one_mode(model: Model, tmp_path: Path) -> None:
    graph = model.graph(Precision.FP32)
    folder = make_repository(tmp_path / "repository", graph, "tf32", len(TOKENS), 2)
    config = read_configuration(folder / "acoustic_onnx" / "config.pbtxt")
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["use_tf32"] == "1"
    assert config.instance_group[0].count == 2
    assert (folder / "acoustic_onnx" / "1" / "model.onnx").samefile(graph)
    assert {output.name: list(output.dims) for output in config.output}["LOG_PROBS"] == [-1, len(TOKENS)]


@pytest.mark.triton
def test_load_through_triton(model: Model, tmp_path: Path) -> None:
    """A program that fails is said, and threads make the load."""
    found = triton_step(model, "fp32", order(tmp_path / "gpu", perf_analyzer="/bin/false"), tmp_path, 60)
    assert [load["concurrency"] for load in found["loads"]] == [1, 3]
    assert all(load["utterances_per_second"] > 1 and load["by"].startswith("threads") for load in found["loads"])
    assert not (tmp_path / "repository-fp32").exists()
    with pytest.raises(ExportError, match=r"^acoustic_onnx does not run on the cuda: .*CPUExecutionProvider"):
        check_provider(tmp_path / "gpu-triton-fp32.log", "cuda")


CUDA_LINE = "I1126 model.py:58] acoustic_onnx: onnxruntime 1.31.1, CUDAExecutionProvider, 8 threads\n"
CPU_LINE = CUDA_LINE.replace("CUDA", "CPU")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (CUDA_LINE + CPU_LINE, "acoustic_onnx: onnxruntime 1.31.1, CPUExecutionProvider, 8 threads"),
        (CPU_LINE + CUDA_LINE, "acoustic_onnx: onnxruntime 1.31.1, CPUExecutionProvider, 8 threads"),
        ("acoustic_onnx: ready\n", "nothing of its provider in the log"),
    ],
)
def test_each_instance_must_run_on_the_device(tmp_path: Path, lines: str, why: str) -> None:
    log = tmp_path / "log"
    log.write_text(lines, encoding="utf-8")
    with pytest.raises(ExportError, match=rf"^acoustic_onnx does not run on the cuda: .*{why}$"):
        check_provider(log, "cuda")
    log.write_text(CUDA_LINE + CUDA_LINE, encoding="utf-8")
    check_provider(log, "cuda")


def test_the_log_of_an_earlier_server_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(CUDA_LINE, encoding="utf-8")
    served(tmp_path, log, 1.0)
    assert not log.exists()


def write_program(folder: Path, end: str = "exit 0") -> str:
    """In the place of perf_analyzer: writes a report, then does ``end``."""
    program = folder / "perf_analyzer"
    text = f'#!/bin/sh\nfor last; do :; done\nprintf "%s" "{REPORT}" > "$last"\n{end}\n'
    program.write_text(text, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def said_windows(*throughputs: int) -> str:
    """What perf_analyzer says of its windows, by a shell."""
    lines = [
        f"Pass [{number}] throughput: {throughput} infer/sec. Avg latency: 9 usec"
        for number, throughput in enumerate(throughputs, start=1)
    ]
    return f"echo '{' '.join(lines)}'"


def test_an_unstable_measurement_is_said(tmp_path: Path) -> None:
    program = write_program(tmp_path, said_windows(100, 400, 100))
    found = run_perf_analyzer(program, Load("host:1", 0.5, 64, 8.0), tmp_path)
    assert found["unstable"] is True
    rows = page_of({"triton large fp16": {"seconds_of_audio": 10.0, "loads": [LOAD, found]}}).splitlines()
    assert "| fp16 | 64 | 251.5 | 2,515.0 | 240.0 | 281.5 | perf_analyzer | **unstable** |" in rows
    assert "| fp16 | 64 | 100.0 | 1,000.0 | 1.0 | 2.0 | perf_analyzer |  |" in rows


def test_a_report_of_a_failed_program_is_not_taken(tmp_path: Path) -> None:
    program = write_program(tmp_path, "echo no server >&2; exit 99")
    with pytest.raises(PerfAnalyzerError, match=r"^perf_analyzer ended with exit code 99: no server$"):
        run_perf_analyzer(program, Load("host:1", 0.5, 64, 8.0), tmp_path)


def test_the_reasons_are_kept_where_no_engine_works(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("benchmarks.gpu.OnnxEngine", fail)
    monkeypatch.setattr(model, "torch_engine", fail)
    found = engines_step(model, ("fp32",), "cpu", 1, 1.0)
    assert found["engines"] == {}
    assert found["failed"] == {"onnxruntime fp32": "out of memory", "pytorch fp32": "out of memory"}
    assert "pytorch fp32 does not run: out of memory" in page_of({"engines large, 1 rows": found})


def test_results_that_the_page_does_not_know_do_not_end_the_measurement(tmp_path: Path) -> None:
    run = new_run(tmp_path, 60)
    run.step("triton large fp16", lambda: {"loads": [{"concurrency": 64, "by": "perf_analyzer"}]})
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| fp16 | 64 | not measured | not measured | not measured | not measured | perf_analyzer |  |" in page
    run.step("gate large fp16", lambda: {"gate": {}})
    run.step("triton large tf32", lambda: {"loads": [LOAD]})
    content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert list(content["steps"]) == ["triton large fp16", "gate large fp16", "triton large tf32"]


def test_perf_analyzer_is_run(tmp_path: Path) -> None:
    """A program in its place: it is given one utterance with its number of samples."""
    program = write_program(tmp_path, said_windows(250, 251, 252))
    found = run_perf_analyzer(program, Load("host:1", 0.5, 64, 8.0), tmp_path)
    assert (found["by"], found["concurrency"], found["utterances_per_second"]) == ("perf_analyzer", 64, 251.5)
    assert found["unstable"] is False
    (tensors,) = json.loads((tmp_path / "input.json").read_text(encoding="utf-8"))["data"]
    assert (tensors["AUDIO"]["shape"], tensors["NUM_SAMPLES"]["shape"]) == ([8000], [1])
    with pytest.raises(PerfAnalyzerError, match=r"^perf_analyzer ended with exit code 1: "):
        run_perf_analyzer("/bin/false", Load("host:1", 0.5, 1, 8.0), tmp_path)


def new_run(folder: Path, limit_s: float) -> Run:
    return Run(folder / "gpu", "cpu", limit_s, "python -m benchmarks.gpu", describe_shape(Shape()))


@pytest.mark.parametrize(
    ("device", "shape", "throughput", "bar"),
    [
        ("cuda", Shape(), 170.0, "fp16 over tf32: 1.70; bar: at least 1.7, met."),
        ("cuda", Shape(layers=24, heads=16), 169.0, "fp16 over tf32: 1.69; bar: at least 1.7, **not met**."),
        ("cuda", Shape(layers=1), 170.0, "fp16 over tf32: 1.70; bar: not judged, it is for the published shape."),
        ("cpu", Shape(), 170.0, "fp16 over tf32: 1.70; bar: not judged, it is for CUDA."),
    ],
)
def test_the_bar_is_for_the_published_shape_on_a_gpu(device: str, shape: Shape, throughput: float, bar: str) -> None:
    steps = {
        "triton large tf32": {"loads": [LOAD]},
        "triton large fp16": {"loads": [{**LOAD, "utterances_per_second": throughput}]},
    }
    assert bar in page_of(steps, device=device, shape=describe_shape(shape)).splitlines()


def test_a_trial_is_told_from_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the options and the shape; folders of the machine are not in it."""

    def step(run: Run, name: str, *_: object, **__: object) -> None:
        run.results["steps"][name] = {}
        run.write()

    monkeypatch.setattr(Run, "step", step)
    monkeypatch.setattr("benchmarks.gpu.read_speech", lambda *_: [])
    output = tmp_path / "page" / "gpu"
    arguments = [
        "--device",
        "cpu",
        "--layers",
        "1",
        "--seconds",
        "30",
        "--output",
        str(output),
        "--manifest",
        "a/b/c d",
    ]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    command = "python -m benchmarks.gpu --device cpu --seconds 30 --output page/gpu --manifest 'b/c d' --layers 1"
    content = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert (content["command"], content["shape"]["num_hidden_layers"]) == (command, 1)
    head = f"`{command}`; large model: 1 layers of width 1024, 16 heads, convolutions of width 512 (**not the published"
    for text in (result.output, output.with_suffix(".md").read_text(encoding="utf-8")):
        assert head in text
        assert str(tmp_path) not in text
    assert str(tmp_path) not in json.dumps(content)


def test_each_step_is_written_whatever_becomes_of_the_next(tmp_path: Path) -> None:
    run = new_run(tmp_path, 20)
    run.step("triton large tf32", lambda: {"loads": [LOAD]}, least_s=1)
    run.step("triton large fp16", lambda: {"loads": [{**LOAD, "utterances_per_second": 169.0}]}, least_s=1)

    def fail() -> dict[str, Any]:
        raise RuntimeError("out of\nmemory")

    run.step("triton large bf16", fail, least_s=1)
    run.step("triton large fp32", fail, least_s=30)
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert page == markdown(json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8")))
    assert "fp16 over tf32: 1.69; bar: not judged, it is for CUDA." in page
    assert "- triton large bf16: RuntimeError: out of memory" in page
    assert "- triton large fp32: 20 s left" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json", "gpu.md"]


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for counts in ("one", "0", "1,-2", ""):
        result = CliRunner().invoke(main, ["--device", "cpu", "--batches", counts])
        assert "write 1,32" in str(result.exception)
    usual = ["--device", "cpu", "--output", str(tmp_path / "gpu")]
    (tmp_path / "empty").write_text("", encoding="utf-8")
    for name, reason in (("none", "No such file"), ("empty", "is empty")):
        result = CliRunner().invoke(main, [*usual, "--manifest", str(tmp_path / name)])
        assert reason in str(result.exception)
    result = CliRunner().invoke(main, [*usual, "--only", "nothing"])
    assert "no step has nothing in its name" in str(result.exception)
    assert not list(tmp_path.glob("gpu*"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = CliRunner().invoke(main, [])
    assert "there is no GPU here that PyTorch can use" in str(result.exception)


def test_only_some_steps(tmp_path: Path) -> None:
    run = Run(tmp_path / "gpu", "cpu", 100, "command", describe_shape(Shape()), only=("bundled", "gate"))
    for name in ("load bundled", "load large", "gate large fp16", "triton large fp16"):
        run.step(name, dict, least_s=1)
    assert list(run.results["steps"]) == ["load bundled", "gate large fp16"]
    assert "## Through Triton" not in (tmp_path / "gpu.md").read_text(encoding="utf-8")
