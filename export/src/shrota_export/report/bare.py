"""IndicWav2Vec-Hindi's model as transformers has it, exported bare, to compare its operators with published ones."""

from collections import Counter
from pathlib import Path
from types import MethodType
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from shrota_export.exporters import OPSET, only_unexpected_warnings
from shrota_export.random_checkpoint import Shape, make_config

ATTENTION = {"written out": "eager", "PyTorch's own": "sdpa", "of transformers 4": "eager"}
"""Ways through attention, and what transformers calls them."""
OLD = "of transformers 4"
NARROW = Shape(hidden_size=64, conv_dim=32)
"""All layers, but narrow: the width changes no node."""


class Bare(nn.Module):  # type: ignore[misc]
    """Normalised audio [B, T] to logits [B, F, V], without a mask."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.model(audio).logits
        return logits


def attend_as_transformers_4(self: Any, hidden_states: Tensor, **_others: Any) -> tuple[Tensor, None]:
    """Attention with the heads in the batch, as ``Wav2Vec2Attention`` had it when the model was published.

    Without a mask: hidden states [B, F, H] -> [B, F, H], and no weights.
    """
    batch, frames, _ = hidden_states.size()
    merged = (batch * self.num_heads, -1, self.head_dim)

    def shape(tensor: Tensor, length: int) -> Tensor:
        return tensor.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2).contiguous()

    queries = shape(self.q_proj(hidden_states) * self.scaling, frames).view(*merged)
    keys = shape(self.k_proj(hidden_states), -1).view(*merged)
    values = shape(self.v_proj(hidden_states), -1).view(*merged)
    weights = torch.softmax(torch.bmm(queries, keys.transpose(1, 2)), dim=-1)
    context = torch.bmm(weights, values).view(batch, self.num_heads, frames, self.head_dim)
    return self.out_proj(context.transpose(1, 2).reshape(batch, frames, self.embed_dim)), None


def count_bare(folder: Path, like: str = "indicwav2vec-hindi") -> dict[str, Counter[str]]:
    """Operators of the bare model by its way through attention, with the exporter and opset of our graph.

    Args:
        folder: for a file that is removed again.
        like: the published architecture.
    """
    found = {}
    for name, implementation in ATTENTION.items():
        config = Wav2Vec2Config.from_dict(make_config(like, NARROW))
        config._attn_implementation = implementation  # noqa: SLF001 - transformers' own name for it
        inner = Wav2Vec2ForCTC(config)
        if name == OLD:
            for layer in inner.wav2vec2.encoder.layers:
                layer.attention.forward = MethodType(attend_as_transformers_4, layer.attention)
        model = Bare(inner).eval()
        path = folder / "bare.onnx"
        with torch.no_grad(), only_unexpected_warnings():
            torch.onnx.export(
                model,
                (torch.zeros(2, 16000),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["audio"],
                output_names=["logits"],
                dynamic_axes={"audio": {0: "B", 1: "T"}, "logits": {0: "B", 1: "F"}},
            )
        found[name] = Counter(node.op_type for node in onnx.load(path).graph.node)
        path.unlink()
    return found
