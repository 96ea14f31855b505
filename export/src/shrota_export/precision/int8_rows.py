"""Rows in 8 bits: their scales, their numbers, and their product with a matrix of weights."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shrota_export.precision.additions import Additions

ROW_LEVELS = 127
"""Largest quantised magnitude of an activation."""
ZERO_POINT = 128
"""Activations are unsigned around it: MatMulInteger with signed ones is not vectorised on x86-64."""
WEIGHT_LEVELS = 63
"""Largest quantised magnitude of a weight: 7 bits.

Processors with AVX2 or AVX-512 but without VNNI add two products in 16 bits, saturating: 2 x 255 x 127 does not fit
there, 2 x 255 x 63 does. With 8 bits the graph would give other transcripts on an older processor than on the one where
it was checked.
"""
CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
LEAST_MAGNITUDE = 1e-12
"""Of a row, so that silence is not divided by zero."""


class Rows(NamedTuple):
    """Names of two tensors: uint8 [..., K], and the largest magnitude of each row, [..., 1]."""

    uint8: str
    bound: str


def add_bound(added: Additions, source: str, target: str) -> str:
    """The largest magnitude of each row: [..., K] -> [..., 1], at least ``LEAST_MAGNITUDE``.

    From maximum and minimum: the magnitudes of all numbers would be written and read once more.
    """
    highest = added.reduction("ReduceMax", source, f"{target}/highest")
    lowest = added.reduction("ReduceMin", source, f"{target}/lowest")
    least = added.constant("int8/least_magnitude", np.array(LEAST_MAGNITUDE, np.float32))
    return added.node("Max", [highest, added.node("Neg", [lowest], f"{target}/negative"), least], target)


def add_factor(added: Additions, bound: str, target: str) -> str:
    """What brings each row into the range of its 8 bits: [..., 1] -> [..., 1]."""
    levels = added.constant("int8/row_levels", np.array(ROW_LEVELS, np.float32))
    return added.node("Div", [levels, bound], target)


def add_uint8(added: Additions, source: str, factor: str, target: str) -> str:
    """Rows [..., K], multiplied by their factors [..., 1], as uint8 around the zero point."""
    scaled = added.node("Mul", [source, factor], f"{target}/scaled")
    return added.node("QuantizeLinear", [scaled, _one(added), _zero_point(added)], target)


def add_product(added: Additions, rows: Rows, weight: NDArray[np.float32], prefix: str, target: str) -> str:
    """The product of quantised rows and a matrix, scaled for each channel by the kernel itself, then for each row.

    Args:
        added: where to.
        rows: [..., K].
        weight: [K, N].
        prefix: of the names.
        target: name of the result, [..., N].
    """
    step = np.maximum(np.abs(weight).max(axis=0), LEAST_MAGNITUDE) / WEIGHT_LEVELS
    quantized = np.clip(np.rint(weight / step), -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)
    matrix = added.constant(f"{prefix}/weight", quantized)
    # for a row's bound of 1 the value of one unit of each output channel
    scale = added.constant(f"{prefix}/scale", (step / ROW_LEVELS).astype(np.float32))
    inputs = [rows.uint8, matrix, _one(added), scale, _zero_point(added)]
    unscaled = added.node("MatMulIntegerToFloat", inputs, f"{prefix}/unscaled", domain=CONTRIB)
    return added.node("Mul", [unscaled, rows.bound], target)


def _one(added: Additions) -> str:
    return added.constant("int8/one", np.array(1, np.float32))


def _zero_point(added: Additions) -> str:
    return added.constant("int8/zero_point", np.array(ZERO_POINT, np.uint8))
