"""Walks the chain from the checkpoint to what is served, and says what each stage changes."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shrota_export.engines import Engine, Floats, Ints
from shrota_export.errors import GateError
from shrota_export.gate.check import check
from shrota_export.gate.report import Report
from shrota_export.gate.speech import Spoken
from shrota_export.gate.subject import Subject
from shrota_export.gate.thresholds import Thresholds
from shrota_export.manifest import read_manifest
from shrota_export.paths import MANIFEST
from shrota_export.precision.kinds import Precision

if TYPE_CHECKING:
    from shrota_export.graph.engine import AcousticEngine


@dataclass(frozen=True)
class Step:
    """From one stage to the next."""

    before: Subject
    after: Subject
    report: Report

    def line(self) -> str:
        """What it changed, in one line."""
        alone = self.report.cases["alone"]
        others = [found for case, found in self.report.invariance.items() if case != "alone"]
        words = self.report.transcripts.words if self.report.transcripts and not self.report.meaningless else None
        rate = f", word error rate {100 * words.value:+.2f} points" if words else ""
        verdict = "" if self.report.passed else f"  FAILED: {self.report.failures[0].text}"
        return (
            f"  {self.before.name} -> {self.after.name}: mean {alone.mean:.2g}, largest {alone.largest:.2g}, "
            f"best token changes in {alone.changed_share:.3%} of the frames{rate}; elsewhere from itself alone at most "
            f"{max((found.largest for found in others), default=0.0):.2g}{verdict}"
        )

    def as_dict(self) -> dict[str, Any]:
        """In plain types, for a file."""
        return {"before": self.before.name, "after": self.after.name, **self.report.as_dict()}


def walk(stages: Sequence[Subject], speech: Sequence[Spoken], settings: Sequence[str] = ()) -> Iterator[Step]:
    """Compares each stage with the one before it.

    Args:
        stages: at least two.
        speech: what is run.
        settings: ``name=value``, for each step in the place of the default of its precision.

    Raises:
        GateSettingError: a setting is wrong.
        GateError: a stage cannot run; the message names it.
    """
    for before, after in itertools.pairwise(stages):
        thresholds = Thresholds.of(after.precision).changed(settings)
        yield Step(before, after, check(after, before, speech, thresholds))


def first_failure(steps: Sequence[Step]) -> Step | None:
    """The stage that is to blame, if one is."""
    return next((step for step in steps if not step.report.passed), None)


def pytorch_engine(checkpoint: str) -> Engine:
    """The engine as PyTorch runs it, before any export (takes seconds to load).

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
    """
    from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
    from shrota_export.graph.engine import AcousticEngine  # noqa: PLC0415
    from shrota_export.loading import load_feature_extractor, load_model  # noqa: PLC0415

    found = find_checkpoint(checkpoint)
    normalize = bool(load_feature_extractor(found).do_normalize)
    return module_engine(AcousticEngine(load_model(found), normalize=normalize).eval())


def module_engine(module: "AcousticEngine") -> Engine:
    """An engine that is still a module of PyTorch's."""
    import torch  # noqa: PLC0415 - seconds

    def run(audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        with torch.inference_mode():
            log_probs, num_frames = module(torch.from_numpy(audio), torch.from_numpy(num_samples))
        return log_probs.numpy(), num_frames.numpy()

    return run


def triton_engine(url: str, model: str) -> Engine:
    """An engine of a running server, through gRPC.

    Args:
        url: host and port.
        model: ``acoustic_onnx`` or ``acoustic_trt``.
    """
    from tritonclient import grpc  # noqa: PLC0415 - slow, and needed only here

    client = grpc.InferenceServerClient(url)

    def run(audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        inputs = [
            grpc.InferInput("AUDIO", audio.shape, "FP32").set_data_from_numpy(audio),
            grpc.InferInput("NUM_SAMPLES", num_samples.shape, "INT32").set_data_from_numpy(num_samples),
        ]
        try:
            result = client.infer(model, inputs)
        except grpc.InferenceServerException as error:
            raise GateError(f"{model} at {url} does not answer: {' '.join(str(error).split())}") from error
        return np.asarray(result.as_numpy("LOG_PROBS")), np.asarray(result.as_numpy("NUM_FRAMES"))

    return run


def stages_of(
    candidate: Subject,
    reference: Subject,
    unfused: Subject,
    *,
    checkpoint: str | None,
    url: str | None,
    model: str,
    plan: Subject | None = None,
) -> list[Subject]:
    """The stages that are at hand: PyTorch, ONNX as written, fused by ONNX Runtime, the candidate, Triton.

    Args:
        candidate: the low precision.
        reference: the float32 graph as ONNX Runtime fuses it.
        unfused: the same graph as it was written.
        checkpoint: folder or hub name; None leaves PyTorch out.
        url: of a server that serves the candidate; None leaves Triton out.
        model: its name there.
        plan: the plan that was built from the candidate; None leaves it out.
    """
    stages = []
    if checkpoint is not None:
        stages.append(reference.beside("PyTorch", pytorch_engine(checkpoint), Precision.FP32))
    stages += [
        unfused.beside("ONNX", unfused.engine, unfused.precision, unfused.model),
        reference.beside("fused", reference.engine, reference.precision, reference.model),
    ]
    if candidate.model is not reference.model:
        stages.append(candidate)
    if plan is not None:
        stages.append(plan)
    if url is not None:
        stages.append(candidate.beside("Triton", triton_engine(url, model), stages[-1].precision))
    return stages


def checkpoint_of(graph: Path) -> str | None:
    """The checkpoint that the manifest beside a graph names, if its folder is there."""
    name = read_manifest(graph.with_name(MANIFEST.name)).get("checkpoint", {}).get("name")
    return name if isinstance(name, str) and Path(name).expanduser().is_dir() else None


def checkpoint_change(graph: Path, checkpoint: str) -> str | None:
    """That a checkpoint is not the one that a graph was exported from, in one line; None if it is, or nobody knows.

    Raises:
        CheckpointError: it is no checkpoint.
    """
    from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415

    exported = read_manifest(graph.with_name(MANIFEST.name)).get("checkpoint", {}).get("sha256")
    found = find_checkpoint(checkpoint).sha256
    if exported is None or exported == found:
        return None
    return (
        f"the checkpoint {checkpoint} is not what {graph} was exported from: its SHA-256 is {found[:12]}, "
        f"the manifest has {str(exported)[:12]}"
    )
