"""Runs Kokoro's int8 ONNX graph with PyTorch in floating point, so that a GPU can speak.

The integer operators have no GPU kernels. Here the weights are expanded to float32 once, and activations stay in
float32: `DynamicQuantizeLinear` passes its input on with scale 1 and zero point 0, so that `ConvInteger` and
`MatMulInteger` become plain products, and what follows them multiplies by the weights' scale as before.
Only what this one graph uses is written.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

Values = Sequence[Tensor | None]
Attributes = dict[str, Any]
Operator = Callable[[Any, Attributes], Any]
# An operator, whether its inputs must lie on one device, the names of its inputs and outputs, and its attributes.
Step = tuple[Operator, bool, list[str], list[str], Attributes]
DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def _numbers(tensor: Tensor) -> list[int]:
    return [int(number) for number in tensor.reshape(-1).tolist()]


def _shape(x: Values, _: Attributes) -> Tensor:
    return torch.tensor(cast("Tensor", x[0]).shape, dtype=torch.int64)


def _reshape(x: list[Tensor], _: Attributes) -> Tensor:
    target = _numbers(x[1])
    return x[0].reshape([x[0].shape[i] if size == 0 else size for i, size in enumerate(target)])


def _unsqueeze(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0]
    rank = result.dim() + x[1].numel()
    for axis in sorted(a % rank for a in _numbers(x[1])):
        result = result.unsqueeze(axis)
    return result


def _squeeze(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0]
    for axis in sorted((a % x[0].dim() for a in _numbers(x[1])), reverse=True):
        result = result.squeeze(axis)
    return result


def _slice(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0]
    starts, ends = _numbers(x[1]), _numbers(x[2])
    axes = _numbers(x[3]) if len(x) > 3 else list(range(len(starts)))
    steps = _numbers(x[4]) if len(x) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = result.shape[axis]
        if step < 0:
            picks = torch.arange(size, device=result.device)[
                torch.tensor(list(range(size))[start : None if end < -size else end : step], device=result.device)
            ]
            result = result.index_select(axis, picks)
        else:
            low, high, stride = slice(start, min(end, size), step).indices(size)
            picks_slice = [slice(None)] * result.dim()
            picks_slice[axis] = slice(low, high, stride)
            result = result[tuple(picks_slice)]
    return result


def _gather(x: list[Tensor], a: Attributes) -> Tensor:
    data, index = x
    axis = a.get("axis", 0)
    if index.dim() == 0 and index.device.type == "cpu":
        return data.select(axis, int(index))
    flat = data.index_select(axis, index.reshape(-1).to(data.device))
    return flat.reshape([*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]])


def _broadcast_expand(x: list[Tensor], _: Attributes) -> Tensor:
    return x[0].expand(torch.broadcast_shapes(x[0].shape, tuple(_numbers(x[1]))))


def _conv(x: list[Tensor], a: Attributes) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    return functional.conv1d(x[0], x[1], bias, a["strides"][0], a["pads"][0], a["dilations"][0], a.get("group", 1))


def _conv_integer(x: list[Tensor], a: Attributes) -> Tensor:
    return functional.conv1d(x[0], x[1].float() - x[3].float(), None, a["strides"][0], a["pads"][0], a["dilations"][0])


def _conv_transpose(x: list[Tensor], a: Attributes) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    spare = a.get("output_padding", [0])[0]
    return functional.conv_transpose1d(x[0], x[1], bias, a["strides"][0], a["pads"][0], spare, a.get("group", 1))


def _matmul_integer(x: list[Tensor], _: Attributes) -> Tensor:
    return x[0] @ (x[1].float() - x[3].float())


def _fused_matmul(x: list[Tensor], a: Attributes) -> Tensor:
    left = x[0].transpose(-1, -2) if a["transA"] else x[0]
    right = x[1].transpose(-1, -2) if a["transB"] else x[1]
    return a["alpha"] * (left @ right)


def _dynamic_quantize_linear(x: list[Tensor], _: Attributes) -> tuple[Tensor, Tensor, Tensor]:
    return x[0], torch.tensor(1.0), torch.tensor(0.0)


def _lstm(x: list[Tensor], a: Attributes) -> tuple[Tensor, None, None]:
    raise NotImplementedError  # takes constants only; replaced when the graph is loaded


def _make_lstm(x: Sequence[Tensor], a: Attributes, device: torch.device) -> Operator:
    """Return the operator of a bidirectional LSTM with these quantised weights; its first state is always zero.

    ONNX orders the gates i, o, f, c and PyTorch i, f, c, o.
    """
    hidden, (weights, recurrent, bias) = a["hidden_size"], x[:3]
    order = torch.cat([torch.arange(g * hidden, (g + 1) * hidden) for g in (0, 2, 3, 1)])
    lstm = torch.nn.LSTM(weights.shape[1], hidden, bidirectional=True).to(device)
    for way, suffix in enumerate(("l0", "l0_reverse")):
        for name, values, scale, zero in (("ih", weights, x[3], x[4]), ("hh", recurrent, x[5], x[6])):
            matrix = (values[way].float() - zero[way].float()) * scale[way]
            getattr(lstm, f"weight_{name}_{suffix}").data.copy_(matrix.t()[order.to(matrix.device)])
        for name, part in zip(("ih", "hh"), bias[way].reshape(2, -1), strict=True):
            getattr(lstm, f"bias_{name}_{suffix}").data.copy_(part[order.to(part.device)])
    lstm.flatten_parameters()

    def run(inputs: list[Tensor], _: Attributes) -> Tensor:
        output = lstm(inputs[0].contiguous())[0]
        return cast("Tensor", output.reshape(output.shape[0], 1, 2, hidden).permute(0, 2, 1, 3))

    return run


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


def _scatter_nd(x: list[Tensor], _: Attributes) -> Tensor:
    result = x[0].clone()
    result[tuple(x[1].movedim(-1, 0))] = x[2]
    return result


def _split(x: list[Tensor], a: Attributes) -> tuple[Tensor, ...]:
    return cast("tuple[Tensor, ...]", torch.split(x[0], _numbers(x[1]), a.get("axis", 0)))


def _pad(x: list[Tensor], _: Attributes) -> Tensor:
    pads, rank = _numbers(x[1]), x[0].dim()
    before, after = pads[rank - 1], pads[2 * rank - 1]
    flat = x[0].reshape(1, -1, x[0].shape[-1])
    return functional.pad(flat, (before, after), mode="reflect").reshape(*x[0].shape[:-1], -1)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    return lambda x, a: function(x[0], dim=_numbers(x[1]), keepdim=bool(a["keepdims"]))


def _skip_layer_norm(x: list[Tensor], a: Attributes) -> Tensor:
    total = x[0] + x[1]
    return functional.layer_norm(total, total.shape[-1:], x[2], x[3], a["epsilon"])


OPERATORS: dict[str, Operator] = {
    "Add": lambda x, _: x[0] + x[1],
    "And": lambda x, _: x[0] & x[1],
    # The phase of an exact silence is 0/0; atan2, which the graph spells out, would give 0.
    "Atan": lambda x, _: torch.atan(x[0]).nan_to_num(0.0),
    "Cast": lambda x, a: x[0].to(DTYPES[a["to"]]),
    "Clip": lambda x, _: torch.clamp(x[0], min=float(x[1])),
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "ConstantOfShape": lambda x, a: torch.full(_numbers(x[0]), a["value"].item()),
    "Conv": _conv,
    "ConvInteger": _conv_integer,
    "ConvTranspose": _conv_transpose,
    "Cos": lambda x, _: torch.cos(x[0]),
    "CumSum": lambda x, _: torch.cumsum(x[0], int(x[1])),
    "DequantizeLinear": lambda x, _: (x[0].float() - x[2].float()) * x[1],
    "Div": lambda x, _: x[0] // x[1] if x[0].dtype == torch.int64 else x[0] / x[1],
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeLinear": _dynamic_quantize_linear,
    "Equal": lambda x, _: x[0] == x[1],
    "Exp": lambda x, _: torch.exp(x[0]),
    "Expand": _broadcast_expand,
    "FastGelu": lambda x, _: functional.gelu(x[0] + x[1], approximate="tanh"),
    "Floor": lambda x, _: torch.floor(x[0]),
    "FusedMatMul": _fused_matmul,
    "Gather": _gather,
    "Greater": lambda x, _: x[0] > x[1],
    "GreaterOrEqual": lambda x, _: x[0] >= x[1],
    "LayerNormalization": lambda x, a: functional.layer_norm(x[0], x[0].shape[-1:], x[1], x[2], a["epsilon"]),
    "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a["alpha"]),
    "Less": lambda x, _: x[0] < x[1],
    "MatMul": lambda x, _: x[0] @ x[1],
    "MatMulInteger": _matmul_integer,
    "Mul": lambda x, _: x[0] * x[1],
    "NonZero": lambda x, _: torch.nonzero(x[0]).t(),
    "Pad": _pad,
    "Pow": lambda x, _: torch.pow(x[0], x[1]),
    "Range": lambda x, _: torch.arange(int(x[0]), int(x[1]), int(x[2])),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Reshape": _reshape,
    "Resize": _resize,
    "Round": lambda x, _: torch.round(x[0]),
    "STFT": _stft,
    "ScatterND": _scatter_nd,
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
SHAPE_TAKING = frozenset({"Reshape", "Slice", "Unsqueeze", "Squeeze", "Expand", "Gather", "Split", "ReduceMean"})
SHAPE_TAKING |= {"ReduceSum", "Pad", "Resize", "Range", "ConstantOfShape", "CumSum", "Clip", "Shape", "STFT"}


def _together(values: list[Tensor | None]) -> list[Tensor | None]:
    """Bring the inputs of an operator to one device; single numbers may stay where they are."""
    device = next((v.device for v in values if v is not None and v.device.type != "cpu"), None)
    if device is None:
        return values
    return [v if v is None or v.dim() == 0 else v.to(device) for v in values]


class TorchGraph:
    """Kokoro's graph, with its integer weights expanded, on one device."""

    def __init__(self, path: Path, device: str) -> None:
        graph = onnx.load(str(path)).graph
        self.device = torch.device(device)
        self.output = graph.output[0].name
        self.inputs = [value.name for value in graph.input]
        self.constants: dict[str, Tensor] = {}
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            value = torch.from_numpy(np.array(array))
            is_number = value.dtype == torch.int64 or value.dim() == 0
            self.constants[tensor.name] = value if is_number else value.to(self.device)
        self.steps: list[Step] = []
        with torch.inference_mode():
            for node in graph.node:
                self._add(node)
        self._expand_weights()
        self.dying = self._last_uses()

    def _add(self, node: onnx.NodeProto) -> None:
        """Append a node to the steps, or compute it at once if all of its inputs are constant."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if "value" in attributes:
            attributes["value"] = numpy_helper.to_array(attributes["value"])
        operator, inputs = OPERATORS[node.op_type], list(node.input)
        mixes = node.op_type not in SHAPE_TAKING
        if all(not name or name in self.constants for name in inputs):
            self._run((operator, mixes, inputs, list(node.output), attributes), self.constants)
        else:
            self.steps.append((operator, mixes, inputs, list(node.output), attributes))

    def _expand_weights(self) -> None:
        """Replace the integer products by float products whose weight is ready, and likewise the LSTMs."""
        weights: dict[str, Tensor] = {}
        for i, (operator, mixes, inputs, outputs, attributes) in enumerate(self.steps):
            if operator in (_conv_integer, _matmul_integer):
                name = inputs[1]
                weights[name] = (self.constants[name].float() - self.constants[inputs[3]].float()).contiguous()
                plain = _conv if operator is _conv_integer else OPERATORS["MatMul"]
                self.steps[i] = (plain, mixes, [inputs[0], name], outputs, attributes)
            elif operator is _lstm:
                constants = [self.constants[inputs[k]] for k in (1, 2, 3, 8, 9, 10, 11)]
                run = _make_lstm(constants, attributes, self.device)
                self.steps[i] = (run, mixes, inputs[:1], outputs[:1], attributes)
        self.constants.update(weights)

    def _last_uses(self) -> list[list[str]]:
        last: dict[str, int] = {}
        for i, (_, _, inputs, outputs, _) in enumerate(self.steps):
            for name in (*inputs, *outputs):
                if name and name not in self.constants and name != self.output:
                    last[name] = i
        dying: list[list[str]] = [[] for _ in self.steps]
        for name, i in last.items():
            dying[i].append(name)
        return dying

    @staticmethod
    def _run(step: Step, values: dict[str, Tensor]) -> None:
        operator, mixes, inputs, outputs, attributes = step
        taken: list[Tensor | None] = [values[name] if name else None for name in inputs]
        results = operator(_together(taken) if mixes else taken, attributes)
        values.update(zip(outputs, results if isinstance(results, tuple) else (results,), strict=False))

    def __call__(self, tokens: Tensor, style: Tensor, speed: Tensor) -> Tensor:
        """Return 24 kHz speech [samples] of tokens [1, n] in a style [1, 256] at a speed [1]."""
        values = dict(self.constants)
        values.update(zip(self.inputs, (tokens.to(self.device), style.to(self.device), speed), strict=True))
        with torch.inference_mode():
            for step, dying in zip(self.steps, self.dying, strict=True):
                self._run(step, values)
                for name in dying:
                    del values[name]
        return values[self.output]


class FloatKokoro:
    """Speaks with the expanded graph on one device; takes the place of `kokoro.Kokoro`."""

    def __init__(self, model: Path, device: str = "cpu") -> None:
        self.graph = TorchGraph(model, device)

    def speak(self, tokens: Sequence[int], style: NDArray[np.float32], speed: float = 1.0) -> NDArray[np.float32]:
        """Return 24 kHz speech of a row of tokens in one style [256]."""
        audio = self.graph(torch.tensor([[0, *tokens, 0]]), torch.from_numpy(style)[None], torch.tensor([speed]))
        return cast("NDArray[np.float32]", audio.cpu().numpy())
