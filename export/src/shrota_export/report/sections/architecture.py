"""What the checkpoint consists of: parameters, operations and memory by kind of layer."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.report.material import Material

TITLE = "Architecture"
KINDS = (
    "feature extractor",
    "feature projection",
    "position embedding",
    "attention projections",
    "attention scores",
    "feed-forward",
    "normalisation",
    "head",
    "other",
)
PATTERNS = (
    (r"(^|\.)feature_extractor\.", "feature extractor"),
    (r"(^|\.)feature_projection\.", "feature projection"),
    (r"(^|\.)(pos_conv_embed|position_embedding)\.", "position embedding"),
    (r"\.layers\.\d+\.attention\.|(^|\.)position_bias\.", "attention projections"),
    (r"\.layers\.\d+\.feed_forward\.", "feed-forward"),
    (r"(layer_norm|group_norm)\.(weight|bias)$", "normalisation"),
    (r"^lm_head\.", "head"),
)
"""First come, first served: the norms of the extractor belong to it."""


def kind_of(parameter: str) -> str:
    """The kind of layer that a parameter of the Hugging Face model belongs to."""
    return next((kind for pattern, kind in PATTERNS if re.search(pattern, parameter)), "other")


def count_frames(config: Mapping[str, Any], num_samples: int) -> list[int]:
    """Frames behind each convolution of the extractor."""
    frames, length = [], num_samples
    for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
        length = (length - kernel) // stride + 1
        frames.append(length)
    return frames


def count_flops(config: Mapping[str, Any], num_samples: int) -> dict[str, int]:
    """Floating-point operations of matrix products and convolutions, by formula: two for each multiply-add.

    With F frames, width H, inner width I, N layers, V tokens: projections of attention 4 * 2FH^2 N, scores and their
    use 2 * 2F^2 H N, feed-forward 2 * 2FHI N; a convolution of kernel k from C to D channels in g groups 2k(C/g)D for
    each frame that it gives. Norms, softmax and GELU are left out, as PyTorch's counter leaves them out.

    Args:
        config: the checkpoint's.
        num_samples: of one utterance.
    """
    frames = count_frames(config, num_samples)
    channels = [1, *config["conv_dim"]]
    count, width, layers = frames[-1], config["hidden_size"], config["num_hidden_layers"]
    kernel, depth = config["num_conv_pos_embeddings"], 1
    if config["model_type"] == "data2vec-audio":  # as many small convolutions, one after the other
        kernel, depth = config["conv_pos_kernel_size"], kernel
    positions = count + 2 * (kernel // 2) - kernel + 1
    return {
        "feature extractor": sum(
            2 * size * old * new * length
            for size, old, new, length in zip(config["conv_kernel"], channels, channels[1:], frames, strict=False)
        ),
        "feature projection": 2 * count * channels[-1] * width,
        "position embedding": 2
        * kernel
        * (width // config["num_conv_pos_embedding_groups"])
        * width
        * positions
        * depth,
        "attention projections": 4 * 2 * count * width**2 * layers,
        "attention scores": 2 * 2 * count**2 * width * layers,
        "feed-forward": 2 * 2 * count * width * config["intermediate_size"] * layers,
        "head": 2 * count * width * config["vocab_size"],
    }


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Counts, and runs the engine once under PyTorch's counter and once under its profiler of memory."""
    num_samples = round(material.seconds * material.checkpoint.sample_rate)
    audio = torch.from_numpy(material.audio(material.seconds)[0])
    lengths = torch.tensor([[num_samples]], dtype=torch.int32)
    parameters: Counter[str] = Counter()
    for name, size in material.sizes.items():
        parameters[kind_of(name)] += size
    flops = count_flops(material.config, num_samples)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            material.engine(audio, lengths)
        peak = peak_of_activations(material.engine, audio, lengths)
    total = sum(parameters.values())
    return {
        "seconds": material.seconds,
        "frames": count_frames(material.config, num_samples)[-1],
        "parameters": {kind: parameters[kind] for kind in KINDS if parameters[kind]},
        "flops": flops,
        "counted_flops": counter.get_total_flops(),
        "weight_bytes": {"fp32": 4 * total, "fp16, bf16": 2 * total, "int8": total},
        "activation_peak_bytes": peak,
        "config": {
            name: material.config[name]
            for name in ("model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
        },
    }


def peak_of_activations(
    engine: Callable[[torch.Tensor, torch.Tensor], object], audio: torch.Tensor, lengths: torch.Tensor
) -> int:
    """The most bytes that one run of the engine holds at a time beside its weights, as PyTorch's allocator sees it."""
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        engine(audio, lengths)
    held = most = 0
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return int(most)


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:  # noqa: ARG001
    """A table by kind, one of memory, a picture of both shares."""
    parameters, flops = data["parameters"], data["flops"]
    all_parameters, all_flops = sum(parameters.values()), sum(flops.values())
    config, seconds = data["config"], data["seconds"]
    rows = [
        [
            kind,
            f"{parameters.get(kind, 0):,}",
            percent(parameters.get(kind, 0) / all_parameters),
            number(flops.get(kind, 0) / seconds / 1e9),
            percent(flops.get(kind, 0) / all_flops),
        ]
        for kind in KINDS
        if kind in parameters or kind in flops
    ]
    rows.append(["all", f"{all_parameters:,}", "", number(all_flops / seconds / 1e9), ""])
    apart = data["counted_flops"] / all_flops - 1
    verdict = "as many to the last one" if not apart else f"{abs(100 * apart):.2f} % {'more' if apart > 0 else 'fewer'}"
    memory = [[name, f"{size / 1e6:,.1f} MB"] for name, size in data["weight_bytes"].items()]
    return [
        Paragraph(
            f"{config['model_type']}: {config['num_hidden_layers']} layers, {config['hidden_size']} wide, "
            f"{config['num_attention_heads']} heads, {config['intermediate_size']} inside feed-forward layers. "
            f"{seconds:g} s of audio are {data['frames']} frames and {all_flops / 1e9:,.1f} GFLOP (two for each "
            "multiply-add); attention's scores grow with the square of the length. PyTorch's FlopCounterMode counts "
            f"{verdict} in one run of the engine ({data['counted_flops']:,} beside {all_flops:,} by formula)."
        ),
        Table(
            ["kind of layer", "parameters", "share", "GFLOP per second of audio", "share"],
            rows,
            f"Parameters, and operations of matrix products and convolutions on {seconds:g} s",
        ),
        Table(
            ["memory of", "size"],
            [
                *[[f"weights in {name}", size] for name, size in memory],
                [
                    f"activations at their peak, {seconds:g} s at batch 1",
                    f"{data['activation_peak_bytes'] / 1e6:,.1f} MB",
                ],
            ],
            "Weights: all parameters at 4, 2 and 1 bytes (a real graph keeps some in float32); activations: "
            "float32, as PyTorch's allocator counts them",
        ),
        Picture("architecture", "Shares of the parameters and of the operations by kind of layer", _draw(data)),
    ]


def _draw(data: dict[str, Any]) -> Any:
    figure = new_figure(9, 3)
    axes = figure.add_subplot()
    bars = {"operations": data["flops"], "parameters": data["parameters"]}
    for place, values in enumerate(bars.values()):
        left, total = 0.0, sum(values.values())
        for index, kind in enumerate(KINDS):
            share = values.get(kind, 0) / total
            label = kind if place == 0 or kind not in data["flops"] else None
            label = label if share > 0 or place == 0 else None
            axes.barh(place, share, left=left, color=colour(index), height=0.6, label=label if share else None)
            if share > 0.035:  # noqa: PLR2004 - room for the number
                axes.text(
                    left + share / 2, place, f"{100 * share:.0f} %", ha="center", va="center", color="white", size=8
                )
            left += share
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    style(axes, grid="")
    figure.legend(fontsize=8, ncols=4, loc="outside lower center", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    return [
        ("parameters", sum(data["parameters"].values()), ""),
        ("operations per second of audio", sum(data["flops"].values()) / data["seconds"] / 1e9, "GFLOP"),
        ("activations at their peak", data["activation_peak_bytes"] / 1e6, "MB"),
    ]
