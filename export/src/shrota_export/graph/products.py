# mypy: disallow-subclassing-any=False
"""Convolutions as matrix products over channels-last tensors: the form for GPUs.

A strided convolution is a product of blocks: with the row [L, C] seen as
[L / S, S * C] (no copy), the taps of a frame are its own block and the beginning of the following ones. Nothing is
transposed for LayerNormalization, which works on the last axis, and there is no cuDNN, which looks for an algorithm at
every new length and has none for the grouped convolution over 128 frames in float16. What each form costs on a GPU
stands in docs/benchmarks; on processors ONNX Runtime's own convolutions are faster.
"""

from typing import Any

import torch
from torch import Tensor, nn

POSITION_BLOCK = 4
"""Frames that one product of the position embedding computes: of more the weights grow, of fewer the gathered input."""
ALIGNMENT = 8
"""Half-precision products want their inner dimension to be a multiple."""


class ProductExtractor(nn.Module):
    """The feature extractor; takes the layers of a Hugging Face one over.

    Args:
        layers: its ``conv_layers``.
        receptive_field: samples that one frame sees.
        stride: samples from one frame to the next.
        group_norm: what normalises behind the first convolution in place of its own norm, [B, C, L] and
            NUM_SAMPLES [B, 1] -> [B, C, L]; None if that has none, or one over channels.
    """

    def __init__(self, layers: Any, receptive_field: int, stride: int, group_norm: nn.Module | None) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([ProductConvolution(layer.conv) for layer in layers])
        self.group_norm = group_norm
        norms = [getattr(layer, "layer_norm", None) for layer in layers]
        self.norms = nn.ModuleList([norm if isinstance(norm, nn.LayerNorm) else nn.Identity() for norm in norms])
        self.activations = nn.ModuleList([layer.activation for layer in layers])
        self.receptive_field = receptive_field
        self.stride = stride

    def forward(self, audio: Tensor, num_samples: Tensor) -> Tensor:
        """Audio [B, T], zero behind each utterance's end, NUM_SAMPLES [B, 1] -> features [B, F, C].

        T is filled up to a multiple of the stride, so that every layer's length is one of its own stride. The last
        frame of each layer, whose taps end behind the row, is garbage and is not among the F.
        """
        frames = (audio.shape[1] - (self.receptive_field - self.stride)) // self.stride
        missing = (self.stride - audio.shape[1] % self.stride) % self.stride
        features = nn.functional.pad(audio, (0, missing)).unsqueeze(2)
        layers = zip(self.convolutions, self.norms, self.activations, strict=True)
        for index, (convolution, norm, activation) in enumerate(layers):
            features = convolution(features)
            if index == 0 and self.group_norm is not None:
                features = self.group_norm(features.transpose(1, 2), num_samples).transpose(1, 2)
            features = activation(norm(features))
        return features[:, :frames]


class ProductConvolution(nn.Module):
    """A convolution without padding over [B, L, C], L a multiple of its stride -> [B, L / stride, channels]."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        channels, self.width, self.kernel = weight.shape
        self.stride = convolution.stride[0]
        taps = weight.permute(2, 1, 0).reshape(-1, channels)  # [kernel * C, channels]
        block = self.stride * self.width
        self.is_narrow = block < 64  # noqa: PLR2004 - the waveform: joined blocks cost nothing, short products do
        if self.is_narrow:
            missing = -taps.shape[0] % ALIGNMENT
            self.weights = nn.ParameterList([nn.functional.pad(taps, (0, 0, 0, missing)).contiguous()])
        else:
            self.weights = nn.ParameterList([part.contiguous() for part in taps.split(block)])
        self.bias = None if convolution.bias is None else nn.Parameter(convolution.bias.detach().clone())

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        blocks = features.reshape(features.shape[0], -1, self.stride * self.width)
        result = self._joined(blocks) if self.is_narrow else self._apart(features, blocks)
        return result if self.bias is None else result + self.bias

    def _joined(self, blocks: Tensor) -> Tensor:
        """One product over the blocks that a frame sees, side by side."""
        count = -(-self.kernel // self.stride)
        rows = [nn.functional.pad(blocks[:, index:], (0, 0, 0, index)) for index in range(count)]
        taps = torch.cat(rows, dim=-1)[..., : self.kernel * self.width]
        missing = self.weights[0].shape[0] - self.kernel * self.width
        return nn.functional.pad(taps, (0, missing)) @ self.weights[0]

    def _apart(self, features: Tensor, blocks: Tensor) -> Tensor:
        """A product for each block that a frame sees, of its taps in it."""
        first = self.weights[0]
        result = (blocks if first.shape[0] == blocks.shape[2] else blocks[..., : first.shape[0]]) @ first
        position = torch.arange(blocks.shape[1], device=blocks.device)
        for index, weight in enumerate(list(self.weights)[1:], 1):
            if weight.shape[0] == self.width:  # one tap
                source = torch.clamp((position + index) * self.stride, max=features.shape[1] - 1)
                taps = features.index_select(1, source)
            else:
                source = torch.clamp(position + index, max=blocks.shape[1] - 1)
                taps = blocks.index_select(1, source)[..., : weight.shape[0]]
            result = result + taps @ weight
        return result


class ProductPositionEmbedding(nn.Module):
    """A grouped convolution over frames, several frames a product; takes a Hugging Face ``pos_conv_embed`` over.

    A block of ``POSITION_BLOCK`` frames depends on so many blocks that the kernel needs. Its weights are those of the
    convolution, shifted by a frame for each of the block, with zeros around them.
    """

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        convolution = embedding.conv
        weight = convolution.weight.detach()
        self.groups = convolution.groups
        self.width = weight.shape[1]
        kernel = weight.shape[2]
        self.left = convolution.padding[0]
        self.blocks = -(-(POSITION_BLOCK + kernel - 1) // POSITION_BLOCK)
        by_group = weight.reshape(self.groups, self.width, self.width, kernel).permute(0, 3, 2, 1)  # [G, tap, in, out]
        shifted = torch.zeros(self.groups, self.blocks * POSITION_BLOCK, self.width, POSITION_BLOCK, self.width)
        for frame in range(POSITION_BLOCK):
            shifted[:, frame : frame + kernel, :, frame] = by_group
        self.weight = nn.Parameter(shifted.reshape(self.groups, -1, POSITION_BLOCK * self.width))
        self.bias = nn.Parameter(convolution.bias.detach().clone())
        self.batch_norm = getattr(embedding, "batch_norm", None)
        self.activation = embedding.activation

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """Hidden [B, F, H], zero where valid [B, F] is 0 -> [B, F, H]."""
        if self.batch_norm is not None:
            hidden = self.batch_norm(hidden.transpose(1, 2)).transpose(1, 2) * valid.unsqueeze(2)
        frames = hidden.shape[1]
        count = (frames + POSITION_BLOCK - 1) // POSITION_BLOCK
        missing = (count + self.blocks - 1) * POSITION_BLOCK - frames - self.left
        rows = hidden.reshape(hidden.shape[0], -1, self.groups, self.width).transpose(1, 2)
        rows = nn.functional.pad(rows, (0, 0, self.left, missing))
        rows = rows.reshape(hidden.shape[0], self.groups, -1, POSITION_BLOCK * self.width)
        first = torch.arange(count, device=hidden.device).unsqueeze(1)
        seen = (first + torch.arange(self.blocks, device=hidden.device).unsqueeze(0)).reshape(-1)
        rows = rows.index_select(2, seen).reshape(hidden.shape[0], self.groups, -1, self.weight.shape[1])
        result = (rows @ self.weight).reshape(hidden.shape[0], self.groups, -1, self.width)[:, :, :frames]
        result = result.transpose(1, 2).reshape(hidden.shape[0], -1, self.groups * self.width)
        return self.activation(result + self.bias)
