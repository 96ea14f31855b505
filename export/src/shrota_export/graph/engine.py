# mypy: disallow-subclassing-any=False
"""The engine: raw audio of any lengths in, log-probabilities out, every row as it would be alone.

The layers are those of the Hugging Face model; only the way through them is ours, because theirs lets padding in: the
group norm of the feature extractor, the batch norm of HuBERT's position embedding and the stacked convolutions of
data2vec's see what lies behind the end.
"""

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from shrota_export.frontend import receptive_field_and_stride
from shrota_export.graph.constants import MASKED_SCORE
from shrota_export.graph.normalization import AudioNormalizer, MaskedGroupNorm, count_frames
from shrota_export.graph.position import PositionEmbedding, make_position_embedding
from shrota_export.graph.products import ProductExtractor, ProductPositionEmbedding
from shrota_export.graph.wavlm import GatedRelativeAttention, PositionBias


class Target(StrEnum):
    """What the graph is made for: the results are the same, the form of the convolutions is not."""

    CPU = "cpu"
    """convolutions, as the checkpoint has them"""
    GPU = "gpu"
    """matrix products in their place, see :mod:`shrota_export.graph.products`"""


class AcousticEngine(nn.Module):
    """A CTC model of the wav2vec 2.0 family from raw audio on; takes the layers of ``model`` over."""

    def __init__(self, model: Any, *, normalize: bool, target: Target = Target.CPU) -> None:
        super().__init__()
        config = model.config
        base = model.base_model
        self.receptive_field, self.stride = receptive_field_and_stride(config.conv_kernel, config.conv_stride)
        self.normalizer = AudioNormalizer(normalize=normalize)
        self.feature_extractor = base.feature_extractor.conv_layers
        first = self.feature_extractor[0]
        norm = getattr(first, "layer_norm", None)
        self.group_norm = (
            MaskedGroupNorm(norm, config.conv_kernel[0], config.conv_stride[0])
            if isinstance(norm, nn.GroupNorm)
            else None
        )
        self.target = target
        self.products: ProductExtractor | None = None
        self.feature_projection = base.feature_projection
        self.position_embedding = make_position_embedding(base.encoder.pos_conv_embed)
        if target is Target.GPU:
            self.products = ProductExtractor(self.feature_extractor, self.receptive_field, self.stride, self.group_norm)
            if isinstance(self.position_embedding, PositionEmbedding):
                self.position_embedding = ProductPositionEmbedding(self.position_embedding)
        self.layers = base.encoder.layers
        self.layer_norm = base.encoder.layer_norm
        self.norm_first = bool(getattr(config, "do_stable_layer_norm", False))
        self.position_bias: PositionBias | None = None
        if config.model_type == "wavlm":
            self.position_bias = PositionBias(self.layers[0].attention)
            for layer in self.layers:
                layer.attention = GatedRelativeAttention(layer.attention)
        self.head = model.lm_head

    def forward(self, audio: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """AUDIO [B, T] float32, NUM_SAMPLES [B, 1] int32 -> LOG_PROBS [B, F, V] (natural log), NUM_FRAMES [B, 1]."""
        audio = self.normalizer(audio, num_samples)
        features = self._extract(audio, num_samples)
        num_frames = count_frames(num_samples, self.receptive_field, self.stride)
        position = torch.arange(features.shape[1], device=features.device, dtype=torch.int32)
        valid = (position.unsqueeze(0) < num_frames).to(features.dtype)
        hidden = self.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        hidden = self._encode(hidden, valid)
        return torch.log_softmax(self.head(hidden), dim=-1), num_frames

    def _extract(self, audio: Tensor, num_samples: Tensor) -> Tensor:
        """Audio [B, T] -> features [B, F, C]."""
        if self.products is not None:
            return self.products(audio, num_samples)
        features = audio.unsqueeze(1)
        for index, layer in enumerate(self.feature_extractor):
            if index == 0 and self.group_norm is not None:
                features = layer.activation(self.group_norm(layer.conv(features), num_samples))
            else:
                features = layer(features)
        return features.transpose(1, 2)

    def _encode(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """The transformer: hidden [B, F, H], valid [B, F] (1.0 for audio, 0.0 for padding) -> [B, F, H]."""
        hidden = hidden * valid.unsqueeze(2)
        hidden = hidden + self.position_embedding(hidden, valid)
        if not self.norm_first:
            hidden = self.layer_norm(hidden)
        mask = ((1.0 - valid) * MASKED_SCORE).unsqueeze(1).unsqueeze(1)
        extra = {} if self.position_bias is None else {"position_bias": self.position_bias(hidden.shape[1])}
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=mask, **extra)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.layer_norm(hidden) if self.norm_first else hidden
