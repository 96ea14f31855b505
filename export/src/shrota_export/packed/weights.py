"""The weights of a Hugging Face model under the names that ``shrota_torch`` reads, in float32."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def unsupported(config: Any) -> str | None:
    """Why a checkpoint has no such engine: one line; None if it has."""
    wanted = {
        "model_type": "wav2vec2",
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "conv_bias": True,
    }
    for name, value in wanted.items():
        if getattr(config, name, None) != value:
            return f"its {name} is {getattr(config, name, None)!r}, and only {value!r} is done; serve acoustic_onnx"
    for name in ("add_adapter", "adapter_attn_dim"):
        if getattr(config, name, None):
            return f"it has adapters ({name}), and none are done; serve acoustic_onnx"
    return None


def packed_weights(model: Any) -> dict[str, Tensor]:
    """All weights of a CTC model that is supported."""
    with torch.no_grad():
        return {name: tensor.detach().float().contiguous() for name, tensor in _tensors(model)}


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    base = model.base_model
    for index, layer in enumerate(base.feature_extractor.conv_layers):
        weight = layer.conv.weight  # [out, in, taps]
        yield f"extractor.{index}.weight", weight.permute(2, 1, 0).reshape(-1, weight.shape[0])
        yield f"extractor.{index}.bias", layer.conv.bias
        yield from _norm(f"extractor.{index}.norm", layer.layer_norm)
    yield from _norm("projection.norm", base.feature_projection.layer_norm)
    yield from _product("projection", base.feature_projection.projection)
    convolution = base.encoder.pos_conv_embed.conv
    out, width, taps = convolution.weight.shape  # the weight norm has been taken together
    grouped = convolution.weight.reshape(convolution.groups, out // convolution.groups, width, taps)
    yield "position.weight", grouped.permute(0, 3, 2, 1)
    yield "position.bias", convolution.bias
    for index, layer in enumerate(base.encoder.layers):
        yield from _layer(f"layers.{index}", layer)
    yield from _norm("final", base.encoder.layer_norm)
    yield from _product("head", model.lm_head)


def _layer(name: str, layer: Any) -> Iterator[tuple[str, Tensor]]:
    attention, feed = layer.attention, layer.feed_forward
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    yield f"{name}.qkv.weight", torch.cat([part.weight for part in parts]).t()
    yield f"{name}.qkv.bias", torch.cat([part.bias for part in parts])
    yield from _product(f"{name}.out", attention.out_proj)
    yield from _product(f"{name}.up", feed.intermediate_dense)
    yield from _product(f"{name}.down", feed.output_dense)
    yield from _norm(f"{name}.norm1", layer.layer_norm)
    yield from _norm(f"{name}.norm2", layer.final_layer_norm)


def _product(name: str, linear: nn.Linear) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", linear.weight.t()
    yield f"{name}.bias", linear.bias


def _norm(name: str, norm: nn.LayerNorm) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", norm.weight
    yield f"{name}.bias", norm.bias
