"""The precisions, and how to tell which one a graph has."""

from enum import StrEnum

import onnx
from onnx import TensorProto


class Precision(StrEnum):
    """Of a graph's matrix products and convolutions."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"
    """Of the engine in PyTorch alone: no graph has it."""

    @property
    def is_half(self) -> bool:
        """Whether it is a floating-point type of 16 bits."""
        return self in {Precision.FP16, Precision.BF16}


GRAPH_PRECISIONS = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
FLOAT16_MAX = 65504.0
"""The largest finite float16 (IEEE 754 binary16)."""
TENSOR_TYPES = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}
QUANTIZED = frozenset(
    {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DequantizeLinear", "MatMulIntegerToFloat"}
)


def precision_of(model: onnx.ModelProto) -> Precision:
    """The lowest precision that occurs in a graph."""
    if any(node.op_type in QUANTIZED for node in model.graph.node):
        return Precision.INT8
    types = {tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                types.add(attribute.i)
            elif node.op_type == "Constant" and attribute.name == "value":
                types.add(attribute.t.data_type)
    for precision, kind in TENSOR_TYPES.items():
        if kind in types:
            return precision
    return Precision.FP32
