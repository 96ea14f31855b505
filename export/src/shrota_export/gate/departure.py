"""Where two graphs part: the first tensor that differs by more than rounding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from shrota_export.engines import Floats, Ints
from shrota_export.precision.graphs import float_tensors, layer_of, session_source

Doubles = NDArray[np.float64]
PROBES = 16
"""Tensors that are looked at in one run."""


@dataclass(frozen=True)
class Departure:
    """The first tensor that departs.

    Attributes:
        tensor: its name.
        operator: that computes it.
        difference: largest, relative to the reference's largest magnitude; infinity for NaN, infinity, another shape.
        reference: the reference's largest magnitude there.
    """

    tensor: str
    operator: str
    difference: float
    reference: float

    def describe(self) -> str:
        """In words."""
        amount = f"by {self.difference:.2g} of" if np.isfinite(self.difference) else "beyond all numbers from"
        return (
            f"the first tensor that departs is {self.tensor} ({self.operator}, {layer_of(self.tensor)}), {amount} "
            f"the reference's largest magnitude, {self.reference:.3g}"
        )


def first_departure(
    reference: onnx.ModelProto, candidate: onnx.ModelProto, batch: tuple[Floats, Ints], tolerance: float
) -> Departure | None:
    """Looks for it in one run, among the float32 tensors of the same name.

    Each round looks at ``PROBES`` tensors. Those that agree are settled with all that they were computed from; of the
    first that departs, what it was computed from is looked at next. So even a large graph takes a few rounds and little
    memory. (Polygraphy's ``debug`` bisects alike.)

    Args:
        reference: the graph that is trusted.
        candidate: the other; half precision must be emulated.
        batch: AUDIO, NUM_SAMPLES.
        tolerance: largest difference relative to the reference's largest magnitude of the tensor.

    Returns:
        None if no tensor departs.
    """
    shared = float_tensors(reference) & float_tensors(candidate)
    makers = {name: node for node in reference.graph.node for name in node.output}
    pool = [name for name in makers if name in shared]
    found: Departure | None = None

    def probe(names: Sequence[str]) -> dict[str, Departure | None]:
        if not names:
            return {}
        expected, actual = _tensors(reference, names, batch), _tensors(candidate, names, batch)
        return {name: _departure(makers[name], name, actual[name], expected[name], tolerance) for name in names}

    while pool:
        places = np.unique(np.linspace(0, len(pool) - 1, min(PROBES, len(pool))).round().astype(int))
        probed = probe([pool[place] for place in places])
        settled = _with_sources([name for name, departs in probed.items() if departs is None], makers)
        pool = [name for name in pool if name not in settled]
        earliest = next((departs for departs in probed.values() if departs is not None), None)
        if earliest is not None:
            found = earliest
            sources = _with_sources([found.tensor], makers) - {found.tensor}
            pool = [name for name in pool if name in sources]
    # a tensor may agree although what it was computed from does not: a normalisation takes a wrong scale out again
    earlier = found
    while earlier is not None:
        found = earlier
        nearest = sorted({name for name in makers[found.tensor].input if name in shared})
        earlier = next((departs for departs in probe(nearest).values() if departs is not None), None)
    return found


def _departure(
    node: onnx.NodeProto, name: str, actual: Doubles, expected: Doubles, tolerance: float
) -> Departure | None:
    difference = _relative(actual, expected)
    if difference <= tolerance:
        return None
    return Departure(name, node.op_type, difference, float(np.abs(expected).max(initial=0.0)))


def _with_sources(names: Sequence[str], makers: Mapping[str, onnx.NodeProto]) -> set[str]:
    """The tensors and all that their numbers come from; a shape is right even where its tensor is wrong."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen and name in makers:
            seen.add(name)
            waiting += [] if makers[name].op_type == "Shape" else makers[name].input
    return seen


def _tensors(model: onnx.ModelProto, names: Sequence[str], batch: tuple[Floats, Ints]) -> dict[str, Doubles]:
    """Values of some tensors in one run, without any fusion."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    there = {value.name for value in model.graph.output}
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in there
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with session_source(probe) as source:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    values = session.run(list(names), {"AUDIO": batch[0], "NUM_SAMPLES": batch[1]})
    return {name: np.asarray(value, np.float64) for name, value in zip(names, values, strict=True)}


def _relative(actual: Doubles, expected: Doubles) -> float:
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return np.inf
    if not actual.size:
        return 0.0
    difference, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    if not difference:
        return 0.0
    return float(difference / scale) if scale else np.inf
