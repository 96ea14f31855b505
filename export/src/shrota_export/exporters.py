"""PyTorch's two ways to ONNX, behind one call."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from shrota_export.graph.constants import TARGET

OPSET = 17
"""The first in which ``LayerNormalization`` is one node."""

INPUTS = ("AUDIO", "NUM_SAMPLES")
OUTPUTS = ("LOG_PROBS", "NUM_FRAMES")


class Exporter(StrEnum):
    """Which of PyTorch's exporters."""

    TORCHSCRIPT = "torchscript"
    """records the operations of one run (``dynamo=False``)"""
    DYNAMO = "dynamo"
    """captures the program with ``torch.export`` (``dynamo=True``)"""


def export_graph(engine: nn.Module, path: Path, exporter: Exporter, opset: int = OPSET) -> onnx.ModelProto:
    """Writes ``engine`` (see :class:`~shrota_export.graph.engine.AcousticEngine`) as ONNX to ``path``, and reads it.

    Returns:
        The graph with its weights, inputs AUDIO [B, T], NUM_SAMPLES [B, 1], outputs LOG_PROBS [B, F, V],
        NUM_FRAMES [B, 1].
    """
    example = _example()
    with torch.no_grad(), only_unexpected_warnings():
        if exporter is Exporter.TORCHSCRIPT:
            _export_torchscript(engine, example, path, opset)
        else:
            _export_dynamo(engine, example, path, opset)
    model = onnx.load(path)
    model.metadata_props.add(key=TARGET, value=str(getattr(engine, "target", "cpu")))
    _share_constants(model)
    _name_axes(model)
    return model


def _example() -> tuple[Tensor, Tensor]:
    """Two rows of unlike length, so that neither exporter takes the batch or the padding for a constant."""
    audio = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    return audio, torch.tensor([[16000], [12345]], dtype=torch.int32)


def _export_torchscript(engine: nn.Module, example: tuple[Tensor, Tensor], path: Path, opset: int) -> None:
    axes = {"AUDIO": {0: "B", 1: "T"}, "NUM_SAMPLES": {0: "B"}, "LOG_PROBS": {0: "B", 1: "F"}, "NUM_FRAMES": {0: "B"}}
    torch.onnx.export(
        engine,
        example,
        str(path),  # a Path is no "file path" to it, which it needs for the weights of a graph above 2 GB
        dynamo=False,
        opset_version=opset,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_axes=axes,
    )


def _export_dynamo(engine: nn.Module, example: tuple[Tensor, Tensor], path: Path, opset: int) -> None:
    torch.onnx.export(
        engine,
        example,
        path,
        dynamo=True,
        opset_version=opset,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=({0: "B", 1: "T"}, {0: "B"}),
        external_data=True,
        verbose=False,
    )


def _share_constants(model: onnx.ModelProto) -> None:
    """Takes out copies of constants: users of the copy use the constant.

    The older exporter stores equal parameters (the biases of a model with random weights, all zero) once, behind an
    ``Identity`` for each further one. A bias that is computed would keep its addition in float32 in a mixed graph.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    copies: dict[str, str] = {}
    for node in model.graph.node:
        source = copies.get(node.input[0], node.input[0]) if node.op_type == "Identity" else ""
        if source in constants:
            copies[node.output[0]] = source
    kept = [node for node in model.graph.node if node.output[0] not in copies]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = copies.get(name, name)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _name_axes(model: onnx.ModelProto) -> None:
    """Calls the frame axis F, where an exporter has put the formula of T there."""
    for output in model.graph.output:
        axes = output.type.tensor_type.shape.dim
        axes[0].dim_param = "B"
        if output.name == "LOG_PROBS":
            axes[1].dim_param = "F"


EXPECTED_WARNINGS = {
    "You are using the legacy TorchScript-based ONNX export": DeprecationWarning,
    "The feature will be removed. Please remove usage of this function": DeprecationWarning,
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated": FutureWarning,
    "# The axis name: B will not be used": UserWarning,
    "Constant folding - Only steps=1 can be constant folded": UserWarning,
}
"""What the exporters say about themselves on every run, by the beginning of the text."""

TALKATIVE_LOGGERS = ("torch.onnx", "onnxscript")
"""They warn of torchvision's absence and of every version conversion."""


@contextmanager
def only_unexpected_warnings() -> Iterator[None]:
    """Keeps the exporters' habitual remarks from the user; anything else still shows."""
    with warnings.catch_warnings():
        # Python values in the recorded program: shapes, which the parity check on other lengths covers
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        for beginning, category in EXPECTED_WARNINGS.items():
            warnings.filterwarnings("ignore", message=beginning, category=category)
        loggers = [logging.getLogger(name) for name in TALKATIVE_LOGGERS]
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
