"""From a checkpoint to the engine ``acoustic_torch`` in the repository: the whole of ``shrota export torch``."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file

from shrota_export.checkpoint import Checkpoint
from shrota_export.engines import Engine, Floats, Ints
from shrota_export.errors import CheckpointError, ExportError, RepositoryError
from shrota_export.gate import Report, Subject, Thresholds, check, read_speech
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model, load_tokenizer
from shrota_export.manifest import describe_file, now, read_manifest, write_json
from shrota_export.packed.weights import packed_weights, unsupported
from shrota_export.paths import MANIFEST, TORCH_DESCRIPTION, TORCH_ENGINE, TORCH_WEIGHTS
from shrota_export.precision.kinds import Precision
from shrota_export.progress import step
from shrota_export.repository import check_repository, publication
from shrota_export.vocabulary import read_vocabulary

PACKAGE = "shrota_torch"


@dataclass(frozen=True)
class Order:
    """What the user asks for.

    Attributes:
        precision: of matrix products.
        speech: a manifest, to compare on.
        thresholds: settings of the gate, ``NAME=VALUE``.
        device: to compare on, and to be served on; anything but "cuda" is for tests.
    """

    precision: Precision
    speech: Path
    thresholds: tuple[str, ...] = ()
    device: str = "cuda"


def export_torch(checkpoint: Checkpoint, repository: Path, order: Order) -> Report:
    """Writes the engine, compares it with the checkpoint in float32 on the same GPU, and installs it if it passes.

    Raises:
        ExportError: with the cause; the repository is then as it was.
    """
    check_repository(repository)
    if order.device == "cuda" and not torch.cuda.is_available():
        raise ExportError("acoustic_torch is for GPUs, and PyTorch finds none here: export it where it will be served")
    exported = read_manifest(repository / MANIFEST).get("checkpoint", {}).get("sha256")
    if exported != checkpoint.sha256:
        there = "another checkpoint" if exported else "no checkpoint"
        raise RepositoryError(f"{repository} has {there}: run `shrota export onnx {checkpoint.name}` first")
    with publication(repository) as files:
        with step("load the checkpoint"):
            model = load_model(checkpoint)
            reason = unsupported(model.config)
            if reason is not None:
                raise CheckpointError(checkpoint.name, f"it has no engine acoustic_torch: {reason}")
            normalize = bool(load_feature_extractor(checkpoint).do_normalize)
            vocabulary = read_vocabulary(checkpoint.name, load_tokenizer(checkpoint), model.config.vocab_size)
            save_file(packed_weights(model), files.path(TORCH_WEIGHTS))
            write_json(files.path(TORCH_ENGINE), architecture_of(model.config, order.precision, normalize=normalize))
        with step(f"compare it with PyTorch in float32 on {order.device}"):
            engine = AcousticEngine(model, normalize=normalize).eval().to(order.device)
            reference = Subject(
                "PyTorch",
                _float32(engine, order.device),
                Precision.FP32,
                vocabulary=vocabulary,
                sample_rate=checkpoint.sample_rate,
            )
            folder = files.path(TORCH_ENGINE).parent
            with _engine(repository, folder, order.device) as run:
                candidate = reference.beside(f"acoustic_torch, {order.precision}", run, order.precision)
                thresholds = Thresholds.of(order.precision).changed(order.thresholds)
                report = check(candidate, reference, read_speech(order.speech, reference), thresholds, explain=False)
            report.raise_for_failures()
        content = {
            "checkpoint": {"name": checkpoint.name, "sha256": checkpoint.sha256},
            "precision": str(order.precision),
            "device": torch.cuda.get_device_name() if order.device == "cuda" else order.device,
            "torch": torch.__version__,
            "gate": report.as_dict(),
            "files": {path.name: describe_file(files.path(path)) for path in (TORCH_WEIGHTS, TORCH_ENGINE)},
            "date": now(),
        }
        write_json(files.path(TORCH_DESCRIPTION), content)
        files.commit([TORCH_WEIGHTS, TORCH_DESCRIPTION, TORCH_ENGINE])
    return report


def architecture_of(config: Any, precision: Precision, *, normalize: bool) -> dict[str, Any]:
    """See ``shrota_torch.plan.Architecture``."""
    return {
        "kernels": list(config.conv_kernel),
        "strides": list(config.conv_stride),
        "heads": config.num_attention_heads,
        "epsilon": config.layer_norm_eps,
        "normalize": normalize,
        "precision": str(precision),
        "layers": config.num_hidden_layers,
    }


def _float32(module: AcousticEngine, device: str) -> Engine:
    def run(audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        inputs = torch.from_numpy(audio).to(device), torch.from_numpy(num_samples).to(device)
        with torch.inference_mode():
            log_probs, num_frames = module(*inputs)
        return log_probs.cpu().numpy(), num_frames.cpu().numpy()

    return run


@contextmanager
def _engine(repository: Path, folder: Path, device: str) -> Iterator[Engine]:
    """The engine of a folder, run by the code that the repository serves it with."""
    code = str((repository / TORCH_ENGINE).parent.resolve())
    if not (Path(code) / PACKAGE).is_dir():
        raise RepositoryError(f"{repository} lacks acoustic_torch/1/{PACKAGE}: copy acoustic_torch from the source")
    before = _forget()
    sys.path.insert(0, code)
    try:
        engine = importlib.import_module(f"{PACKAGE}.engine").TorchEngine(folder, device)
        yield engine.run
    finally:
        sys.path.remove(code)
        _forget()
        sys.modules.update(before)


def _forget() -> dict[str, ModuleType]:
    """Takes the engine's modules out of those that are imported: another repository has its own."""
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}
