"""The kernels in Triton's language (that of PyTorch's compiler; no part of the server of the same name)."""

import triton
import triton.language as tl


@triton.jit
def _erf(x):
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7, half the cost of CUDA's."""
    a = tl.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * a)
    p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    r = 1.0 - p * tl.exp(-a * a)
    return tl.where(x < 0, -r, r)


@triton.jit
def _gelu(x):
    """GELU with erf."""
    return 0.5 * x * (1.0 + _erf(x * 0.7071067811865476))


@triton.jit
def _normalized(x, mask, width, weight, bias, c, inside, epsilon):
    """Rows [R, C] of which the first ``width`` columns count -> LayerNorm of each."""
    mean = tl.sum(tl.where(mask, x, 0.0), 1) / width
    deviation = tl.where(mask, x - mean[:, None], 0.0)
    variance = tl.sum(deviation * deviation, 1) / width
    gain = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
    return deviation * tl.rsqrt(variance + epsilon)[:, None] * gain[None, :] + shift[None, :]


@triton.jit
def norm_gelu(x, weight, bias, rows, width, epsilon, C: tl.constexpr, R: tl.constexpr):
    """Turns x [rows, width] into GELU(LayerNorm(x)), in place; C columns, ``width`` of which count, R rows each."""
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    c = tl.arange(0, C)
    inside = c < width
    mask = (r < rows)[:, None] & inside[None, :]
    place = x + r[:, None] * width + c[None, :]
    value = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    value = _gelu(_normalized(value, mask, width, weight, bias, c, inside, epsilon))
    tl.store(place, value.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _scale(value):
    """Of a row [1, C] in e4m3, whose largest number is 448."""
    return tl.maximum(tl.max(tl.abs(value)) / 448.0, 1e-12)


@triton.jit
def add_norm(
    x,
    added,
    out,
    scales,
    weight,
    bias,
    rows,
    width,
    epsilon,
    C: tl.constexpr,
    ADD: tl.constexpr,
    QUANTIZE: tl.constexpr,
):
    """X [rows, width] += added if ADD; out = LayerNorm(x), if QUANTIZE in 8 bits with a scale; a row each."""
    r = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    c = tl.arange(0, C)
    inside = c < width
    mask = (r < rows)[:, None] & inside[None, :]
    place = r[:, None] * width + c[None, :]
    value = tl.load(x + place, mask=mask, other=0.0)
    if ADD:
        value += tl.load(added + place, mask=mask, other=0.0).to(tl.float32)
        tl.store(x + place, value, mask=mask)
    value = _normalized(value, mask, width, weight, bias, c, inside, epsilon)
    if QUANTIZE:
        scale = _scale(value)
        tl.store(scales + tl.program_id(0), scale)
        value = value / scale
    tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def quantize(x, out, scales, width, C: tl.constexpr, ACTIVATE: tl.constexpr):
    """X [rows, width], its GELU if ACTIVATE, in 8 bits with a scale; a row each."""
    r = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, C)
    mask = c < width
    value = tl.load(x + r * width + c, mask=mask, other=0.0).to(tl.float32)
    if ACTIVATE:
        value = _gelu(value)
    scale = _scale(value)
    tl.store(scales + r, scale)
    tl.store(out + r * width + c, (value / scale).to(out.dtype.element_ty), mask=mask)


@triton.jit
def attention(joined, out, blocks, width, size, scale, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """Joined [frames, 3 * width], queries, keys and values of heads of ``size`` -> out [frames, width].

    A program has one head of a block of M frames, which ``blocks`` names: where its row begins and ends, its first
    frame. ``scale`` is that of base 2. Online softmax: Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv
    2205.14135.
    """
    entry = blocks + tl.program_id(0) * 3
    begin = tl.load(entry)
    end = tl.load(entry + 1)
    first = tl.load(entry + 2)
    if first >= end:
        return
    m = first + tl.arange(0, M)
    n = tl.arange(0, N)
    d = tl.arange(0, D)
    head = tl.program_id(1) * size
    step = 3 * width
    inside = d < size
    mask = (m < end)[:, None] & inside[None, :]
    query = tl.load(joined + m.to(tl.int64)[:, None] * step + (head + d)[None, :], mask=mask, other=0.0)
    keys = joined + width + (begin + n).to(tl.int64)[None, :] * step + (head + d)[:, None]
    values = joined + 2 * width + (begin + n).to(tl.int64)[:, None] * step + (head + d)[None, :]
    best = tl.full([M], float("-inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    found = tl.zeros([M, D], tl.float32)
    whole = (end - begin) // N
    for _ in tl.range(0, whole):
        score = tl.dot(query, tl.load(keys, mask=inside[:, None], other=0.0)) * scale
        value = tl.load(values, mask=inside[None, :], other=0.0)
        best, total, found = _attended(score, value, best, total, found)
        keys += N * step
        values += N * step
    rest = end - begin - whole * N
    if rest > 0:
        seen = n < rest
        score = tl.dot(query, tl.load(keys, mask=inside[:, None] & seen[None, :], other=0.0)) * scale
        value = tl.load(values, mask=seen[:, None] & inside[None, :], other=0.0)
        score = tl.where(seen[None, :], score, float("-inf"))
        best, total, found = _attended(score, value, best, total, found)
    found = found / total[:, None]
    tl.store(out + m.to(tl.int64)[:, None] * width + (head + d)[None, :], found.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _attended(score, value, best, total, found):
    """The softmax so far, with the scores [M, N] and values [N, D] of further keys."""
    more = tl.maximum(best, tl.max(score, 1))
    share = tl.exp2(score - more[:, None])
    fade = tl.exp2(best - more)
    found = tl.dot(share.to(value.dtype), value, found * fade[:, None])
    return more, total * fade + tl.sum(share, 1), found


@triton.jit
def first_convolution(
    audio,
    taps,
    tap_bias,
    weight,
    bias,
    out,
    frames,
    samples,
    width,
    epsilon,
    STRIDE: tl.constexpr,
    KERNEL: tl.constexpr,
    K: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
):
    """Audio [rows, samples] -> out [rows * frames, width]: product with the taps, LayerNorm, GELU; R frames each."""
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
def gelu(x, count, BLOCK: tl.constexpr):
    """X [count] -> GELU(x), in place."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(x + at, _gelu(value).to(x.dtype.element_ty), mask=mask)
