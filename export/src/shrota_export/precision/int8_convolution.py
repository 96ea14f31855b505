"""A convolution over time as a product of 8-bit rows.

Output frame f of a convolution with kernel k and stride s sees the k input frames from s * f on. These, one after the
other, are its row, with a scale of its own; so neither neighbours nor padding enter into it. The frames are turned to
[B, T, C] for that (ONNX Runtime then drops these transposes against those around the layer norm):

- the first s frames of all rows do not overlap. They are the tensor itself, of another shape;
- each of the k - s others is every s-th frame from some frame on, with the scale of its row.

Only 8-bit copies are put together: in wav2vec 2.0's extractor (kernels 3 and 2, stride 2) a row has 1,536 or 1,024
bytes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shrota_export.precision.additions import Additions
from shrota_export.precision.int8_rows import Rows, add_bound, add_factor, add_product, add_uint8

LEAST_ROW = 32
"""Numbers; quantising a shorter row costs more than its product (the first convolution's are 10 samples)."""
KERNEL_AXES = 3


def is_convolution(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether it is a convolution over time, without groups and padding, of an activation with long enough rows."""
    if node.op_type != "Conv" or node.input[0] in weights or node.input[1] not in weights:
        return False
    sizes = weights[node.input[1]].dims
    settings = _settings(node)
    return (
        len(sizes) == KERNEL_AXES
        and sizes[1] * sizes[2] >= LEAST_ROW
        and settings.get("group", 1) == 1
        and settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and not any(settings.get("pads", []))
        and list(settings.get("dilations", [1])) == [1]
        and _stride(node) <= sizes[2]
    )


def add_convolution(added: Additions, node: onnx.NodeProto, kernels: NDArray[np.float32]) -> None:
    """Adds what takes the place of ``node``: [B, C, T] -> [B, N, F].

    Args:
        added: where to.
        node: for which :func:`is_convolution` is true.
        kernels: its weights, [N, C, k].
    """
    channels, kernel, stride = kernels.shape[1], kernels.shape[2], _stride(node)
    prefix = f"{node.name}/int8"
    step = added.constant(f"int8/{stride}", [stride])
    frames = added.node("Transpose", [node.input[0]], f"{prefix}/frames", perm=[0, 2, 1])
    each = add_bound(added, frames, f"{prefix}/each")

    # the k-th frame of every row tells how many rows there are
    start, end = added.constant(f"int8/{kernel - 1}", [kernel - 1]), added.constant("int8/end", [2**62])
    last = added.slice(each, f"{prefix}/last", start, end, step)
    count = added.node("Shape", [last], f"{prefix}/count", start=1, end=2)
    used = added.node("Mul", [count, step], f"{prefix}/used")
    first = (added.constant("int8/0", [0]), used, added.constant("int8/1", [1]))
    others = [
        (
            added.constant(f"int8/{offset}", [offset]),
            added.node("Add", [used, f"int8/{offset}"], f"{prefix}/end{offset}"),
        )
        for offset in range(stride, kernel)
    ]

    # largest magnitude of each row, [B, F, 1]
    folded = _reshape(
        added, added.slice(each, f"{prefix}/each/first", *first), f"{prefix}/each/folded", [0, -1, stride]
    )
    bounds = [added.reduction("ReduceMax", folded, f"{prefix}/bound0")]
    for start, end in others:
        bounds.append(added.slice(each, f"{prefix}/bound{len(bounds)}", start, end, step))
    bound = added.node("Max", bounds, f"{prefix}/bound")
    factor = add_factor(added, bound, f"{prefix}/factor")

    # the rows, uint8 [B, F, k * C]
    repeated = added.node("Concat", [factor] * stride, f"{prefix}/factor/repeated", axis=-1)
    unfolded = _reshape(added, repeated, f"{prefix}/factor/unfolded", [0, -1, 1])
    part = added.slice(frames, f"{prefix}/part0", *first)
    parts = [
        _reshape(
            added, add_uint8(added, part, unfolded, f"{prefix}/uint8"), f"{prefix}/rows0", [0, -1, stride * channels]
        )
    ]
    for start, end in others:
        part = added.slice(frames, f"{prefix}/part{len(parts)}", start, end, step)
        parts.append(add_uint8(added, part, factor, f"{prefix}/rows{len(parts)}"))
    rows = added.node("Concat", parts, f"{prefix}/rows", axis=-1)

    matrix = kernels.transpose(2, 1, 0).reshape(kernel * channels, -1)
    product = add_product(added, Rows(rows, bound), matrix, prefix, f"{prefix}/product")
    if len(node.input) > 2 and node.input[2]:  # noqa: PLR2004 - the bias
        product = added.node("Add", [product, node.input[2]], f"{prefix}/biased")
    added.nodes.append(helper.make_node("Transpose", [product], node.output, name=f"{prefix}/back", perm=[0, 2, 1]))


def _reshape(added: Additions, source: str, target: str, shape: list[int]) -> str:
    return added.node("Reshape", [source, added.constant(f"{target}/shape", shape)], target)


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _stride(node: onnx.NodeProto) -> int:
    (stride,) = _settings(node).get("strides", [1])
    return int(stride)
