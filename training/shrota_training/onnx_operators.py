"""The ONNX operators of Kokoro's graph, in PyTorch: only as much of each as this one graph uses."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Values = Sequence[Tensor | None]
Attributes = dict[str, Any]
Operator = Callable[[Any, Attributes], Any]
# An operator, whether its inputs must lie on one device, the names of its inputs and outputs, and its attributes.
Step = tuple[Operator, bool, list[str], list[str], Attributes]
DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def numbers(tensor: Tensor) -> list[int]:
    """Return a tensor's integers."""
    return [int(number) for number in tensor.reshape(-1).tolist()]


def _shape(x: Values, _: Attributes) -> Tensor:
    return torch.tensor(cast("Tensor", x[0]).shape, dtype=torch.int64)


def _reshape(x: list[Tensor], _: Attributes) -> Tensor:
    target = [x[0].shape[i] if size == 0 else size for i, size in enumerate(numbers(x[1]))]
    rows = x[0].shape[0] if x[0].dim() else 1
    if target[0] == 1 and x[0].dim() > 1 and rows > 1:
        target[0] = rows  # written for one utterance
    return x[0].reshape(target)


def _unsqueeze(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0]
    rank = result.dim() + x[1].numel()
    for axis in sorted(a % rank for a in numbers(x[1])):
        result = result.unsqueeze(axis)
    return result


def _squeeze(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0]
    for axis in sorted((a % x[0].dim() for a in numbers(x[1])), reverse=True):
        result = result.squeeze(axis)
    return result


def _slice(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0]
    starts, ends = numbers(x[1]), numbers(x[2])
    axes = numbers(x[3]) if len(x) > 3 else list(range(len(starts)))
    steps = numbers(x[4]) if len(x) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        picks = [slice(None)] * result.dim()
        picks[axis] = slice(start, min(end, result.shape[axis]), step)
        result = result[tuple(picks)]
    return result


def _gather(x: list[Tensor], a: Attributes) -> Tensor:
    data, index = x
    axis = a.get("axis", 0)
    if index.dim() == 0 and index.device.type == "cpu":
        return data.select(axis, int(index))
    flat = data.index_select(axis, index.reshape(-1).to(data.device))
    return flat.reshape([*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]])


def _broadcast_expand(x: list[Tensor], _: Attributes) -> Tensor:
    target = tuple(numbers(x[1]))
    # a style [rows, width] beside tokens [rows, tokens, 1]: written for one utterance, whose row needs no place
    data = x[0][:, None] if x[0].dim() == 2 and len(target) == 3 and len(x[0]) > 1 else x[0]
    return data.expand(torch.broadcast_shapes(data.shape, target))


def conv(x: list[Tensor], a: Attributes) -> Tensor:
    """Return the convolution over time of data, with a weight and perhaps a bias."""
    bias = x[2] if len(x) > 2 else None
    return functional.conv1d(x[0], x[1], bias, a["strides"][0], a["pads"][0], a["dilations"][0], a.get("group", 1))


def _conv_transpose(x: list[Tensor], a: Attributes) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    spare = a.get("output_padding", [0])[0]
    return functional.conv_transpose1d(x[0], x[1], bias, a["strides"][0], a["pads"][0], spare, a.get("group", 1))


def _fused_matmul(x: list[Tensor], a: Attributes) -> Tensor:
    left = x[0].transpose(-1, -2) if a["transA"] else x[0]
    right = x[1].transpose(-1, -2) if a["transB"] else x[1]
    return a["alpha"] * (left @ right)


def _resize(x: list[Tensor | None], a: Attributes) -> Tensor:
    data, scales = cast("Tensor", x[0]), cast("Tensor", x[2]).tolist()
    size = int(np.float32(data.shape[-1]) * np.float32(scales[-1]))  # in float32, as ONNX Runtime computes it
    if a["mode"] == b"nearest":
        return functional.interpolate(data, size=size, mode="nearest")
    return functional.interpolate(data, size=size, mode="linear", align_corners=False)


def _stft(x: list[Tensor], _: Attributes) -> Tensor:
    step, length = int(x[1]), int(x[3])
    frames = x[0].reshape(x[0].shape[0], -1).unfold(-1, length, step)
    return torch.view_as_real(torch.fft.rfft(frames * x[2]))


def _split(x: list[Tensor], a: Attributes) -> tuple[Tensor, ...]:
    return cast("tuple[Tensor, ...]", torch.split(x[0], numbers(x[1]), a.get("axis", 0)))


def _pad(x: list[Tensor], _: Attributes) -> Tensor:
    pads, rank = numbers(x[1]), x[0].dim()
    before, after = pads[rank - 1], pads[2 * rank - 1]
    flat = x[0].reshape(1, -1, x[0].shape[-1])
    return functional.pad(flat, (before, after), mode="reflect").reshape(*x[0].shape[:-1], -1)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    return lambda x, a: function(x[0], dim=numbers(x[1]), keepdim=bool(a["keepdims"]))


def _skip_layer_norm(x: list[Tensor], a: Attributes) -> Tensor:
    total = x[0] + x[1]
    return functional.layer_norm(total, total.shape[-1:], x[2], x[3], a["epsilon"])


OPERATORS: dict[str, Operator] = {
    "Add": lambda x, _: x[0] + x[1],
    # The phase of an exact silence is 0/0; atan2, which the graph spells out, would give 0.
    "Atan": lambda x, _: torch.atan(x[0]).nan_to_num(0.0),
    "Cast": lambda x, a: x[0].to(DTYPES[a["to"]]),
    "Clip": lambda x, _: torch.clamp(x[0], min=float(x[1])),
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "ConstantOfShape": lambda x, a: torch.full(numbers(x[0]), a["value"].item()),
    "Conv": conv,
    "ConvTranspose": _conv_transpose,
    "Cos": lambda x, _: torch.cos(x[0]),
    "CumSum": lambda x, _: torch.cumsum(x[0], int(x[1])),
    "DequantizeLinear": lambda x, _: (x[0].float() - x[2].float()) * x[1],
    "Div": lambda x, _: x[0] // x[1] if x[0].dtype == torch.int64 else x[0] / x[1],
    "Equal": lambda x, _: x[0] == x[1],
    "Exp": lambda x, _: torch.exp(x[0]),
    "Expand": _broadcast_expand,
    "FastGelu": lambda x, _: functional.gelu(x[0] + x[1], approximate="tanh"),
    "Floor": lambda x, _: torch.floor(x[0]),
    "FusedMatMul": _fused_matmul,
    "Gather": _gather,
    "Greater": lambda x, _: x[0] > x[1],
    "LayerNormalization": lambda x, a: functional.layer_norm(x[0], x[0].shape[-1:], x[1], x[2], a["epsilon"]),
    "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a["alpha"]),
    "Less": lambda x, _: x[0] < x[1],
    "MatMul": lambda x, _: x[0] @ x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Pad": _pad,
    "Pow": lambda x, _: torch.pow(x[0], x[1]),
    "ReduceSum": _reduce(torch.sum),
    "Reshape": _reshape,
    "Resize": _resize,
    "Round": lambda x, _: torch.round(x[0]),
    "STFT": _stft,
    "Shape": _shape,
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "Sin": lambda x, _: torch.sin(x[0]),
    "SkipLayerNormalization": _skip_layer_norm,
    "Slice": _slice,
    "Softmax": lambda x, a: torch.softmax(x[0], a["axis"]),
    "Split": _split,
    "Sqrt": lambda x, _: torch.sqrt(x[0]),
    "Squeeze": _squeeze,
    "Sub": lambda x, _: x[0] - x[1],
    "Tanh": lambda x, _: torch.tanh(x[0]),
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": lambda x, _: torch.where(x[0], x[1], x[2]),
}
# These read some of their inputs as numbers: those stay where they are, in the CPU's memory if possible.
SHAPE_TAKING = frozenset({"Reshape", "Slice", "Unsqueeze", "Squeeze", "Expand", "Gather", "Split"})
SHAPE_TAKING |= {"ReduceSum", "Pad", "Resize", "ConstantOfShape", "CumSum", "Clip", "Shape", "STFT"}


def together(values: list[Tensor | None]) -> list[Tensor | None]:
    """Bring the inputs of an operator to one device; single numbers may stay where they are."""
    device = next((v.device for v in values if v is not None and v.device.type != "cpu"), None)
    if device is None:
        return values
    return [v if v is None or v.dim() == 0 else v.to(device) for v in values]
