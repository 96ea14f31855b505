"""8-bit weights for OpenVINO: of products alone, which it then computes in 8 bits with scales that it finds itself."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shrota_export.precision.graphs import constants, replace_nodes, values_of

LARGEST = 127
"""Of an 8-bit weight; -128 is left out, so that the range is symmetric."""


def with_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the matrix of each product of an activation and weights in 8 bits.

    Each matrix W [inputs, outputs] becomes ``DequantizeLinear(W8, scales)``, with a scale for each output: the largest
    magnitude of its column divided by 127. OpenVINO keeps such a matrix in 8 bits and quantises the activation while it
    runs, in groups of each row (``DYNAMIC_QUANTIZATION_GROUP_SIZE``). Convolutions stay as they are.

    Args:
        model: a float32 graph; it is not changed.
    """
    weights = {name: tensor for name, tensor in constants(model).items() if _is_matrix(tensor)}
    made: dict[str, list[TensorProto]] = {}
    nodes = []
    for source in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(source)
        if node.op_type == "MatMul" and node.input[0] not in weights and node.input[1] in weights:
            name = node.input[1]
            matrix, scales, target = f"{name}/int8", f"{name}/scales", f"{name}/float32"
            if name not in made:
                values, factors = quantized(values_of(weights[name]))
                made[name] = [numpy_helper.from_array(values, matrix), numpy_helper.from_array(factors, scales)]
                nodes.append(helper.make_node("DequantizeLinear", [matrix, scales], [target], name=target, axis=1))
            node.input[1] = target
        nodes.append(node)
    return replace_nodes(model, nodes, [tensor for pair in made.values() for tensor in pair])


def quantized(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights [inputs, outputs] in 8 bits, and the factor [outputs] of each output that gives them back."""
    scales = np.abs(matrix).max(axis=0).astype(np.float32) / np.float32(LARGEST)
    scales[scales == 0] = 1  # a column of zeros
    return np.clip(np.rint(matrix / scales), -LARGEST, LARGEST).astype(np.int8), scales


def _is_matrix(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2  # noqa: PLR2004
