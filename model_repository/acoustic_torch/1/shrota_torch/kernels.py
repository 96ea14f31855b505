"""What is done between the matrix products, one pass over memory each: Triton kernels on a GPU, plain PyTorch elsewhere.

The processor's versions compute the same in float32 and are there for tests of what surrounds them.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

try:  # Triton's compiler, which comes with PyTorch for CUDA; no part of the server of the same name
    import triton
    import triton.language as tl
except ImportError:
    triton = None

SQRT_HALF = math.sqrt(0.5)
NORM_ROWS = 4
"""Rows that one program normalises."""
FIRST_ROWS, FIRST_TAPS = 16, 16
"""Frames of the first convolution that one program computes, and to how many its taps are filled up: what a tensor core
takes at least."""
GELU_BLOCK = 4096

if triton is not None:

    @triton.jit
    def _erf(x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7, half the cost of CUDA's."""
        a = tl.abs(x)
        t = 1.0 / (1.0 + 0.3275911 * a)
        p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
        r = 1.0 - p * tl.exp(-a * a)
        return tl.where(x < 0, -r, r)

    @triton.jit
    def _gelu(x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return 0.5 * x * (1.0 + _erf(x * 0.7071067811865476))

    @triton.jit
    def _normalized(x, mask, width, weight, bias, c, inside, epsilon):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
        """Rows [R, C] of which the first ``width`` columns count -> LayerNorm of each."""
        mean = tl.sum(tl.where(mask, x, 0.0), 1) / width
        deviation = tl.where(mask, x - mean[:, None], 0.0)
        variance = tl.sum(deviation * deviation, 1) / width
        gain = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
        shift = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
        return deviation * tl.rsqrt(variance + epsilon)[:, None] * gain[None, :] + shift[None, :]

    @triton.jit
    def _norm_gelu_kernel(x, weight, bias, rows, width, epsilon, C: tl.constexpr, R: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, N803, PLR0917
        r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
        c = tl.arange(0, C)
        inside = c < width
        mask = (r < rows)[:, None] & inside[None, :]
        place = x + r[:, None] * width + c[None, :]
        value = tl.load(place, mask=mask, other=0.0).to(tl.float32)
        value = _gelu(_normalized(value, mask, width, weight, bias, c, inside, epsilon))
        tl.store(place, value.to(x.dtype.element_ty), mask=mask)

    @triton.jit
    def _add_norm_kernel(  # type: ignore[no-untyped-def] # noqa: ANN202, PLR0917
        x,  # noqa: ANN001
        added,  # noqa: ANN001
        out,  # noqa: ANN001
        weight,  # noqa: ANN001
        bias,  # noqa: ANN001
        rows,  # noqa: ANN001
        width,  # noqa: ANN001
        epsilon,  # noqa: ANN001
        C: tl.constexpr,  # noqa: N803
        R: tl.constexpr,  # noqa: N803
        ADD: tl.constexpr,  # noqa: N803
    ):
        r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
        c = tl.arange(0, C)
        inside = c < width
        mask = (r < rows)[:, None] & inside[None, :]
        place = r[:, None] * width + c[None, :]
        value = tl.load(x + place, mask=mask, other=0.0)
        if ADD:
            value += tl.load(added + place, mask=mask, other=0.0).to(tl.float32)
            tl.store(x + place, value, mask=mask)
        value = _normalized(value, mask, width, weight, bias, c, inside, epsilon)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _first_kernel(  # type: ignore[no-untyped-def] # noqa: ANN202, PLR0917
        audio,  # noqa: ANN001
        taps,  # noqa: ANN001
        tap_bias,  # noqa: ANN001
        weight,  # noqa: ANN001
        bias,  # noqa: ANN001
        out,  # noqa: ANN001
        frames,  # noqa: ANN001
        samples,  # noqa: ANN001
        width,  # noqa: ANN001
        epsilon,  # noqa: ANN001
        STRIDE: tl.constexpr,  # noqa: N803
        KERNEL: tl.constexpr,  # noqa: N803
        K: tl.constexpr,  # noqa: N803
        C: tl.constexpr,  # noqa: N803
        R: tl.constexpr,  # noqa: N803
    ):
        r = tl.program_id(0) * R + tl.arange(0, R)
        row = tl.program_id(1).to(tl.int64)
        c = tl.arange(0, C)
        k = tl.arange(0, K)
        inside = c < width
        at = r[:, None] * STRIDE + k[None, :]
        seen = tl.load(audio + row * samples + at, mask=(k[None, :] < KERNEL) & (at < samples), other=0.0)
        kernel = tl.load(taps + k[:, None] * width + c[None, :], mask=inside[None, :], other=0.0)
        value = tl.dot(seen.to(kernel.dtype), kernel)
        value += tl.load(tap_bias + c, mask=inside, other=0.0).to(tl.float32)[None, :]
        mask = (r < frames)[:, None] & inside[None, :]
        value = _gelu(_normalized(value, inside[None, :] & (r >= 0)[:, None], width, weight, bias, c, inside, epsilon))
        tl.store(out + (row * frames + r)[:, None] * width + c[None, :], value.to(out.dtype.element_ty), mask=mask)

    @triton.jit
    def _gelu_kernel(x, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, N803
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = at < count
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(x + at, _gelu(value).to(x.dtype.element_ty), mask=mask)


def _width(columns: int) -> int:
    return 1 << (columns - 1).bit_length()


def norm_gelu(x: Tensor, norm: Any) -> Tensor:
    """LayerNorm, then GELU, of [N, C], in place on a GPU.

    Args:
        x: contiguous.
        norm: a :class:`torch.nn.LayerNorm` over C.
    """
    if not x.is_cuda:
        value = functional.layer_norm(x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return functional.gelu(value).to(x.dtype)
    rows, width = x.shape
    grid = (triton.cdiv(rows, NORM_ROWS),)
    _norm_gelu_kernel[grid](x, norm.weight, norm.bias, rows, width, norm.eps, C=_width(width), R=NORM_ROWS, num_warps=4)
    return x


def add_norm(residual: Tensor, added: Tensor | None, norm: Any, dtype: torch.dtype) -> Tensor:
    """Adds to the residual stream, in place, and gives its LayerNorm.

    Args:
        residual: [N, H] float32, contiguous; is changed.
        added: [N, H], contiguous; None for nothing.
        norm: a :class:`torch.nn.LayerNorm` over H.
        dtype: of the result.

    Returns:
        [N, H].
    """
    if not residual.is_cuda:
        if added is not None:
            residual += added
        weight, bias = norm.weight.float(), norm.bias.float()
        return functional.layer_norm(residual, norm.normalized_shape, weight, bias, norm.eps).to(dtype)
    rows, width = residual.shape
    out = torch.empty(residual.shape, device=residual.device, dtype=dtype)
    _add_norm_kernel[(rows,)](
        residual,
        residual if added is None else added,
        out,
        norm.weight,
        norm.bias,
        rows,
        width,
        norm.eps,
        C=_width(width),
        R=1,
        ADD=added is not None,
        num_warps=4,
    )
    return out


def gelu(x: Tensor) -> Tensor:
    """GELU (with erf), in place on a GPU; contiguous."""
    if not x.is_cuda:
        return functional.gelu(x.float()).to(x.dtype)
    count = x.numel()
    _gelu_kernel[(triton.cdiv(count, GELU_BLOCK),)](x, count, BLOCK=GELU_BLOCK, num_warps=8)
    return x


def first_convolution(audio: Tensor, taps: Tensor, bias: Tensor, stride: int, kernel: int, norm: Any) -> Tensor:
    """The convolution of the waveform, its LayerNorm and GELU.

    Args:
        audio: [B, T] float32, contiguous, T a multiple of the stride.
        taps: [FIRST_TAPS, C], zero behind the kernel.
        bias: [C].
        stride: in samples.
        kernel: taps that count, at most FIRST_TAPS.
        norm: a :class:`torch.nn.LayerNorm` over C.

    Returns:
        [B * T / stride, C]; the last frames of a row, whose taps end behind it, mean nothing.
    """
    rows, samples = audio.shape
    frames, width = samples // stride, taps.shape[1]
    if not audio.is_cuda:
        seen = functional.pad(audio, (0, kernel - stride)).unfold(1, kernel, stride).to(taps.dtype)
        return norm_gelu((seen @ taps[:kernel] + bias).reshape(rows * frames, width), norm)
    out = torch.empty(rows * frames, width, device=audio.device, dtype=taps.dtype)
    _first_kernel[(triton.cdiv(frames, FIRST_ROWS), rows)](
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


def attention(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int) -> Tensor:
    """Attention of each row within itself, rows one behind the other.

    Args:
        query: [N, heads, D]; likewise ``key`` and ``value``.
        key: see above.
        value: see above.
        starts: [R + 1] int32, where each row begins, and the end; rows may be empty.
        longest: no row has more frames.

    Returns:
        [N, heads, D].
    """
    if query.is_cuda:
        found = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - what torch.nn.attention.varlen calls
            query, key, value, starts, starts, longest, longest, 0.0, False, False
        )
        return found[0]  # type: ignore[no-any-return]
    out = torch.zeros_like(query)
    bounds = starts.tolist()
    for begin, end in zip(bounds, bounds[1:], strict=False):
        if end > begin:
            parts = [part[begin:end].transpose(0, 1) for part in (query, key, value)]
            out[begin:end] = functional.scaled_dot_product_attention(*parts).transpose(0, 1)
    return out
