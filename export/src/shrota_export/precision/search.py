"""The smallest set of nodes that must stay float32 for the gate to pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from shrota_export.precision.graphs import float_tensors, layer_of, name_nodes
from shrota_export.precision.int8 import quantizable_nodes
from shrota_export.precision.kinds import Precision
from shrota_export.precision.mixed import FOLLOWING, PRODUCTS


@dataclass(frozen=True)
class Found:
    """What the search ended with.

    Attributes:
        layers: of which something stays float32, in the order of the graph.
        nodes: that stay float32.
        trials: how many graphs were judged.
    """

    layers: tuple[str, ...]
    nodes: tuple[str, ...]
    trials: int


def search(model: onnx.ModelProto, precision: Precision, passes: Callable[[set[str]], bool]) -> Found | None:
    """Bisects over layers, then over the nodes of the layers that were found.

    The sets are minimal in that no single part can be left out (delta debugging, ``ddmin``: Zeller & Hildebrandt,
    "Simplifying and isolating failure-inducing input", IEEE Transactions on Software Engineering 28(2), 2002). One
    layer to blame among 24 is found in about a dozen trials.

    Args:
        model: the float32 graph.
        precision: that failed.
        passes: whether the gate passes a graph in which these nodes stay float32.

    Returns:
        None if not even the whole graph in float32 passes: the fault lies elsewhere.
    """
    name_nodes(model)
    layers: dict[str, list[str]] = {}
    for name in _candidates(model, precision):
        layers.setdefault(layer_of(name), []).append(name)
    trials = 0

    def judge(nodes: Sequence[str]) -> bool:
        nonlocal trials
        trials += 1
        return passes(set(nodes))

    every = [name for names in layers.values() for name in names]
    if not judge(every):
        return None
    blamed = minimize(list(layers), lambda some: judge([name for layer in some for name in layers[layer]]))
    nodes = minimize([name for layer in blamed for name in layers[layer]], judge)
    touched = {layer_of(name) for name in nodes}
    return Found(tuple(layer for layer in layers if layer in touched), tuple(nodes), trials)


def minimize(parts: Sequence[str], passes: Callable[[Sequence[str]], bool]) -> list[str]:
    """A subset of ``parts``, in their order, that passes and of which no single part can be left out.

    Args:
        parts: that pass all together.
        passes: is taken to stay true when parts are added.
    """
    kept = list(parts)
    pieces = 2
    while len(kept) > 1:
        size = -(-len(kept) // pieces)
        chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
        smaller = next((chunk for chunk in chunks if passes(chunk)), None)
        if smaller is not None:
            kept, pieces = smaller, 2
            continue
        rests = ([part for part in kept if part not in chunk] for chunk in chunks)
        rest = next((rest for rest in rests if len(chunks) > 2 and passes(rest)), None)  # noqa: PLR2004
        if rest is not None:
            kept, pieces = rest, max(pieces - 1, 2)
        elif len(chunks) == len(kept):
            break
        else:
            pieces = min(2 * pieces, len(kept))
    return kept


def _candidates(model: onnx.ModelProto, precision: Precision) -> list[str]:
    """The nodes that a conversion may make low."""
    if precision is Precision.INT8:
        return quantizable_nodes(model)
    floats = float_tensors(model)
    kinds = PRODUCTS | FOLLOWING
    return [node.name for node in model.graph.node if node.op_type in kinds and floats.intersection(node.output)]
