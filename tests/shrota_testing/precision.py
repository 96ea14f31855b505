"""Tiny graphs for the gate and for the passes over precision, some of them broken on purpose."""

import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from shrota_export.exporters import Exporter, export_graph
from shrota_export.gate import Spoken, Subject
from shrota_export.gate.subject import make_subject
from shrota_export.vocabulary import Vocabulary
from shrota_testing.checkpoints import TOKENS, make_audio, make_model

VOCABULARY = Vocabulary(list(TOKENS), "<pad>", "ज", ["<pad>", "<s>", "</s>", "<unk>"])
"""Words end at a token that the tiny model often hears, so that there are some."""
STREAM_SCALE = 2.0**16
"""By which the residual stream of :func:`outgrown_graph` is larger than that of :func:`tiny_graph`."""


@cache
def tiny_graph() -> bytes:
    """The float32 graph of a tiny wav2vec 2.0 model."""
    return _export(_model(1.0))


@cache
def outgrown_graph() -> bytes:
    """The same model with weights such that float16 cannot hold the residual stream; its float32 output is the same."""
    return _export(_model(STREAM_SCALE))


def _model(scale: float) -> Any:
    """A tiny model whose residual stream is multiplied by a power of two, which each layer normalisation takes out.

    All that is added to the stream is multiplied: by the projection of the features and by the last matrices of
    attention and feed-forward. The position embedding ends in a GELU, which no weight scales, so it is switched off.
    """
    import torch

    model = make_model("wav2vec2")
    base = model.base_model
    last = [base.feature_projection.projection]
    for layer in base.encoder.layers:
        last += [layer.attention.out_proj, layer.feed_forward.output_dense]
    with torch.no_grad():
        for linear in last:
            linear.weight.mul_(scale)
            linear.bias.mul_(scale)
        conv = base.encoder.pos_conv_embed.conv
        conv.parametrizations.weight.original0.zero_()
        conv.bias.zero_()
    return model


def _export(model: Any) -> bytes:
    import tempfile
    from pathlib import Path

    from shrota_export.graph.engine import AcousticEngine

    with tempfile.TemporaryDirectory() as folder:
        engine = AcousticEngine(model, normalize=True).eval()
        graph = export_graph(engine, Path(folder) / "graph.onnx", Exporter.TORCHSCRIPT)
    buffer = io.BytesIO()
    onnx.save(graph, buffer)
    return buffer.getvalue()


def load(content: bytes) -> onnx.ModelProto:
    """A graph of one's own, to change."""
    return onnx.load_from_string(content)


def subject(name: str, graph: onnx.ModelProto, vocabulary: Vocabulary = VOCABULARY) -> Subject:
    """A graph with the tiny model's tokens."""
    return make_subject(name, graph, vocabulary=vocabulary)


def speech(reference: Subject | None = None) -> list[Spoken]:
    """Three short utterances; with a reference, the text of each is what that hears, so that its error rate is 0."""
    from shrota_export.engines import run_rows
    from shrota_export.gate.transcripts import greedy_text

    spoken = []
    for index, num_samples in enumerate((24000, 16000, 20000)):
        samples = make_audio(num_samples, index)
        text = None
        if reference is not None:
            text = greedy_text(run_rows(reference.engine, [samples])[0].argmax(axis=1), VOCABULARY)
        spoken.append(Spoken(f"{index}.wav", (samples,), text))
    return spoken


def change_weight(graph: onnx.ModelProto, name: str, change: Callable[[NDArray[np.float32]], NDArray[Any]]) -> None:
    """Changes the weight that the node called ``name`` uses."""
    (node,) = (node for node in graph.graph.node if node.name == name)
    for tensor in graph.graph.initializer:
        if tensor.name in node.input:
            values = numpy_helper.to_array(tensor).copy()
            tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))


def drop_mask(graph: onnx.ModelProto) -> None:
    """Takes the padding mask of the attention away: the score that is added to padding becomes 0."""
    for constant in _constants(graph):
        if constant.data_type == onnx.TensorProto.FLOAT and np.all(numpy_helper.to_array(constant) == -1e4):
            zero = np.zeros_like(numpy_helper.to_array(constant))
            constant.CopyFrom(numpy_helper.from_array(zero, constant.name))
            return
    raise AssertionError("the graph has no masked score")


def _constants(graph: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from graph.graph.initializer
    for node in graph.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield attribute.t
