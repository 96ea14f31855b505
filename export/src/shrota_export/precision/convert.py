"""A float32 graph to any precision."""

from collections.abc import Collection, Mapping

import onnx

from shrota_export.errors import GraphError
from shrota_export.precision.attention import is_for_gpus
from shrota_export.precision.int8 import to_int8
from shrota_export.precision.kinds import Precision
from shrota_export.precision.mixed import MARGIN, to_mixed, unsafe_nodes


def convert(
    model: onnx.ModelProto,
    precision: Precision,
    ranges: Mapping[str, float],
    keep: Collection[str] = (),
    margin: float = MARGIN,
    *,
    fused: bool = False,
) -> onnx.ModelProto:
    """Converts; the result is to be judged by the gate.

    bfloat16 has float32's range, and int8 scales each row, so only float16 looks at ``ranges``.

    Args:
        model: a float32 graph; it only gets names for its nodes.
        precision: fp32 returns ``model``.
        ranges: largest magnitude of each tensor on speech.
        keep: names of nodes that stay float32 in any case.
        margin: see :data:`~shrota_export.precision.mixed.MARGIN`.
        fused: in float16, attention as one node of ONNX Runtime's for GPUs, which TensorRT does not know.

    Raises:
        GraphError: the graph is not a float32 one, or has a node that is not supported.
    """
    if precision is Precision.FP32:
        return model
    if precision is Precision.INT8:
        if is_for_gpus(model):
            raise GraphError(
                "int8 is for processors, and the graph is for GPUs: `shrota export onnx` it with --target cpu"
            )
        return to_int8(model, keep)
    if precision is Precision.FP16:
        keep = {*keep, *unsafe_nodes(model, ranges, margin)}
    return to_mixed(model, precision, keep, fused=fused and precision is Precision.FP16)
