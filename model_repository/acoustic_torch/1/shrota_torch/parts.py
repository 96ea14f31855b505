"""The engine's parts: feature extractor, position embedding, encoder layer. Weights are laid out once, when loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shrota_torch.kernels import (
    FIRST_TAPS,
    FP8,
    Quantized,
    add_norm,
    attention,
    first_convolution,
    gelu,
    norm_gelu,
    product8,
    quantized,
)
from shrota_torch.plan import REMEDY, EngineFileError

POSITION_BLOCK = 16
"""Frames that one product of the position embedding computes: of more the weights grow, of fewer the gathered input."""


@dataclass(frozen=True)
class Weights:
    """Weights of one part of the engine, and where they go.

    Attributes:
        tensors: all, by name.
        prefix: of the part's names.
        device: to run on.
        dtype: of matrix products.
        epsilon: of LayerNorms.
    """

    tensors: Mapping[str, Tensor]
    prefix: str
    device: torch.device
    dtype: torch.dtype
    epsilon: float

    def part(self, name: str) -> "Weights":
        """Of a part of this part."""
        return Weights(self.tensors, f"{self.prefix}{name}.", self.device, self.dtype, self.epsilon)

    def raw(self, name: str) -> Tensor:
        """As they are in the file: float32, on the processor.

        Raises:
            EngineFileError: they are not there.
        """
        try:
            return self.tensors[self.prefix + name]
        except KeyError:
            raise EngineFileError(f"the engine lacks {self.prefix}{name}: {REMEDY}") from None

    def low(self, name: str) -> Tensor:
        """For a matrix product."""
        return self.raw(name).to(self.device, self.dtype).contiguous()

    def norm(self, name: str) -> nn.LayerNorm:
        """A LayerNorm, in float32."""
        weight = self.raw(f"{name}.weight")
        norm = nn.LayerNorm(weight.shape[0], eps=self.epsilon)
        with torch.no_grad():
            norm.weight.copy_(weight)
            norm.bias.copy_(self.raw(f"{name}.bias"))
        return norm.to(self.device).requires_grad_(requires_grad=False)


class Extractor:
    """The convolutions as matrix products over channels-last rows, on views: nothing is copied or transposed.

    With the rows [B * L, C] of one layer seen as [B * L / S, S * C], a frame's taps are a block of its own and, where
    the kernel is longer than the stride, the beginning of the next: a view whose rows are S * C apart.
    """

    def __init__(self, weights: Weights, kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.kernels, self.strides = kernels, strides
        parts = [weights.part(str(index)) for index in range(len(kernels))]
        self.taps = [part.low("weight") for part in parts]  # [kernel * C, channels]
        self.taps[0] = functional.pad(self.taps[0], (0, 0, 0, FIRST_TAPS - kernels[0])).contiguous()
        self.biases = [part.low("bias") for part in parts]
        self.norms = [part.norm("norm") for part in parts]

    def __call__(self, audio: Tensor) -> Tensor:
        """Audio [B, T], contiguous, T a multiple of all strides -> [B, T / strides, C].

        The last frame of a row sees the next row: it is none of its frames.
        """
        rows = audio.shape[0]
        kernel, stride = self.kernels[0], self.strides[0]
        x = first_convolution(audio, self.taps[0], self.biases[0], self.norms[0], stride=stride, kernel=kernel)
        layers = zip(self.kernels[1:], self.strides[1:], self.taps[1:], self.biases[1:], self.norms[1:], strict=True)
        for kernel, stride, taps, bias, norm in layers:
            width = x.shape[1]
            blocks = x.view(-1, stride * width)
            y = torch.addmm(bias, blocks[:, : min(kernel, stride) * width], taps[: min(kernel, stride) * width])
            if kernel > stride:
                y[:-1].addmm_(blocks[1:, : (kernel - stride) * width], taps[stride * width :])
            x = norm_gelu(y, norm)
        return x.view(rows, -1, x.shape[1])


class Position:
    """The grouped convolution over frames, a block of frames a product of each group.

    Its weights are those of the convolution, shifted by a frame for each frame of the block, with zeros around them.
    """

    def __init__(self, weights: Weights) -> None:
        raw = weights.raw("weight")  # [G, taps, in, out]
        self.groups, taps, width, out = raw.shape
        self.left = taps // 2
        self.blocks = -(-(POSITION_BLOCK + taps - 1) // POSITION_BLOCK)
        shifted = torch.zeros(self.groups, self.blocks * POSITION_BLOCK, width, POSITION_BLOCK, out)
        for frame in range(POSITION_BLOCK):
            shifted[:, frame : frame + taps, :, frame] = raw
        flat = shifted.reshape(self.groups, self.blocks * POSITION_BLOCK * width, POSITION_BLOCK * out)
        self.weight = flat.to(weights.device, weights.dtype)
        self.bias = weights.low("bias")
        self.width = width

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden [B, F, H], zero where there is no frame -> [B, F, H]."""
        rows, frames, size = hidden.shape
        count = -(-frames // POSITION_BLOCK)
        total = (count + self.blocks - 1) * POSITION_BLOCK
        padded = functional.pad(hidden, (0, 0, self.left, total - frames - self.left))
        shape = (self.groups, rows, count, self.blocks * POSITION_BLOCK, self.width)
        steps = (self.width, total * size, POSITION_BLOCK * size, size, 1)
        seen = padded.contiguous().as_strided(shape, steps).reshape(self.groups, rows * count, -1)
        found = torch.bmm(seen, self.weight).view(self.groups, rows, count, POSITION_BLOCK, self.width)
        found = found.permute(1, 2, 3, 0, 4).reshape(rows, count * POSITION_BLOCK, size)[:, :frames]
        return gelu((found + self.bias).contiguous())


class Product:
    """A matrix product with a bias, in the engine's type."""

    def __init__(self, weights: Weights, name: str) -> None:
        self.takes = weights.dtype
        self._bias, self._weight = weights.low(f"{name}.bias"), weights.low(f"{name}.weight")

    def __call__(self, x: Any) -> Tensor:
        """Of what :func:`~shrota_torch.kernels.add_norm` gave, asked for ``takes``."""
        return torch.addmm(self._bias, x, self._weight)

    def of(self, x: Tensor) -> Tensor:
        """Of x [N, C], contiguous."""
        return self(x)

    def of_gelu(self, x: Tensor) -> Tensor:
        """Of its GELU; x may be changed."""
        return self(gelu(x))


class Product8(Product):
    """The same in 8 bits: weights with a scale for each output, what comes in with one for each row."""

    def __init__(self, weights: Weights, name: str) -> None:
        self.takes = FP8
        self._bias = weights.low(f"{name}.bias")
        values, scales = quantized(weights.raw(f"{name}.weight").t().contiguous())  # as a row each, an output
        self._columns = Quantized(values.to(weights.device).t(), scales.to(weights.device).t().contiguous())

    def __call__(self, x: Any) -> Tensor:
        """See :meth:`Product.__call__`."""
        return product8(x, self._columns, self._bias)

    def of(self, x: Tensor) -> Tensor:
        """See :meth:`Product.of`."""
        return self(quantized(x))

    def of_gelu(self, x: Tensor) -> Tensor:
        """See :meth:`Product.of_gelu`."""
        return self(quantized(x, activate=True))


class Layer:
    """A layer of the encoder that normalises first; rows one behind the other, residual stream in float32.

    Args:
        weights: of the layer.
        heads: of attention.
        product: :class:`Product`, or :class:`Product8`.
    """

    def __init__(self, weights: Weights, heads: int, product: type[Product] = Product) -> None:
        self.heads = heads
        self._qkv, self._out, self._up, self._down = (product(weights, name) for name in ("qkv", "out", "up", "down"))
        self._norm_attention, self._norm_feed = weights.norm("norm1"), weights.norm("norm2")

    def __call__(self, residual: Tensor, added: Tensor | None, blocks: Tensor) -> Tensor:
        """Residual [N, H] float32, which is changed, and what is still to be added to it -> what is to be added next.

        Args:
            residual: the stream.
            added: [N, H]; None for nothing.
            blocks: see :func:`~shrota_torch.kernels.attention`.
        """
        joined = self._qkv(add_norm(residual, added, self._norm_attention, self._qkv.takes))
        found = attention(joined, blocks, self.heads)
        hidden = add_norm(residual, self._out.of(found), self._norm_feed, self._up.takes)
        return self._down.of_gelu(self._up(hidden))
