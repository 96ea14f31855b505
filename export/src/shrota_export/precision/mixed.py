"""A float32 graph to mixed precision: matrix products and convolutions in fp16 or bf16, what is delicate in float32.

A node is *low* (it computes in half precision) if

* it is a matrix product, a convolution, or attention as one node, or
* it is of a kind in ``FOLLOWING`` (biases, GELU, reshapes, ...) and all that it computes with is low already.

Everything else is float32: the waveform's normalisation, ``LayerNormalization``, ``Softmax`` and ``LogSoftmax``, the
padding mask, and the residual stream, because its additions have one float32 side. Where the two meet there is one
``Cast`` for each tensor. So every node has inputs of one type, which is what TensorRT's strongly typed networks need,
and inputs and outputs of the graph are float32 as before.

Kept in float32 besides: nodes with an input or output whose measured magnitude comes within a margin of what float16
holds (:func:`unsafe_nodes`), and those that are named in ``keep``.

Why not onnxconverter-common or ModelOpt's AutoCast: docs/decisions/0004-mixed-precision.md.
"""

from collections.abc import Collection, Mapping

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shrota_export.errors import GraphError
from shrota_export.precision.attention import fuse_attention
from shrota_export.precision.graphs import constants, float_tensors, name_nodes, replace_nodes, values_of, with_opset
from shrota_export.precision.kinds import FLOAT16_MAX, TENSOR_TYPES, Precision, precision_of

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "MultiHeadAttention"})
FOLLOWING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh", "Identity"}
    | {"Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Concat", "Split", "Flatten", "Pad"}
)
MARGIN = 8.0
"""How many times the measured magnitude must fit below float16's largest number.

Three bits, because the speech that is measured is a sample of what will come. Loudness does not count: the waveform is
normalised. From `samples/` to the held-out station announcements of `training/` the bundled checkpoint's low tensors
grow by up to 1.9 times, which leaves a factor of four for other voices and noise.
"""
BF16_OPSET = 22
"""The first in which a convolution may be bfloat16."""
NUMPY_TYPES = {Precision.FP16: np.dtype(np.float16), Precision.BF16: np.dtype(ml_dtypes.bfloat16)}


def to_mixed(
    model: onnx.ModelProto, precision: Precision, keep: Collection[str] = (), *, fused: bool = False
) -> onnx.ModelProto:
    """The graph with matrix products and convolutions in ``precision``; ``model`` itself only gets names for its nodes.

    Args:
        model: a float32 graph; tensor names are kept, those of low tensors hold low values.
        precision: fp16 or bf16.
        keep: names of nodes that stay float32.
        fused: attention as one node of ONNX Runtime's, see :mod:`shrota_export.precision.attention`.

    Raises:
        GraphError: the graph is not a float32 one, or has a node that is not supported.
    """
    check_is_float32(model)
    name_nodes(model)
    if precision is Precision.BF16:
        model = with_opset(model, BF16_OPSET)
    if fused:
        model = fuse_attention(model, keep)
    return _Conversion(model, precision).run(keep)


def check_is_float32(model: onnx.ModelProto) -> None:
    """Raises :class:`GraphError` for a graph that is low already, or was exported from a half-precision model.

    Such a graph has half weights beside float inputs at LayerNormalization, which no engine loads.
    """
    found = precision_of(model)
    if found is not Precision.FP32:
        raise GraphError(f"the graph is {found} already: convert the float32 graph of `shrota export onnx`")


def unsafe_nodes(model: onnx.ModelProto, ranges: Mapping[str, float], margin: float = MARGIN) -> dict[str, float]:
    """Nodes that float16 could not hold: names, and the largest magnitude at their inputs and outputs.

    Args:
        model: the float32 graph that was measured.
        ranges: largest magnitude of each tensor, as :func:`~shrota_export.precision.ranges.measure_ranges` gives it.
        margin: see ``MARGIN``.
    """
    name_nodes(model)
    limit = FLOAT16_MAX / margin
    weights = constants(model)
    unsafe = {}
    conversion = _Conversion(model, Precision.FP16)
    for node in model.graph.node:
        if not conversion.decide(node, keep=()):
            continue
        magnitudes = [ranges.get(name, 0.0) for name in (*node.input, *node.output)]
        magnitudes += [
            float(np.abs(values_of(weights[name])).max(initial=0.0)) / margin  # known, not measured: no margin
            for name in node.input
            if name in weights and weights[name].data_type == TensorProto.FLOAT
        ]
        largest = max(np.inf if np.isnan(magnitude) else magnitude for magnitude in magnitudes)
        if largest > limit:
            unsafe[node.name] = largest
    return unsafe


class _Conversion:
    """One graph on its way."""

    def __init__(self, model: onnx.ModelProto, precision: Precision) -> None:
        self._model = model
        self._precision = precision
        self._type = TENSOR_TYPES[precision]
        self._floats = float_tensors(model)
        self._floats |= {
            value.name for value in model.graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self._constants = {
            name: tensor for name, tensor in constants(model).items() if tensor.data_type == TensorProto.FLOAT
        }
        self._outputs = {value.name for value in model.graph.output}
        self._low: set[str] = set()
        self._casts: dict[tuple[str, bool], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._new: dict[str, TensorProto] = {}

    def run(self, keep: Collection[str]) -> onnx.ModelProto:
        for node in self._model.graph.node:
            low = self.decide(node, keep)
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [self._input(name, low=low) for name in node.input]
            self._nodes.append(copy)
        return replace_nodes(self._model, self._nodes, self._new.values())

    def decide(self, node: onnx.NodeProto, keep: Collection[str]) -> bool:
        """Whether the node becomes low; must be asked in the order of the graph."""
        low = node.name not in keep and self._may_be_low(node)
        if low:
            self._low.update(name for name in node.output if name in self._floats)
        return low

    def _may_be_low(self, node: onnx.NodeProto) -> bool:
        if self._outputs.intersection(node.output) or not self._floats.intersection(node.output):
            return False
        if node.op_type in PRODUCTS:
            return True
        computed = [name for name in node.input if name in self._floats]
        return node.op_type in FOLLOWING and bool(computed) and self._low.issuperset(computed)

    def _input(self, name: str, *, low: bool) -> str:
        """The tensor of the wanted type that holds what ``name`` holds."""
        if name in self._constants:
            return self._low_constant(name) if low else name
        if name not in self._floats or (name in self._low) == low:
            return name
        key = (name, low)
        if key not in self._casts:
            kind = self._type if low else TensorProto.FLOAT
            self._casts[key] = f"{name}/{self._precision if low else Precision.FP32}"
            self._nodes.append(
                helper.make_node("Cast", [name], [self._casts[key]], name=f"{self._casts[key]}/Cast", to=kind)
            )
        return self._casts[key]

    def _low_constant(self, name: str) -> str:
        low_name = f"{name}/{self._precision}"
        if low_name not in self._new:
            with np.errstate(over="ignore"):
                values = values_of(self._constants[name]).astype(NUMPY_TYPES[self._precision])
            if not np.isfinite(values.astype(np.float32)).all():
                raise GraphError(f"constant {name} does not fit into {self._precision}: keep the nodes that use it")
            self._new[low_name] = numpy_helper.from_array(values, low_name)
        return low_name
