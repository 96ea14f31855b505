"""A float32 graph to 8-bit matrix products, for processors.

Weights are quantised once, symmetrically, with one scale for each output channel. Activations are quantised while the
graph runs, **with one scale for each row** (each frame of each utterance): scale = max|row| / 127. With the usual scale
of a whole tensor (``DynamicQuantizeLinear``) the rounding of an utterance depends on its neighbours and its padding;
with a row's own nothing else enters into it. A loud frame does not coarsen a quiet one either. The product of integers
is exact, and both scales are multiplied in behind it:

    y = (Q(x / s_row) @ W_q) * s_row * s_channel

A convolution of the feature extractor is such a product, too: a row is the window of frames that one output sees
(:mod:`shrota_export.precision.int8_convolution`).

The product and the channels' scales are one operator of ONNX Runtime's own (``MatMulIntegerToFloat``), so the graph is
for ONNX Runtime on a processor only. In standard operators it took two more passes over each result, and ONNX Runtime
1.32 fused them wrongly: it takes the scales of rows for a scalar. Its own quantisers offer scales for whole tensors
(``quantize_dynamic``, ``quantize_static``) or for blocks of a row (``MatMulNBits``, which at 8 bits was clearly slower
than this: docs/decisions/0004-mixed-precision.md).

The first convolution (rows of 10 samples), the grouped one of the positions, products of two activations (attention)
and everything else stay float32.
"""

from collections.abc import Collection, Mapping

import onnx
from onnx import TensorProto, helper

from shrota_export.precision.additions import Additions
from shrota_export.precision.graphs import constants, name_nodes, replace_nodes, values_of
from shrota_export.precision.int8_convolution import add_convolution, is_convolution
from shrota_export.precision.int8_rows import CONTRIB, Rows, add_bound, add_factor, add_product, add_uint8
from shrota_export.precision.mixed import check_is_float32


def to_int8(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The graph with every product of an activation and a weight matrix, and its convolutions, in 8 bits.

    Args:
        model: a float32 graph; it only gets names for its nodes.
        keep: names of nodes that stay float32.

    Raises:
        GraphError: the graph is not a float32 one.
    """
    check_is_float32(model)
    name_nodes(model)
    weights = _weights(model)
    added = Additions(next(entry.version for entry in model.opset_import if not entry.domain))
    quantized: set[str] = set()
    for node in model.graph.node:
        if node.name in keep:
            added.nodes.append(node)
        elif is_convolution(node, weights):
            add_convolution(added, node, values_of(weights[node.input[1]]))
        elif _is_product(node, weights):
            (source, name), (target,) = node.input, node.output
            if source not in quantized:  # once for queries, keys and values
                bound = add_bound(added, source, f"{source}/bound")
                add_uint8(added, source, add_factor(added, bound, f"{source}/factor"), f"{source}/uint8")
                quantized.add(source)
            prefix = f"{node.name}/int8"
            rows = Rows(f"{source}/uint8", f"{source}/bound")
            add_product(added, rows, values_of(weights[name]), prefix, target)
        else:
            added.nodes.append(node)
    result = replace_nodes(model, added.nodes, added.constants.values())
    if not any(entry.domain == CONTRIB for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    result.graph.value_info.extend(  # whose types ONNX cannot know
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        for node in added.nodes
        if node.domain == CONTRIB
    )
    return result


def quantizable_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that :func:`to_int8` makes 8-bit."""
    weights = _weights(model)
    return [node.name for node in model.graph.node if _is_product(node, weights) or is_convolution(node, weights)]


def _weights(model: onnx.ModelProto) -> dict[str, TensorProto]:
    return {name: tensor for name, tensor in constants(model).items() if tensor.data_type == TensorProto.FLOAT}


def _is_product(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether it multiplies an activation by a matrix of weights."""
    if node.op_type != "MatMul" or node.input[0] in weights or node.input[1] not in weights:
        return False
    return len(weights[node.input[1]].dims) == 2  # noqa: PLR2004
