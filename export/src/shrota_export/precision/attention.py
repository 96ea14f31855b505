"""Attention as one node of ONNX Runtime's, for float16 on GPUs.

Scores, mask, softmax and context of a layer become ``com.microsoft.MultiHeadAttention``: the scores, half a million
for each second of a long utterance, are not written to memory, and softmax is in float32 within the kernel. The mask
becomes the number of valid frames of each row, and where each row starts among all frames. In that form ONNX Runtime's
CUDA provider takes a kernel that serves any shape; with the numbers alone it takes cuDNN's, which plans anew for every
count of rows and frames, a tenth of a second each time.

bfloat16 keeps the plain form: there the gate found a batch of eight rows on an H200 that the same kernel gets wrong
(docs/decisions/0005-form-for-gpus.md). So do graphs for plans, since TensorRT does not know the node. ONNX Runtime's
CPU provider gets the mask without the starts, see :func:`for_processors`.

The forms of attention that are recognised are those that the exporters write for scaled dot products with the engine's
own mask. Others (WavLM's, with its table of distances) stay as they are.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shrota_export.graph.constants import MASKED_SCORE, TARGET
from shrota_export.precision.graphs import constants, in_order, name_nodes, replace_nodes

DOMAIN = "com.microsoft"
KIND = "MultiHeadAttention"
LENGTHS = "MultiHeadAttention/lengths"
ROWS = f"{LENGTHS}/rows"
MASK = 4
"""The mask's place among the inputs."""
TO_HEADS = [0, 2, 1, 3]
TO_KEYS = [0, 2, 3, 1]


@dataclass(frozen=True)
class _Attention:
    """What was recognised around a softmax."""

    nodes: tuple[str, ...]
    query: str
    key: str
    value: str
    output: str
    scale: float
    heads: int
    hidden: int


@dataclass(frozen=True)
class _Projection:
    """Queries, keys or values before they are split into heads, [B, F, hidden], and the width of a head."""

    name: str
    hidden: int
    head: int

    def has_shape_of(self, other: "_Projection | None") -> bool:
        return other is not None and (self.hidden, self.head) == (other.hidden, other.head)


def fuse_attention(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The graph with each attention that is recognised as one node; itself if none is.

    Args:
        model: a float32 graph with the output NUM_FRAMES; it only gets names for its nodes.
        keep: names of nodes that must stay; an attention that holds one of them is not touched.
    """
    name_nodes(model)
    graph = _Graph(model)
    found = {}
    for node in model.graph.node:
        attention = graph.recognise(node) if node.op_type == "Softmax" else None
        if attention is not None and not set(keep).intersection(attention.nodes):
            found[attention.output] = attention
    if not found:
        return model
    nodes = [_fused(found[node.output[0]], node) if node.output[0] in found else node for node in model.graph.node]
    mask, new = _mask(next(iter(found.values())).query)
    ready = _without_unused(in_order([*nodes, *mask]), {value.name for value in model.graph.output})
    result = replace_nodes(model, ready, new)
    if all(entry.domain != DOMAIN for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    result.graph.value_info.extend(
        helper.make_tensor_value_info(each.output, TensorProto.FLOAT, ["B", "F", each.hidden])
        for each in found.values()
    )
    return result


def describe_attention(model: onnx.ModelProto) -> str:
    """How many attentions are one node, in one line."""
    kinds = [node.op_type for node in model.graph.node]
    fused, plain = kinds.count(KIND), kinds.count("Softmax")
    return f"attention as one node of ONNX Runtime's: {fused} of {fused + plain} layers"


def is_for_gpus(model: onnx.ModelProto) -> bool:
    """Whether a graph was exported with ``--target gpu``."""
    return any((entry.key, entry.value) == (TARGET, "gpu") for entry in model.metadata_props)


def has_fused_attention(model: onnx.ModelProto) -> bool:
    """Whether a graph needs ONNX Runtime."""
    return any(node.domain == DOMAIN for node in model.graph.node)


def for_processors(node: onnx.NodeProto) -> None:
    """Gives a fused attention the mask that the CPU provider takes: valid frames of each row, without the starts."""
    if node.domain == DOMAIN and node.op_type == KIND and node.input[MASK] == LENGTHS:
        node.input[MASK] = ROWS


def _mask(query: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Nodes and constants of the mask, [3 B + 2] int32: valid frames of each row; starts of rows, twice.

    A row has one valid frame at least, so that one of padding has a softmax over something, and at most all of them,
    whatever NUM_SAMPLES says: the kernel reads as many keys as it is told.
    """
    ints = {"zero": [0], "one": [1], "two": [2], "flat": [-1]}
    new = [numpy_helper.from_array(np.array(value, np.int64), f"{LENGTHS}/{name}") for name, value in ints.items()]
    new.append(numpy_helper.from_array(np.array([1], np.int32), f"{LENGTHS}/least"))
    new += [numpy_helper.from_array(np.array(number, np.int64), f"{LENGTHS}/{number}") for number in (0, 1)]
    steps = [
        ("Shape", [query], "shape", {}),
        ("Slice", ["shape", "zero", "one", "zero"], "count", {}),
        ("Slice", ["shape", "one", "two", "zero"], "frames", {}),
        ("Cast", ["frames"], "most", {"to": TensorProto.INT32}),
        ("Max", ["NUM_FRAMES", "least"], "positive", {}),
        ("Min", ["positive", "most"], "column", {}),
        ("Reshape", ["column", "flat"], "rows", {}),
        ("Squeeze", ["count", "zero"], "number", {}),
        ("Add", ["number", "1"], "end", {}),
        ("Range", ["0", "end", "1"], "range", {}),
        ("Mul", ["range", "frames"], "long", {}),
        ("Cast", ["long"], "starts", {"to": TensorProto.INT32}),
        ("Concat", ["rows", "starts", "starts"], "", {"axis": 0}),
    ]
    own = {"NUM_FRAMES", query}
    nodes = [
        helper.make_node(
            kind,
            [name if name in own else f"{LENGTHS}/{name}" for name in inputs],
            [f"{LENGTHS}/{output}" if output else LENGTHS],
            name=f"{LENGTHS}/{kind}/{output}",
            **attributes,
        )
        for kind, inputs, output, attributes in steps
    ]
    return nodes, new


def _fused(attention: _Attention, last: onnx.NodeProto) -> onnx.NodeProto:
    prefix = last.name.rpartition("/")[0] or attention.output  # the newer exporter's names have no modules in them
    return helper.make_node(
        KIND,
        [attention.query, attention.key, attention.value, "", LENGTHS],
        [attention.output],
        name=f"{prefix}/{KIND}",
        domain=DOMAIN,
        num_heads=attention.heads,
        scale=attention.scale,
    )


def _without_unused(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]


class _Graph:
    """Who makes and who uses each tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._constants = constants(model)

    def recognise(self, softmax: onnx.NodeProto) -> _Attention | None:
        """The attention around a softmax; None if it is not of the known form."""
        masked = self._maker(softmax.input[0], "Add")
        context = self._only_user(softmax.output[0], "MatMul")
        if masked is None or context is None or context.input[0] != softmax.output[0]:
            return None
        scaled = self._masked_scores(masked)
        product, scale = (None, None) if scaled is None else self._factor(scaled)
        last = self._joined_heads(context.output[0])
        if scaled is None or product is None or scale is None or last is None:
            return None
        query = self._projection(product.input[0], TO_HEADS)
        key = self._projection(product.input[1], TO_KEYS)
        value = self._projection(context.input[1], TO_HEADS)
        if query is None or not query.has_shape_of(key) or not query.has_shape_of(value):
            return None
        assert key is not None  # noqa: S101 - for the type checker
        assert value is not None  # noqa: S101
        names = (product.name, scaled.name, masked.name, softmax.name, context.name)
        heads = query.hidden // query.head
        return _Attention(names, query.name, key.name, value.name, last, scale, heads, query.hidden)

    def _masked_scores(self, masked: onnx.NodeProto) -> onnx.NodeProto | None:
        """The scaled scores of an addition whose other side is the engine's mask."""
        for scores, mask in (masked.input[:2], masked.input[1::-1]):
            if self._is_mask(mask):
                return self._maker(scores, "Mul")
        return None

    def _joined_heads(self, context: str) -> str | None:
        """The tensor [B, F, H] that the heads' results are put together to."""
        back = self._only_user(context, "Transpose")
        if back is None or _permutation(back) != TO_HEADS:
            return None
        last = self._only_user(back.output[0], "Reshape")
        return None if last is None else last.output[0]

    def _maker(self, name: str, kind: str) -> onnx.NodeProto | None:
        node = self._makers.get(name)
        return node if node is not None and node.op_type == kind else None

    def _only_user(self, name: str, kind: str) -> onnx.NodeProto | None:
        users = self._users.get(name, [])
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def _number(self, name: str) -> float | None:
        tensor = self._constants.get(name)
        values = None if tensor is None else numpy_helper.to_array(tensor)
        return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None

    def _factor(self, scaled: onnx.NodeProto) -> tuple[onnx.NodeProto | None, float | None]:
        """The product of queries and keys, and what it is multiplied by."""
        for one, other in ((0, 1), (1, 0)):
            product, factor = self._maker(scaled.input[one], "MatMul"), self._number(scaled.input[other])
            if product is not None and factor is not None:
                return product, factor
        return None, None

    def _is_mask(self, name: str) -> bool:
        """Whether it is what the engine adds to scores, see MASKED_SCORE there: zero, or far below, for each key."""
        node = self._makers.get(name)
        while node is not None and node.op_type in {"Unsqueeze", "Reshape", "Cast"}:
            node = self._makers.get(node.input[0])
        if node is None or node.op_type != "Mul":
            return False
        factors = [number for number in map(self._number, node.input) if number is not None]
        differences = [self._maker(each, "Sub") for each in node.input]
        return factors == [MASKED_SCORE] and any(differences)

    def _projection(self, name: str, order: list[int]) -> "_Projection | None":
        """What is split into heads."""
        permutation = list(range(4))
        node = self._makers.get(name)
        while node is not None and node.op_type == "Transpose":
            permutation = [_permutation(node)[axis] for axis in permutation]
            node = self._makers.get(node.input[0])
        if node is None or node.op_type != "Reshape" or permutation != order:
            return None
        shape = self._makers.get(node.input[1])
        head = self._number(shape.input[-1]) if shape is not None and shape.op_type == "Concat" else None
        hidden = self._width(node.input[0])
        return None if head is None or hidden is None else _Projection(node.input[0], hidden, int(head))

    def _width(self, name: str) -> int | None:
        """H of a projection [B, F, H]: that of its weights or bias, since shapes are not known in every graph."""
        node = self._makers.get(name)
        if node is None or node.op_type not in {"Add", "MatMul"}:
            return None
        widths = {self._constants[each].dims[-1] for each in node.input if each in self._constants}
        return widths.pop() if len(widths) == 1 else None


def _permutation(node: onnx.NodeProto) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
