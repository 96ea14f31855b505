"""What the passes over ONNX graphs share: types of tensors, constants, layers, reading and writing."""

import graphlib
import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from shrota_export.errors import GraphError

LARGEST_PROTOBUF = 2**31 - 2**20
"""Bytes; protobuf ends at 2 GiB, and the graph itself needs some room."""
IR_VERSION = 10
"""Of ONNX's file format, that goes with opset 22."""
SMALL = 1024
"""Elements; constants up to here may hold shapes, which type inference reads."""
LAYER = re.compile(r"^/?((?:layers|feature_extractor|feature_projection|position_embedding)(?:[./]\d+)?)")
PRODUCT = re.compile(r"^/?products/(?:convolutions|norms|activations)\.(\d+)")
"""Layers of the feature extractor in the form for GPUs."""


def load_graph(path: Path) -> onnx.ModelProto:
    """A graph with its weights.

    Raises:
        GraphError: it is missing, or not a whole ONNX graph of an engine.
    """
    if not path.is_file():
        raise GraphError(f"there is no graph at {path}: export one with `shrota export onnx CHECKPOINT`")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's and onnx's errors share no base class but Exception
        raise GraphError(f"{path} cannot be read as an ONNX graph: {_first_line(error)}") from error
    inputs, outputs = ({value.name for value in values} for values in (model.graph.input, model.graph.output))
    if not {"AUDIO", "NUM_SAMPLES"} <= inputs or not {"LOG_PROBS", "NUM_FRAMES"} <= outputs:
        raise GraphError(
            f"{path} is no engine: it needs the inputs AUDIO, NUM_SAMPLES and the outputs LOG_PROBS, NUM_FRAMES"
        )
    return model


def save_graph(model: onnx.ModelProto, path: Path, data_name: str) -> list[Path]:
    """Writes a graph; weights that do not fit into a protobuf go into the file ``data_name`` beside it.

    Returns:
        The weights' file, if there is one.
    """
    if model.ByteSize() < LARGEST_PROTOBUF:
        onnx.save(model, path)
        return []
    moved = onnx.ModelProto()
    moved.CopyFrom(model)  # onnx takes the weights out of the graph that it writes
    onnx.save(moved, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data_name)
    return [path.with_name(data_name)]


def fingerprint(model: onnx.ModelProto) -> str:
    """Of a graph's weights, 12 hexadecimal digits: for the name of the file that they go into, see :func:`save_graph`.

    With it a new file never takes the place of one that the old graph still needs.
    """
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()[:12]


def weights_files(path: Path) -> list[Path]:
    """The files beside a graph that hold its weights; none for a file that is no graph."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # noqa: BLE001 - protobuf's and onnx's errors share no base class but Exception
        return []
    names = {ExternalDataInfo(tensor).location for tensor in model.graph.initializer if uses_external_data(tensor)}
    return [path.with_name(name) for name in sorted(names)]


@contextmanager
def session_source(model: onnx.ModelProto) -> Iterator[Path | bytes]:
    """What ONNX Runtime opens a graph in memory from: its bytes; above 2 GB a file, which is gone after the context.

    Raises:
        OSError: the file cannot be written.
    """
    if model.ByteSize() < LARGEST_PROTOBUF:
        yield model.SerializeToString()
        return
    with tempfile.TemporaryDirectory(prefix="shrota-graph-") as folder:
        path = Path(folder) / "graph.onnx"
        save_graph(model, path, "graph.onnx.data")
        yield path


def name_nodes(model: onnx.ModelProto) -> None:
    """Gives each node without a name that of its first output."""
    for node in model.graph.node:
        if not node.name:
            node.name = node.output[0]


def layer_of(name: str) -> str:
    """The part of the network that a node or tensor belongs to: ``layers.3``, ``feature_extractor.0``, ``head``, ...

    What stands outside of all modules (the mask, the inputs, the outputs) is ``graph``.
    """
    product = PRODUCT.match(name)
    if product:
        return f"feature_extractor.{product.group(1)}"
    found = LAYER.match(name)
    if found:
        return found.group(1)
    parts = [part for part in name.split("/") if part]
    return parts[0] if len(parts) > 1 else "graph"


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of the float32 tensors that nodes compute.

    Raises:
        GraphError: the graph has control flow, or a node whose types ONNX does not know.
    """
    light = onnx.ModelProto()
    light.CopyFrom(_without_weights(model))
    try:
        inferred = onnx.shape_inference.infer_shapes(light)
    except Exception as error:  # onnx's errors share no base class but Exception
        raise GraphError(f"the graph's types cannot be inferred: {_first_line(error)}") from error
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    }
    for node in model.graph.node:
        if any(
            attribute.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} for attribute in node.attribute
        ):
            raise GraphError(f"node {node.name} ({node.op_type}) holds a graph of its own, which is not supported")
        unknown = [name for name in node.output if name and not types.get(name)]
        if unknown:
            raise GraphError(f"node {node.name} ({node.op_type}) is not supported: the type of its output is unknown")
    computed = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    return {name for name in computed if types.get(name) == TensorProto.FLOAT}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large constants as inputs, so that a copy is cheap and inference has no size limit."""
    graph = onnx.GraphProto(name=model.graph.name or "graph")
    graph.node.extend(in_order(model.graph.node))
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def with_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The graph in a newer version of ONNX's operators; itself if it has that.

    Raises:
        GraphError: a node cannot be converted.
    """
    if next(entry.version for entry in model.opset_import if not entry.domain) >= version:
        return model
    try:
        converted = onnx.version_converter.convert_version(_without_weights(model), version)
    except Exception as error:  # onnx's errors share no base class but Exception
        raise GraphError(f"the graph cannot be brought to opset {version}: {_first_line(error)}") from error
    inputs = {value.name for value in model.graph.input}
    own_inputs = [value for value in converted.graph.input if value.name in inputs]
    del converted.graph.input[:]
    converted.graph.input.extend(own_inputs)
    there = {tensor.name for tensor in converted.graph.initializer}
    converted.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in there)
    converted.ir_version = max(model.ir_version, IR_VERSION)
    del converted.graph.value_info[:]
    return converted


def constants(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """All constant tensors by name: initializers and the values of ``Constant`` nodes."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = attribute.t
    return found


def values_of(tensor: TensorProto) -> NDArray[np.float32]:
    """A float constant as an array."""
    return np.asarray(numpy_helper.to_array(tensor), np.float32)


def in_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes so that each comes after those that it computes with; some converters append what they insert."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    sources = {index: [makers[name] for name in node.input if name in makers] for index, node in enumerate(nodes)}
    if all(source < index for index, found in sources.items() for source in found):
        return list(nodes)
    return [nodes[index] for index in graphlib.TopologicalSorter(sources).static_order()]


def replace_nodes(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], new_constants: Iterable[TensorProto]
) -> onnx.ModelProto:
    """The graph with other nodes and further constants, without the constants that nothing uses any more."""
    kept_nodes = list(nodes)
    used = {name for node in kept_nodes for name in node.input} | {value.name for value in model.graph.output}
    graph = onnx.GraphProto(name=model.graph.name)
    graph.node.extend(node for node in kept_nodes if node.op_type != "Constant" or node.output[0] in used)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    graph.initializer.extend(new_constants)
    return helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
