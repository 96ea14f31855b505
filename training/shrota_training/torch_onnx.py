"""Runs Kokoro's int8 ONNX graph with PyTorch, so that a GPU can speak, many utterances at once.

The integer operators have no GPU kernels. Here each integer product, with the dozen nodes around it, becomes one step:
activations are rounded to 8 bits as `DynamicQuantizeLinear` rounds them, row by row, the weights are expanded once, and
the product is computed in floating point (TF32 on a GPU). The LSTMs keep unrounded activations, so that an utterance
may be a frame longer or shorter than ONNX Runtime's.

The graph was exported for one utterance. Rows of a batch have the same number of tokens; their numbers of frames
differ, so the silent token at the end of the shorter ones lasts longer, and what it adds is cut off. Only what this one
graph uses is written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from shrota_training.kokoro_patterns import Norms, Product, Products
from shrota_training.kokoro_steps import (
    align,
    join_overlaps,
    make_lstm,
    mean_over_time,
    normalise_in_style,
    quantised_conv,
    quantised_matmul,
    round_own_part,
)
from shrota_training.onnx_operators import OPERATORS, SHAPE_TAKING, Attributes, Operator, Step, conv, together

# Tensors of the graph, between which steps of our own take the place of what was written for one utterance.
DURATIONS, ALIGNMENT = "/encoder/Cast_output_0", "/encoder/Cast_4_output_0"
OVERLAPPED = "/decoder/decoder/generator/istft/stft/Squeeze_1_output_0"
WINDOW_SUM = "decoder.decoder.generator.stft.istft.stft.window_sum"
FRAMES, SHARE, SPEECH = "frames", "share", "speech"
FRAME_SAMPLES = 600  # a frame is 25 ms at 24 kHz


class TorchGraph:
    """Kokoro's graph on one device, with its integer weights expanded and their products simplified."""

    def __init__(self, path: Path, device: str) -> None:
        graph = onnx.load(str(path)).graph
        self.device = torch.device(device)
        self.inputs = [value.name for value in graph.input]
        self.constants: dict[str, Tensor] = {}
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            value = torch.from_numpy(np.array(array))
            is_number = value.dtype == torch.int64 or value.dim() == 0
            self.constants[tensor.name] = value if is_number else value.to(self.device)
        self.rounded, self.normalised = round_own_part, normalise_in_style
        if self.device.type == "cuda":  # a compiler joins what would go through memory a dozen times
            self.rounded = torch.compile(round_own_part, dynamic=True)
            self.normalised = torch.compile(normalise_in_style, dynamic=True)
        products = Products(graph)
        self.steps: list[Step] = []
        in_time = False  # whether what comes has frames, not tokens
        with torch.inference_mode():
            for node in graph.node:
                if ALIGNMENT in node.output:
                    self.steps.append((align, False, [DURATIONS], [ALIGNMENT, FRAMES, SHARE], {}))
                    in_time = True
                elif in_time and node.op_type == "ReduceMean":
                    self.steps.append((mean_over_time, False, [*node.input, SHARE], list(node.output), {}))
                elif node.output[0] in products.found:
                    self.steps.append(self._product(products.found[node.output[0]], list(node.output), in_time=in_time))
                elif node.op_type == "DynamicQuantizeLSTM":
                    self.steps.append(self._lstm(node, in_time=in_time))
                elif node.op_type in OPERATORS:
                    self._add(node)
            self.steps.append((join_overlaps, False, [OVERLAPPED, WINDOW_SUM], [SPEECH], {}))
            self._keep_what_is_needed()
            self._fuse()
        self.dying = self._last_uses()

    def _add(self, node: onnx.NodeProto) -> None:
        """Append a node to the steps."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if "value" in attributes:
            attributes["value"] = numpy_helper.to_array(attributes["value"])
        mixes = node.op_type not in SHAPE_TAKING
        self.steps.append((OPERATORS[node.op_type], mixes, list(node.input), list(node.output), attributes))

    def _product(self, product: Product, outputs: list[str], *, in_time: bool) -> Step:
        """Return the step of a quantised product, and keep its weight as a constant."""
        integers, zero = self.constants[product.weight].float(), self.constants[product.zero].float()
        scale = self.constants[product.scale].float()
        operator: Operator = quantised_matmul
        if product.node.op_type == "ConvInteger":
            operator = self._convolve_in_time if in_time else quantised_conv
        name = f"{product.weight} of {outputs[0]}"
        self.constants[name] = ((integers - zero) * scale).to(self.device)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in product.node.attribute}
        inputs = [product.activation, name, *([product.bias] if product.bias else [])]
        inputs += [SHARE] if in_time and operator is not quantised_matmul else []
        return operator, False, inputs, outputs, attributes

    def _keep_what_is_needed(self) -> None:
        needed, kept = {SPEECH, FRAMES}, []
        for step in reversed(self.steps):
            if needed.intersection(step[3]):
                needed.update(step[2])
                kept.append(step)
        self.steps = kept[::-1]
        known = {*self.constants, *self.inputs, *(name for step in kept for name in step[3])}
        if missing := sorted(name for step in kept for name in step[2] if name and name not in known):
            message = f"not the graph of Kokoro-82M that these scripts know: nothing that they know makes {missing[0]}"
            raise ValueError(message)

    def _lstm(self, node: onnx.NodeProto, *, in_time: bool) -> Step:
        constants = [self.constants[node.input[k]] for k in (1, 2, 3, 8, 9, 10, 11)]
        hidden = next(a.i for a in node.attribute if a.name == "hidden_size")
        inputs = [node.input[0], FRAMES] if in_time else [node.input[0]]
        return make_lstm(constants, hidden, self.device), False, inputs, [node.output[0]], {}

    def _convolve_in_time(self, x: list[Tensor], a: Attributes) -> Tensor:
        """Return the convolution of rounded activations; the last input is each row's share of the time."""
        return conv([self.rounded(x[0], x[-1]), *x[1:-1]], a)

    def _normalise(self, x: list[Tensor], _: Attributes) -> Tensor:
        return self.normalised(x[0], x[1], x[2], (x[3], x[4]), (x[5], x[6]) if len(x) > 5 else None)

    def _fuse(self) -> None:
        """Make one step of each normalisation in style."""
        norms = Norms(self.steps)
        steps: list[Step] = []
        made: dict[str, Step] = {}
        for step in self.steps:
            if step[0] is OPERATORS["Div"] and (found := norms.find(step)):
                (x, *rest), output = found
                for name in self.constants.keys() & rest:
                    self.constants[name] = self.constants[name].to(self.device)
                made[output] = (self._normalise, False, [x, SHARE, *rest], [output], {})
            steps.append(made.get(step[3][0], step))
        self.steps = steps
        self._keep_what_is_needed()

    def _last_uses(self) -> list[list[str]]:
        last: dict[str, int] = {}
        for i, (_, _, inputs, outputs, _) in enumerate(self.steps):
            for name in (*inputs, *outputs):
                if name and name not in self.constants and name not in (SPEECH, FRAMES):
                    last[name] = i
        dying: list[list[str]] = [[] for _ in self.steps]
        for name, i in last.items():
            dying[i].append(name)
        return dying

    @staticmethod
    def _run(step: Step, values: dict[str, Tensor]) -> None:
        operator, mixes, inputs, outputs, attributes = step
        taken: list[Tensor | None] = [values[name] if name else None for name in inputs]
        results = operator(together(taken) if mixes else taken, attributes)
        values.update(zip(outputs, results if isinstance(results, tuple) else (results,), strict=False))

    def __call__(self, tokens: Tensor, styles: Tensor, speeds: Tensor) -> list[Tensor]:
        """Return 24 kHz speech [samples] for each row.

        Args:
            tokens: [rows, n], with the silence (0) at both ends; all rows have the same number of tokens.
            styles: [rows, 256].
            speeds: [rows].
        """
        given = (tokens.to(self.device), styles.to(self.device), speeds.to(self.device)[:, None])
        values = dict(self.constants)
        values.update(zip(self.inputs, given, strict=True))
        with torch.inference_mode():
            for step, dying in zip(self.steps, self.dying, strict=True):
                self._run(step, values)
                for name in dying:
                    values.pop(name, None)
        frames = values[FRAMES].tolist()
        return [row[: count * FRAME_SAMPLES] for row, count in zip(values[SPEECH], frames, strict=True)]


class TorchKokoro:
    """Speaks with PyTorch on one device; takes the place of `kokoro.Kokoro`."""

    def __init__(self, model: Path, device: str = "cpu") -> None:
        self.graph = TorchGraph(model, device)

    def speak(self, tokens: Sequence[int], style: NDArray[np.float32], speed: float = 1.0) -> NDArray[np.float32]:
        """Return 24 kHz speech of a row of tokens in one style [256]."""
        (audio,) = self.graph(torch.tensor([[0, *tokens, 0]]), torch.from_numpy(style)[None], torch.tensor([speed]))
        return cast("NDArray[np.float32]", audio.cpu().numpy())
