"""A float32 graph to 8-bit matrix products, for processors.

Weights are quantised once, symmetrically, with one scale for each output channel. Activations are quantised while the
graph runs, **with one scale for each row** (each frame of each utterance): scale = max|row| / 127. With the usual scale
of a whole tensor (``DynamicQuantizeLinear``) the rounding of an utterance depends on its neighbours and its padding;
with a row's own nothing else enters into it. A loud frame does not coarsen a quiet one either. The product of integers
is exact, and both scales are multiplied in behind it:

    y = (Q(x / s_row) @ W_q) * s_row * s_channel

The product and the channels' scales are one operator of ONNX Runtime's own (``MatMulIntegerToFloat``), so the graph is
for ONNX Runtime on a processor only. In standard operators it took two more passes over each result, and ONNX Runtime
1.32 fused them wrongly: it takes the scales of rows for a scalar. Its own quantisers offer scales for whole tensors
(``quantize_dynamic``, ``quantize_static``) or for blocks of a row (``MatMulNBits``, which at 8 bits was clearly slower
than this: docs/decisions/0004-mixed-precision.md).

Convolutions, products of two activations (attention) and everything else stay float32.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shrota_export.precision.graphs import constants, name_nodes, replace_nodes, values_of
from shrota_export.precision.mixed import check_is_float32

ROW_LEVELS = 127
"""Largest quantised magnitude of an activation."""
ZERO_POINT = 128
"""Activations are unsigned around it: MatMulInteger with signed ones is not vectorised on x86-64."""
WEIGHT_LEVELS = 63
"""Largest quantised magnitude of a weight: 7 bits.

Processors with AVX2 or AVX-512 but without VNNI add two products in 16 bits, saturating: 2 x 255 x 127 does not fit
there, 2 x 255 x 63 does. With 8 bits the graph would give other transcripts on an older processor than on the one where
it was checked.
"""
AXES = "int8/axes"
CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
LEAST_MAGNITUDE = 1e-12
"""Of a row, so that silence is not divided by zero."""


def to_int8(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The graph with every product of an activation and a weight matrix in 8 bits.

    Args:
        model: a float32 graph; it only gets names for its nodes.
        keep: names of nodes that stay float32.

    Raises:
        GraphError: the graph is not a float32 one.
    """
    check_is_float32(model)
    name_nodes(model)
    weights = _weights(model)
    new = [
        numpy_helper.from_array(np.array(ROW_LEVELS, np.float32), "int8/row_levels"),
        numpy_helper.from_array(np.array(LEAST_MAGNITUDE, np.float32), "int8/least_magnitude"),
        numpy_helper.from_array(np.array(1, np.float32), "int8/one"),
        numpy_helper.from_array(np.array(ZERO_POINT, np.uint8), "int8/zero_point"),
    ]
    # from opset 18 on the axes of a reduction are an input
    axes_as_input = next(entry.version for entry in model.opset_import if not entry.domain) >= 18  # noqa: PLR2004
    if axes_as_input:
        new.append(numpy_helper.from_array(np.array([-1], np.int64), AXES))
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in model.graph.node:
        if node.name in keep or not _is_product(node, weights):
            nodes.append(node)
            continue
        source, target = node.input[0], node.output[0]
        if source not in quantized:
            nodes += _quantize_rows(source, axes_as_input=axes_as_input)
            quantized.add(source)
        nodes += _product(source, f"{node.name}/int8", target)
        new += _quantize_weight(values_of(weights[node.input[1]]), f"{node.name}/int8")
    result = replace_nodes(model, nodes, new)
    if not any(entry.domain == CONTRIB for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    result.graph.value_info.extend(  # whose types ONNX cannot know
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        for node in nodes
        if node.domain == CONTRIB
    )
    return result


def quantizable_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that :func:`to_int8` makes 8-bit."""
    weights = _weights(model)
    return [node.name for node in model.graph.node if _is_product(node, weights)]


def _weights(model: onnx.ModelProto) -> dict[str, TensorProto]:
    return {name: tensor for name, tensor in constants(model).items() if tensor.data_type == TensorProto.FLOAT}


def _is_product(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether it multiplies an activation by a matrix of weights."""
    if node.op_type != "MatMul" or node.input[0] in weights or node.input[1] not in weights:
        return False
    return len(weights[node.input[1]].dims) == 2  # noqa: PLR2004


def _quantize_rows(name: str, *, axes_as_input: bool) -> list[onnx.NodeProto]:
    """The tensor [..., K] as uint8 around the zero point, and the largest magnitude [..., 1] of each row."""
    rows: dict[str, Any] = {"keepdims": 1} if axes_as_input else {"keepdims": 1, "axes": [-1]}
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Abs", [name], "magnitude", {}),
        ("ReduceMax", [f"{name}/magnitude", *([AXES] if axes_as_input else [])], "largest", rows),
        ("Max", [f"{name}/largest", "int8/least_magnitude"], "bound", {}),
        ("Div", ["int8/row_levels", f"{name}/bound"], "factor", {}),
        ("Mul", [name, f"{name}/factor"], "scaled", {}),
        ("QuantizeLinear", [f"{name}/scaled", "int8/one", "int8/zero_point"], "uint8", {}),
    ]
    return [
        helper.make_node(kind, inputs, [f"{name}/{output}"], name=f"{name}/{output}", **attributes)
        for kind, inputs, output, attributes in steps
    ]


def _product(source: str, prefix: str, target: str) -> list[onnx.NodeProto]:
    """The product of quantised rows and weights, scaled for each channel by the kernel itself, then for each row."""
    return [
        helper.make_node(
            "MatMulIntegerToFloat",
            [f"{source}/uint8", f"{prefix}/weight", "int8/one", f"{prefix}/scale", "int8/zero_point"],
            [f"{prefix}/unscaled"],
            name=f"{prefix}/MatMulIntegerToFloat",
            domain=CONTRIB,
        ),
        helper.make_node("Mul", [f"{prefix}/unscaled", f"{source}/bound"], [target], name=f"{prefix}/Mul"),
    ]


def _quantize_weight(weight: NDArray[np.float32], prefix: str) -> list[TensorProto]:
    """[K, N] as int8, and for a row's bound of 1 the value of one unit of each output channel: [N]."""
    step = np.maximum(np.abs(weight).max(axis=0), LEAST_MAGNITUDE) / WEIGHT_LEVELS
    quantized = np.clip(np.rint(weight / step), -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)
    return [
        numpy_helper.from_array(quantized, f"{prefix}/weight"),
        numpy_helper.from_array((step / ROW_LEVELS).astype(np.float32), f"{prefix}/scale"),
    ]
