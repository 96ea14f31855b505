"""What lies between the matrix products, one pass over memory each: kernels on a GPU, plain PyTorch elsewhere.

The processor's versions compute the same in float32 and are there for tests of what surrounds them.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from shrota_torch.layout import BLOCK

try:
    from shrota_torch import device_kernels
except ImportError:  # no Triton's language, as where PyTorch is for processors only
    device_kernels = None  # type: ignore[assignment]

HAS_KERNELS = device_kernels is not None
NORM_ROWS = 4
"""Rows that one program normalises."""
FIRST_ROWS, FIRST_TAPS = 16, 16
"""Frames of the first convolution that one program computes, and to how many its taps are filled up: what a tensor core
takes at least."""
GELU_BLOCK = 4096
ATTENTION_KEYS = 64
"""Keys that attention looks at at a time."""
FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
"""The largest e4m3 number."""
LEAST_SCALE = 1e-12


class Quantized(NamedTuple):
    """Rows in 8 bits: ``values * scales`` is what they stand for.

    A row has a scale of its own, so that a neighbour in the batch does not change it.
    """

    values: Tensor
    """[N, C], e4m3."""
    scales: Tensor
    """[N, 1] float32."""


def _parts(count: int, size: int) -> int:
    return -(-count // size)


def _width(columns: int) -> int:
    return 1 << (columns - 1).bit_length()


def norm_gelu(x: Tensor, norm: Any) -> Tensor:
    """LayerNorm, then GELU, of [N, C], in place on a GPU.

    Args:
        x: contiguous.
        norm: a :class:`torch.nn.LayerNorm` over C.
    """
    if not x.is_cuda:
        value = functional.layer_norm(
            x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps
        )
        return functional.gelu(value).to(x.dtype)
    rows, width = x.shape
    device_kernels.norm_gelu[(_parts(rows, NORM_ROWS),)](
        x, norm.weight, norm.bias, rows, width, norm.eps, C=_width(width), R=NORM_ROWS, num_warps=4
    )
    return x


def add_norm(residual: Tensor, added: Tensor | None, norm: Any, dtype: torch.dtype) -> "Tensor | Quantized":
    """Adds to the residual stream, in place, and gives its LayerNorm.

    Args:
        residual: [N, H] float32, contiguous; is changed.
        added: [N, H], contiguous; None for nothing.
        norm: a :class:`torch.nn.LayerNorm` over H.
        dtype: of the result; :data:`FP8` for 8 bits with scales.

    Returns:
        [N, H].
    """
    if not residual.is_cuda:
        if added is not None:
            residual += added
        weight, bias = norm.weight.float(), norm.bias.float()
        value = functional.layer_norm(residual, norm.normalized_shape, weight, bias, norm.eps)
        return _quantized(value) if dtype == FP8 else value.to(dtype)
    rows, width = residual.shape
    out = torch.empty(residual.shape, device=residual.device, dtype=dtype)
    scales = torch.empty(rows if dtype == FP8 else 0, 1, device=residual.device)
    device_kernels.add_norm[(rows,)](
        residual,
        residual if added is None else added,
        out,
        scales,
        norm.weight,
        norm.bias,
        rows,
        width,
        norm.eps,
        C=_width(width),
        ADD=added is not None,
        QUANTIZE=dtype == FP8,
        num_warps=4,
    )
    return Quantized(out, scales) if dtype == FP8 else out


def quantized(x: Tensor, *, activate: bool = False) -> Quantized:
    """Rows [N, C] in 8 bits, contiguous; of their GELU (with erf) if ``activate``."""
    if not x.is_cuda:
        return _quantized(functional.gelu(x.float()) if activate else x.float())
    rows, width = x.shape
    out = torch.empty(x.shape, device=x.device, dtype=FP8)
    scales = torch.empty(rows, 1, device=x.device)
    device_kernels.quantize[(rows,)](x, out, scales, width, C=_width(width), ACTIVATE=activate, num_warps=4)
    return Quantized(out, scales)


def _quantized(x: Tensor) -> Quantized:
    """The processor's version, of float32."""
    scales = (x.abs().amax(1, keepdim=True) / FP8_MAX).clamp(min=LEAST_SCALE)
    return Quantized((x / scales).to(FP8), scales)


def product8(x: Quantized, weight: Quantized, bias: Tensor) -> Tensor:
    """X @ weight + bias, [N, M], in the type of the bias.

    Args:
        x: [N, C].
        weight: [C, M] with scales [1, M]; in memory column by column.
        bias: [M].
    """
    if not x.values.is_cuda:
        return ((x.values.float() @ weight.values.float()) * x.scales * weight.scales + bias.float()).to(bias.dtype)
    return torch._scaled_mm(  # noqa: SLF001 - PyTorch has no public name for it yet
        x.values, weight.values, x.scales, weight.scales, bias, out_dtype=bias.dtype, use_fast_accum=True
    )


def gelu(x: Tensor) -> Tensor:
    """GELU (with erf), in place on a GPU; contiguous."""
    if not x.is_cuda:
        return functional.gelu(x.float()).to(x.dtype)
    count = x.numel()
    device_kernels.gelu[(_parts(count, GELU_BLOCK),)](x, count, BLOCK=GELU_BLOCK, num_warps=8)
    return x


def first_convolution(audio: Tensor, taps: Tensor, bias: Tensor, norm: Any, *, stride: int, kernel: int) -> Tensor:
    """The convolution of the waveform, its LayerNorm and GELU.

    Args:
        audio: [B, T] float32, contiguous, T a multiple of the stride.
        taps: [FIRST_TAPS, C], zero behind the kernel.
        bias: [C].
        norm: a :class:`torch.nn.LayerNorm` over C.
        stride: in samples.
        kernel: taps that count, at most FIRST_TAPS.

    Returns:
        [B * T / stride, C]; the last frames of a row, whose taps end behind it, mean nothing.
    """
    rows, samples = audio.shape
    frames, width = samples // stride, taps.shape[1]
    if not audio.is_cuda:
        seen = functional.pad(audio, (0, kernel - stride)).unfold(1, kernel, stride).to(taps.dtype)
        return norm_gelu((seen @ taps[:kernel] + bias).reshape(rows * frames, width), norm)
    out = torch.empty(rows * frames, width, device=audio.device, dtype=taps.dtype)
    device_kernels.first_convolution[(_parts(frames, FIRST_ROWS), rows)](
        audio,
        taps,
        bias,
        norm.weight,
        norm.bias,
        out,
        frames,
        samples,
        width,
        norm.eps,
        STRIDE=stride,
        KERNEL=kernel,
        K=FIRST_TAPS,
        C=_width(width),
        R=FIRST_ROWS,
        num_warps=4,
    )
    return out


def attention(joined: Tensor, blocks: Tensor, heads: int) -> Tensor:
    """Attention of each row within itself, rows one behind the other.

    Args:
        joined: [N, 3 * H], contiguous: queries, keys and values of all heads.
        blocks: [K, 3] int32, on the same device, see :class:`~shrota_torch.layout.Layout`; those that begin behind the
            end of their row are none.
        heads: that H is parted in.

    Returns:
        [N, H]; what is in no block means nothing.
    """
    count, width = joined.shape[0], joined.shape[1] // 3
    size = width // heads
    if joined.is_cuda:
        out = torch.empty(count, width, device=joined.device, dtype=joined.dtype)
        device_kernels.attention[(len(blocks), heads)](
            joined,
            out,
            blocks,
            width,
            size,
            math.log2(math.e) / math.sqrt(size),
            D=_width(size),
            M=BLOCK,
            N=ATTENTION_KEYS,
            num_warps=8,
            num_stages=3,
        )
        return out
    out = torch.zeros(count, width, dtype=joined.dtype)
    for begin, end, first in blocks.tolist():
        if begin == first < end:
            row = joined[begin:end].view(end - begin, 3, heads, size).permute(1, 2, 0, 3)
            found = functional.scaled_dot_product_attention(*row)
            out[begin:end] = found.transpose(0, 1).reshape(end - begin, width)
    return out
