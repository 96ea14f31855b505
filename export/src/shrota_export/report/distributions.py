"""How the numbers of a tensor are distributed, and what 16 and 8 bits change of them."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from shrota_export.engines import Floats
from shrota_export.report.material import Material

QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
OUTLIER = 6.0
"""Standard deviations from the mean; of a normal distribution one in 500 million."""
FLOAT16_SMALLEST = 2.0**-24
"""The least number above zero that float16 has (IEEE 754 binary16, subnormal)."""
FLOAT16_NORMAL = 2.0**-14
"""The least that it has with all its bits."""


def matrices_of(engine: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Matrices and kernels by name, with those that are no parameters: that of the positions, of a weight norm."""
    found = dict(engine.named_parameters())
    for name, module in engine.named_modules():
        if isinstance(getattr(module, "weight", None), torch.Tensor):
            found.setdefault(f"{name}.weight", module.weight)
    return {name: tensor for name, tensor in found.items() if tensor.ndim > 1}


def describe_weights(weight: Floats) -> dict[str, Any]:
    """Of one matrix or kernel [outputs, ...]: quantiles, outliers, and what 16 and 8 bits make of it.

    The error of a precision is the root of the mean square of what rounding changes, over that of the weights. int8 is
    symmetric with one scale for each output (scale = largest magnitude / 127), as :mod:`shrota_export.precision.int8`
    does it.
    """
    flat = weight.reshape(weight.shape[0], -1)
    deviation = float(flat.std())
    scale = np.abs(flat).max(axis=1, keepdims=True) / 127
    int8 = np.round(flat / np.where(scale, scale, 1)) * scale
    magnitude = np.abs(flat)
    with np.errstate(over="ignore"):
        float16 = flat.astype(np.float16).astype(np.float32)
    bfloat16 = torch.from_numpy(np.ascontiguousarray(flat)).bfloat16().float().numpy()
    return {
        "count": int(flat.size),
        "deviation": deviation,
        "largest": float(magnitude.max()),
        "quantiles": [float(value) for value in np.quantile(flat, QUANTILES)],
        "outliers": float((np.abs(flat - flat.mean()) > OUTLIER * deviation).mean()) if deviation else 0.0,
        "below_float16": float(((magnitude > 0) & (magnitude < FLOAT16_SMALLEST / 2)).mean()),
        "subnormal_float16": float(((magnitude > 0) & (magnitude < FLOAT16_NORMAL)).mean()),
        "error": {
            name: _error(rounded, flat) for name, rounded in (("fp16", float16), ("bf16", bfloat16), ("int8", int8))
        },
    }


def _error(rounded: Floats, exact: Floats) -> float | None:
    """Of the root mean squares; None where something became infinite."""
    size = float(np.sqrt((exact.astype(np.float64) ** 2).mean()))
    error = float(np.sqrt(((rounded.astype(np.float64) - exact) ** 2).mean()))
    if not np.isfinite(error):
        return None
    return error / size if size else 0.0


def measure_outputs(material: Material) -> dict[str, Any]:
    """Of what each encoder layer gives on some speech: quantiles, and how far the largest channel stands out."""
    outputs: defaultdict[str, list[Floats]] = defaultdict(list)

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            outputs[name].append(hidden[0].numpy())

        return hook

    layers = list(material.engine.layers)
    handles = [layer.register_forward_hook(keep(f"layers.{index}")) for index, layer in enumerate(layers)]
    try:
        for spoken in material.some_speech:
            for window in spoken.windows:
                material.subject.engine(window[None], np.array([[window.size]], np.int32))
    finally:
        for handle in handles:
            handle.remove()
    return {name: describe_output(np.concatenate(rows)) for name, rows in outputs.items()}


def describe_output(hidden: Floats) -> dict[str, Any]:
    """Of activations [F, H]: quantiles, the largest, and the largest channel over the middle one."""
    by_channel = np.abs(hidden).max(axis=0)
    middle = float(np.median(by_channel))
    return {
        "quantiles": [float(value) for value in np.quantile(hidden, QUANTILES)],
        "largest": float(by_channel.max()),
        "channel": int(by_channel.argmax()),
        "channel_ratio": float(by_channel.max()) / middle if middle else None,
    }
