"""The ONNX graph that a plan is built from: where it is, what precision it has, where it came from."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from shrota_export.checkpoint import find_checkpoint
from shrota_export.errors import PlanError
from shrota_export.exporters import INPUTS, OUTPUTS
from shrota_export.manifest import read_manifest
from shrota_export.paths import FLOAT32_MODEL, MANIFEST, MODEL
from shrota_export.precision.attention import has_fused_attention


class Precision(StrEnum):
    """What the matrix products are computed in."""

    FP32 = "fp32"
    TF32 = "tf32"
    """float32 that is rounded to 10 bits of mantissa on its way into a product; a flag of the builder"""
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def of_graph(self) -> "Precision":
        """The precision that the graph must have for it."""
        return Precision.FP32 if self is Precision.TF32 else self


WEIGHT_TYPES = {
    TensorProto.FLOAT: Precision.FP32,
    TensorProto.FLOAT16: Precision.FP16,
    TensorProto.BFLOAT16: Precision.BF16,
}
PRODUCTS = ("MatMul", "Gemm", "Conv")


@dataclass(frozen=True)
class Graph:
    """An engine's graph and what is known about it."""

    path: Path
    precision: Precision
    vocabulary_size: int
    sha256: str
    """over the graph's file and those of its weights"""
    checkpoint: dict[str, Any] | None
    """name and hash of the checkpoint, where the manifest beside the graph says so"""
    has_fused_attention: bool = False
    """whether it has nodes that only ONNX Runtime knows"""


def find_graph(name: str | None, repository: Path, precision: Precision) -> Path:
    """The graph that is meant: a file, a checkpoint's in the repository, or (None) whatever is exported there.

    Where ``shrota export precision`` has put another one in the place of the float32 graph, that lies beside it, and is
    taken for the precisions that need it.

    Raises:
        CheckpointError: if it is a folder or a name, but no checkpoint.
        PlanError: if there is no such graph, or that of another checkpoint.
    """
    if name is not None and (Path(name).suffix == ".onnx" or Path(name).is_file()):
        if not Path(name).is_file():
            raise PlanError(f"there is no graph {name}")
        return Path(name)
    model = repository / MODEL
    command = f"`shrota export onnx {name or 'CHECKPOINT'} --repository {repository}`"
    if not model.is_file():
        raise PlanError(f"no graph at {model}: run {command} first")
    if name is not None:
        exported = read_manifest(repository / MANIFEST).get("checkpoint") or {}
        if exported.get("sha256") != find_checkpoint(name).sha256:
            there = exported.get("name", "an unknown checkpoint")
            raise PlanError(f"{model} was exported from {there}, and not from {name} as it is now: run {command} first")
    kept = repository / FLOAT32_MODEL
    if precision.of_graph is Precision.FP32 and kept.is_file() and precision_of_file(model) is not Precision.FP32:
        return kept
    return model


def read_graph(path: Path) -> Graph:
    """Reads a graph, without the weights that lie in files beside it.

    Raises:
        PlanError: if it is no ONNX graph, lacks its weights, or is no engine of ours.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(path)  # the weights' files, too
    except Exception as error:  # whatever protobuf and the checker raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PlanError(f"{path} is no whole ONNX graph: {reason[:200]}") from error
    inputs = [value.name for value in model.graph.input]
    outputs = {value.name: value for value in model.graph.output}
    if set(inputs) != set(INPUTS) or set(outputs) != set(OUTPUTS):
        raise PlanError(
            f"{path} is no acoustic engine: it has {', '.join(inputs)} -> {', '.join(outputs)} instead of "
            f"{', '.join(INPUTS)} -> {', '.join(OUTPUTS)}"
        )
    size = outputs["LOG_PROBS"].type.tensor_type.shape.dim[-1].dim_value
    checkpoint = read_manifest(path.with_name(MANIFEST.name)).get("checkpoint")
    described = {key: checkpoint[key] for key in ("name", "sha256")} if checkpoint else None
    return Graph(path, _precision(model), size, _hash(path, model), described, has_fused_attention(model))


def check_precision(graph: Graph, precision: Precision) -> None:
    """Precision is a property of the graph: the builder only takes it over.

    Raises:
        PlanError: if the graph is of another one, or was made for ONNX Runtime alone.
    """
    if graph.has_fused_attention:
        wanted = precision.of_graph
        remedy = f"make its twin with `shrota export precision {graph.path} --to {wanted} --attention plain --output"
        raise PlanError(
            f"{graph.path} has its attention in a form that TensorRT does not know: "
            + ("give the fp32 graph" if wanted is Precision.FP32 else f"{remedy} NAME.onnx`, and give that")
        )
    if graph.precision is precision.of_graph:
        return
    if graph.precision is Precision.FP32:
        remedy = f"make its {precision} twin with `shrota export precision {graph.path} --to {precision}`"
    else:
        remedy = "give the fp32 graph"
    raise PlanError(f"{graph.path} is a graph in {graph.precision}, and a plan cannot change that: {remedy}")


def precision_of_file(path: Path) -> Precision | None:
    """The precision of a graph; None if it is none."""
    try:
        return _precision(onnx.load(path, load_external_data=False))
    except Exception:  # noqa: BLE001 - whatever protobuf raises; who reads it in earnest says why
        return None


def _precision(model: onnx.ModelProto) -> Precision:
    """The lowest type of any weight that goes into a product, through casts or not."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            types |= {name: item.t.data_type for item in node.attribute if item.HasField("t") for name in node.output}
        elif node.op_type in {"Cast", "Identity", "Transpose"} and node.input[0] in types:
            to = [item.i for item in node.attribute if item.name == "to"]
            types[node.output[0]] = to[0] if to else types[node.input[0]]
    weights = {
        types[name] for node in model.graph.node if node.op_type in PRODUCTS for name in node.input if name in types
    }
    for kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        if kind in weights:
            return WEIGHT_TYPES[kind]
    return Precision.FP32


def _hash(path: Path, model: onnx.ModelProto) -> str:
    digest = hashlib.sha256()
    locations = {ExternalDataInfo(tensor).location for tensor in model.graph.initializer if uses_external_data(tensor)}
    for file in [path, *(path.parent / location for location in sorted(locations))]:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
