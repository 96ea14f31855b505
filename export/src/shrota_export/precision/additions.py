"""What a pass adds to a graph: nodes and constants, with names that say what they are for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

AXES_AS_INPUT = 18
"""The opset from which on the axes of a reduction are an input."""


class Additions:
    """Nodes in the order of the graph, and constants, each of which is made once.

    Args:
        opset: of the graph.
    """

    def __init__(self, opset: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._axes_as_input = opset >= AXES_AS_INPUT

    def constant(self, name: str, values: NDArray[Any] | Sequence[int]) -> str:
        """A constant tensor; a sequence is one of int64.

        Returns:
            Its name.
        """
        if name not in self.constants:
            array = values if isinstance(values, np.ndarray) else np.array(values, np.int64)
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node with one output, whose name it has.

        Returns:
            The output.
        """
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def reduction(self, kind: str, source: str, output: str) -> str:
        """``ReduceMax`` or ``ReduceMin`` over the last axis, which stays with size 1."""
        if self._axes_as_input:
            return self.node(kind, [source, self.constant("int8/last_axis", [-1])], output, keepdims=1)
        return self.node(kind, [source], output, keepdims=1, axes=[-1])

    def slice(self, source: str, output: str, start: str, end: str, step: str) -> str:
        """Part of the second axis; start, end and step are constants or tensors of one int64."""
        return self.node("Slice", [source, start, end, self.constant("int8/second_axis", [1]), step], output)
