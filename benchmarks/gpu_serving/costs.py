"""Operations and bytes of a run by formula, and what the card gives of both: the two sides of a roofline.

S. Williams, A. Waterman, D. Patterson: Roofline, Communications of the ACM 52 (2009): a part of a program runs at most
at the card's rate of operations, and at most at its bandwidth times the part's operations for each byte.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from shrota_export.report.sections.architecture import count_flops, count_frames

EXTRACTOR, ATTENTION, PRODUCTS, WHOLE = "feature extractor", "attention", "encoder's products", "the whole run"
BYTES = 2
"""Of a number in 16 bits."""
ENCODER_PARTS = ("attention projections", "feed-forward", "head")
REPEATS, TRIES = 8, 5
SIZES = {"cuda": (8192, 2**31), "cpu": (384, 2**26)}
"""Width of the matrices, bytes of the copy."""


@dataclass(frozen=True)
class Cost:
    """Of one part.

    Attributes:
        flops: floating-point operations of matrix products and convolutions, two for each multiply-add.
        bytes: that memory must move at least: what goes in, once, the weights, once, and what comes out.
    """

    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.bytes


def costs(config: Mapping[str, Any], rows: int, num_samples: int, precision: str) -> dict[str, Cost]:
    """Of the parts of a run, and of all of it.

    Operations are those of :func:`~shrota_export.report.sections.architecture.count_flops`, which is proven against
    PyTorch's own counter. "The whole run" has all of them, those of the position embedding and the projection too.

    Args:
        config: the checkpoint's.
        rows: utterances.
        num_samples: of each.
        precision: "fp8" for products of the encoder's layers whose inputs and weights have 8 bits.
    """
    flops = {name: float(rows * count) for name, count in count_flops(config, num_samples).items()}
    frames = count_frames(config, num_samples)
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    channels = [1, *config["conv_dim"]]
    lengths = [num_samples, *frames]
    taps = zip(config["conv_kernel"], channels, channels[1:], strict=False)
    extractor = BYTES * (
        sum(
            rows * (before * old + after * new)
            for before, after, old, new in zip(lengths, lengths[1:], channels, channels[1:], strict=False)
        )
        + sum(kernel * old * new for kernel, old, new in taps)
    )
    count = rows * frames[-1]
    low = 1 if precision == "fp8" else BYTES
    inputs = 3 * width + inner  # of the four products: qkv, out, up, down
    outputs = 3 * width + width + inner + width
    weights = 4 * width**2 + 2 * width * inner
    head = BYTES * (count * width + width * config["vocab_size"]) + 4 * count * config["vocab_size"]
    products = layers * (low * (count * inputs + weights) + BYTES * count * outputs) + head
    attention = layers * BYTES * count * 4 * width
    groups = config["num_conv_pos_embedding_groups"]
    between = BYTES * (
        count * (channels[-1] + 3 * width)
        + channels[-1] * width
        + config["num_conv_pos_embeddings"] * width * width // groups
    )
    return {
        EXTRACTOR: Cost(flops["feature extractor"], extractor),
        ATTENTION: Cost(flops["attention scores"], attention),
        PRODUCTS: Cost(sum(flops[name] for name in ENCODER_PARTS), products),
        WHOLE: Cost(sum(flops.values()), extractor + attention + products + between),
    }


def card_peaks(device: str) -> dict[str, dict[str, Any]]:
    """What the card gives, measured: matrix products in TFLOP/s, and copying in TB/s; each with how, or why not."""
    width, size = SIZES[device]
    found: dict[str, dict[str, Any]] = {}

    def of_products(make: Callable[[], Callable[[], Any]]) -> float:
        return 2 * width**3 / _best_s(make(), device) / 1e12

    def dense(dtype: torch.dtype) -> Callable[[], Any]:
        a, b = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))
        out = torch.empty(width, width, device=device, dtype=dtype)
        return lambda: torch.matmul(a, b, out=out)

    def eight() -> Callable[[], Any]:
        a, b = (torch.randn(width, width, device=device).to(torch.float8_e4m3fn) for _ in range(2))
        one = torch.ones((), device=device)
        return lambda: torch._scaled_mm(  # noqa: SLF001 - PyTorch has no public name for it yet
            a, b.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=device == "cuda"
        )

    def copying() -> float:
        source = torch.ones(size // 4, device=device)
        target = torch.empty_like(source)
        return 2 * size / _best_s(lambda: target.copy_(source), device) / 1e12

    jobs: dict[str, tuple[str, Callable[[], float]]] = {
        "bf16": (f"torch.matmul, {width} x {width}", lambda: of_products(lambda: dense(torch.bfloat16))),
        "fp16": (f"torch.matmul, {width} x {width}", lambda: of_products(lambda: dense(torch.float16))),
        "fp8": (f"torch._scaled_mm, e4m3, {width} x {width}", lambda: of_products(eight)),
        "bandwidth": (f"a copy of {size / 2**30:g} GiB, read and written", copying),
    }
    for name, (how, job) in jobs.items():
        try:
            found[name] = {"value": job(), "how": how}
        except Exception as error:  # noqa: BLE001 - of one kind
            found[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", "how": how}
    return found


def _best_s(run: Callable[[], Any], device: str) -> float:
    """Seconds of one call, the best of some tries of several."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    run()
    wait()
    tries = []
    for _ in range(TRIES):
        started = time.perf_counter()
        for _ in range(REPEATS):
            run()
        wait()
        tries.append((time.perf_counter() - started) / REPEATS)
    return min(tries)
