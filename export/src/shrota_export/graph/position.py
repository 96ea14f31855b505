# mypy: disallow-subclassing-any=False
"""Convolutional position embeddings that see zeros behind the end of an utterance, as they would if it were alone."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize


def make_position_embedding(embedding: Any) -> nn.Module:
    """The embedding of a Hugging Face encoder (``pos_conv_embed``) with the mask in it and its weight norm resolved."""
    for module in embedding.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    if hasattr(embedding, "layers"):
        return StackedPositionEmbedding(embedding.layers)
    return PositionEmbedding(embedding)


class PositionEmbedding(nn.Module):
    """One grouped convolution over time (wav2vec 2.0, HuBERT, WavLM)."""

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.batch_norm = getattr(embedding, "batch_norm", None)
        self.conv = embedding.conv
        self.padding = embedding.padding
        self.activation = embedding.activation

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Hidden [B, F, H], zero where valid [B, F] is 0 -> [B, F, H]."""
        hidden = hidden.transpose(1, 2)
        if self.batch_norm is not None:
            # it moves the padding's zeros, where an utterance alone would meet the convolution's own
            hidden = self.batch_norm(hidden) * valid.unsqueeze(1)
        return self.activation(self.padding(self.conv(hidden))).transpose(1, 2)


class StackedPositionEmbedding(nn.Module):
    """Several convolutions over time, one after the other (data2vec): each fills the padding that the next one sees."""

    def __init__(self, layers: Any) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Hidden [B, F, H], zero where valid [B, F] is 0 -> [B, F, H]."""
        hidden = hidden.transpose(1, 2)
        for index, layer in enumerate(self.layers):
            if index:
                hidden = hidden * valid.unsqueeze(1)
            hidden = layer(hidden)
        return hidden.transpose(1, 2)
