"""Finds the parts of Kokoro's graph that one step each takes the place of."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from shrota_training.kokoro_steps import mean_over_time
from shrota_training.onnx_operators import OPERATORS, Step


@dataclass(frozen=True)
class Product:
    """A quantised product in the graph, by the names of what goes into it."""

    node: onnx.NodeProto
    activation: str
    weight: str
    zero: str
    scale: str
    bias: str | None


class Products:
    """Finds ConvInteger and MatMulInteger with the nodes around them, by the name of the last one's output.

    Each stands between DynamicQuantizeLinear and Cast and Mul by both scales; a bias is added as integers in between.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.makers = {name: node for node in graph.node for name in node.output}
        users: dict[str, onnx.NodeProto] = {name: node for node in graph.node for name in node.input}
        self.found: dict[str, Product] = {}
        for node in graph.node:
            if node.op_type not in ("ConvInteger", "MatMulInteger"):
                continue
            quantised, weight, _, zero = node.input
            after, bias = users[node.output[0]], None
            if after.op_type == "Add":
                bias = self._bias(after, node.output[0])
                after = users[after.output[0]]
            last = users[after.output[0]]
            scales = self.makers[next(name for name in last.input if name != after.output[0])]
            activation = self.makers[quantised]
            scale = next(name for name in scales.input if name not in activation.output)
            self.found[last.output[0]] = Product(node, activation.input[0], weight, zero, scale, bias)

    def _bias(self, add: onnx.NodeProto, product: str) -> str:
        """Return the name of the bias before it was divided by the scale, rounded down, cast and given a shape."""
        name: str = next(name for name in add.input if name != product)
        for _ in range(4):
            name = self.makers[name].input[0]
        return name


class Norms:
    """Finds the nodes of adaptive instance normalisation, and of the snake activation behind it, among steps."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.makers = {name: step for step in steps for name in step[3]}
        self.users: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            for name in dict.fromkeys(step[2]):
                self.users[name].append(step)

    def _made_by(self, name: str, kind: str) -> Step | None:
        step = self.makers.get(name)
        return step if step and step[0] is OPERATORS[kind] else None

    def _used_by(self, name: str, kind: str) -> Step | None:
        steps = self.users[name]
        return steps[0] if len(steps) == 1 and steps[0][0] is OPERATORS[kind] else None

    def find(self, step: Step) -> tuple[list[str], str] | None:
        """Return the inputs (x, epsilon, gain, shift and perhaps the snake's two) and the output of a Div's pattern."""
        centred = self._made_by(step[2][0], "Sub")
        root = self._made_by(step[2][1], "Sqrt")
        variance = root and self._made_by(root[2][0], "Add")
        scaled = self._used_by(step[3][0], "Mul")
        shifted = scaled and self._used_by(scaled[3][0], "Add")
        if not (centred and variance and scaled and shifted):
            return None
        mean, squares = self.makers.get(centred[2][1]), self.makers.get(variance[2][0])
        if not (mean and squares and mean[0] is squares[0] is mean_over_time):
            return None
        gain, shift = _other(scaled, step[3][0]), _other(shifted, scaled[3][0])
        found = [centred[2][0], variance[2][1], gain, shift]
        snake = self._snake(shifted[3][0])
        return ([*found, *snake[:2]], snake[2]) if snake else (found, shifted[3][0])

    def _snake(self, name: str) -> tuple[str, str, str] | None:
        scaled = next((u for u in self.users[name] if u[0] is OPERATORS["Mul"]), None)
        added = next((u for u in self.users[name] if u[0] is OPERATORS["Add"]), None)
        sine = scaled and self._used_by(scaled[3][0], "Sin")
        square = sine and self._used_by(sine[3][0], "Pow")
        weighted = square and self._used_by(square[3][0], "Mul")
        if not (scaled and added and square and weighted) or len(self.users[name]) != 2:
            return None
        if weighted[3][0] not in added[2]:
            return None
        return _other(scaled, name), _other(weighted, square[3][0]), added[3][0]


def _other(step: Step, name: str) -> str:
    return next(given for given in step[2] if given != name)
