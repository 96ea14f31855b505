"""Backends and precisions: those that run on this machine, and why the others do not."""

import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from shrota_client.pages.host import extensions
from shrota_export.checkpoint import Checkpoint
from shrota_export.engines import Engine, Floats, Ints, open_engine
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model
from shrota_export.precision.kinds import Precision
from shrota_export.report.compiled import KIND, compile_engine
from shrota_export.report.material import Material
from shrota_export.report.reasons import reason_of

COMPILED = "PyTorch fp32, compiled"
COMPILED_NOTE = "torch.compile of the layers, inductor, dynamic shapes; load and memory are those of compiling, too"


@dataclass(frozen=True)
class Variant:
    """A backend in a precision.

    Attributes:
        engine: what is timed.
        precision: of its products and convolutions.
        kind: for :mod:`shrota_export.report.child`.
        source: for that, too.
        judged: what stands for it in comparisons, where ``engine`` does not compute as other machines would.
        note: what the reader must know.
        is_served: whether `shrota export` installs it for a server.
        process: what :func:`shrota_export.report.child.measure_process` has said of it already.
    """

    engine: Engine
    precision: Precision
    kind: str
    source: Path
    judged: Callable[[], Engine] | None = None
    note: str = ""
    is_served: bool = False
    process: dict[str, float] | None = None


def pytorch_module(checkpoint: Checkpoint) -> AcousticEngine:
    """The checkpoint in PyTorch."""
    normalize = bool(load_feature_extractor(checkpoint).do_normalize)
    engine = AcousticEngine(load_model(checkpoint), normalize=normalize)
    engine.eval()
    return engine


def pytorch_engine(checkpoint: Checkpoint, *, low: bool = False) -> Engine:
    """The checkpoint in PyTorch, with products and convolutions in bfloat16 if ``low``."""
    return run_pytorch(pytorch_module(checkpoint), low=low)


def run_pytorch(module: torch.nn.Module, *, low: bool = False) -> Engine:
    """An engine of a module."""

    def run(audio: Floats, lengths: Ints) -> tuple[Floats, Ints]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            log_probs, num_frames = module(torch.from_numpy(audio), torch.from_numpy(lengths))
        return log_probs.float().numpy(), num_frames.numpy()

    return run


def emulated(material: Material, precision: Precision) -> Engine:
    """Half precision as a GPU would have it, see :mod:`shrota_export.precision.emulation`."""
    return open_engine(material.emulated_path(precision))


def make_variants(material: Material) -> tuple[dict[str, Variant], dict[str, str]]:
    """What runs here, by name, and the reasons of what does not."""
    folder, exported = material.checkpoint.folder, material.graph_path
    found = {"PyTorch fp32": Variant(run_pytorch(material.engine), Precision.FP32, "torch", folder, note="eager")}
    missing: dict[str, str] = {}
    try:
        compiled, process = compile_engine(material)
        found[COMPILED] = Variant(compiled, Precision.FP32, KIND, folder, note=COMPILED_NOTE, process=process)
    except Exception as error:  # noqa: BLE001 - whatever the compiler raises
        missing[COMPILED] = reason_of(error, 160)
    if {"avx512_bf16", "amx_bf16"}.intersection(extensions()):
        low = run_pytorch(material.engine, low=True)
        found["PyTorch bf16"] = Variant(low, Precision.BF16, "torch-bf16", folder, note="eager, under torch.autocast")
    else:
        missing["PyTorch bf16"] = "the processor has no bfloat16 arithmetic (avx512_bf16, amx_bf16)"
    found["ONNX Runtime fp32, as exported"] = Variant(
        open_engine(exported, fuse=False), Precision.FP32, "onnx-unfused", exported, note="no optimisation"
    )
    found["ONNX Runtime fp32"] = Variant(open_engine(exported), Precision.FP32, "onnx", exported, is_served=True)
    name = "ONNX Runtime fp32, attention fused"
    try:
        fused = material.fused_path
        note = "all fusions of transformers, then all optimisations; no command installs it yet"
        found[name] = Variant(open_engine(fused), Precision.FP32, "onnx", fused, note=note)
    except Exception as error:  # noqa: BLE001 - whatever the fusions raise
        missing[name] = reason_of(error, 160)
    for precision in (Precision.FP16, Precision.BF16, Precision.INT8):
        name = f"ONNX Runtime {precision}"
        try:
            path = material.precision_path(precision)
            engine = open_engine(path)
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base class but Exception
            missing[name] = reason_of(error, 160)
            continue
        if precision is Precision.FP16:
            note = "no float16 arithmetic on processors: float32 between casts; errors are those of its emulation"
            judged = lambda: emulated(material, Precision.FP16)  # noqa: E731
            found[name] = Variant(engine, precision, "onnx", path, judged, note, is_served=True)
        else:
            found[name] = Variant(engine, precision, "onnx", path, is_served=True)
    return found, {**missing, **_elsewhere()}


def _elsewhere() -> dict[str, str]:
    """What this command does not measure, and why."""
    gpu = torch.cuda.is_available()
    plan = importlib.util.find_spec("tensorrt") is not None
    need = [text for there, text in ((gpu, "no NVIDIA GPU"), (plan, "no TensorRT")) if not there]
    return {
        "TensorRT": f"{' and '.join(need)} on this machine" if need else "not measured by this command",
        "ONNX Runtime with CUDA": "not measured by this command" if gpu else "no NVIDIA GPU on this machine",
    }
