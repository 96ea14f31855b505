"""What a half-precision graph gives, computed on a processor that has no half precision.

ONNX Runtime's CPU provider does not do what the graph says. A float16 node for which it has no kernel it runs in
float32 between two casts, and of the casts that then meet it drops both, so that a value above 65,504 passes unharmed
(``test_onnx_runtime_hides_the_overflow_of_float16_on_a_cpu`` shows it in 1.32). For bfloat16 it has no kernels
at all and does not load the graph. Casts that stand in the graph it does keep. So the graph is rewritten to compute in
float32, and after every node that is low each output is rounded to the low type by a pair of casts: overflow becomes
infinity, and a small number loses its bits, just where they would on a GPU. Sums are in float32, as in tensor cores.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shrota_export.precision.attention import for_processors
from shrota_export.precision.graphs import in_order, replace_nodes

LOW = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
UNROUNDED = frozenset(
    {
        "Transpose",
        "Reshape",
        "Slice",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Split",
        "Flatten",
        "Identity",
        "Gather",
        "Expand",
    }
)
"""Nodes that only move numbers."""


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph with the same tensor names, whose low tensors hold numbers that the low type has.

    A graph without half precision is returned as it is.
    """
    return _Emulation(model).run()


class _Emulation:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._types: dict[str, int] = {
            tensor.name: tensor.data_type for tensor in model.graph.initializer if tensor.data_type in LOW
        }
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> onnx.ModelProto:
        new = [_widen(tensor) for tensor in self._model.graph.initializer if tensor.data_type in LOW]
        for node in in_order(self._model.graph.node):
            self._add(node)
        if not self._types:
            return self._model
        result = replace_nodes(self._model, self._nodes, [])
        names = {tensor.name for tensor in new}
        kept = [tensor for tensor in result.graph.initializer if tensor.name not in names]
        del result.graph.initializer[:]
        result.graph.initializer.extend([*kept, *new])
        return result

    def _add(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for_processors(copy)
        low = {self._types[name] for name in node.input if name in self._types}
        if node.op_type == "Cast":
            self._cast(copy, bool(low))
        elif node.op_type in {"Constant", "ConstantOfShape"}:
            self._constant(copy)
        elif low:
            self._round(copy, low.pop())
        else:
            self._nodes.append(copy)

    def _cast(self, node: onnx.NodeProto, from_low: bool) -> None:
        (target,) = (attribute for attribute in node.attribute if attribute.name == "to")
        if target.i in LOW:
            self._types[node.output[0]] = target.i
            self._nodes += _rounding(node.input[0], node.output[0], target.i)
        elif from_low and target.i == TensorProto.FLOAT:
            self._nodes.append(helper.make_node("Identity", node.input, node.output, name=node.name))
        else:
            self._nodes.append(node)

    def _constant(self, node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type in LOW:
                self._types[node.output[0]] = attribute.t.data_type
                attribute.t.CopyFrom(_widen(attribute.t))
        self._nodes.append(node)

    def _round(self, node: onnx.NodeProto, kind: int) -> None:
        outputs = list(node.output)
        if node.op_type not in {"Shape", "Size"}:
            self._types.update(dict.fromkeys(filter(None, outputs), kind))
        if node.op_type in UNROUNDED or node.op_type in {"Shape", "Size"}:
            self._nodes.append(node)
            return
        node.output[:] = [name and f"{name}/unrounded" for name in outputs]
        self._nodes.append(node)
        for name in filter(None, outputs):
            self._nodes += _rounding(f"{name}/unrounded", name, kind)


def _rounding(source: str, target: str, kind: int) -> list[onnx.NodeProto]:
    rounded = f"{target}/rounded"
    return [
        helper.make_node("Cast", [source], [rounded], name=f"{target}/round", to=kind),
        helper.make_node("Cast", [rounded], [target], name=f"{target}/widen", to=TensorProto.FLOAT),
    ]


def _widen(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
