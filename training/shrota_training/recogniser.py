# mypy: disallow-subclassing-any=False
"""The way through the model while it learns: the steps of Wav2Vec2ForCTC.forward, without a moment's wait for the GPU.

Transformers' own forward asks the GPU several times in a step whether a mask is full and which frames it leaves out,
and the CTC loss fetches lengths from it; every answer empties its queue. Here all lengths are known on the CPU.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2ForCTC

from shrota_training.batches import Batch

MASK_SPAN = 10  # frames of 20 ms
MASKED_SCORE = -1e4  # of a frame behind the end; finite in half precision


class Recogniser(nn.Module):
    """A Wav2Vec2ForCTC as one call."""

    def __init__(self, model: Wav2Vec2ForCTC, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.norm = torch.compile(bias_norm_gelu, dynamic=True) if compiled else bias_norm_gelu
        if compiled:
            for layer in model.wav2vec2.encoder.layers:
                layer.compile(dynamic=True)  # the layers are alike: they are compiled once

    def forward(self, audio: Tensor, frames: Tensor | None, mask_share: Tensor) -> Tensor:
        """Return log-probabilities [2, rows, frames, tokens] in float32, of the last layer and of the middle one.

        Args:
            audio: [rows, samples], normalised.
            frames: [rows] on the audio's device: how many frames of each row are its own; None: all are, which lets
                attention do without a mask.
            mask_share: [] there: how many of the frames are hidden in spans (SpecAugment's time masks).
        """
        base = self.model.wav2vec2
        hidden, _ = base.feature_projection(self._extract(audio))
        if self.training:
            # also where nothing is hidden: every parameter takes part in every step
            masked = base.masked_spec_embed.to(hidden.dtype)
            hidden = torch.where(spans(hidden, mask_share)[:, :, None], masked, hidden)
        mask = None
        if frames is not None:
            valid = torch.arange(hidden.shape[1], device=hidden.device) < frames[:, None]
            hidden = hidden * valid[:, :, None]
            mask = torch.where(valid, 0.0, MASKED_SCORE).to(hidden.dtype)[:, None, None, :]
            mask = mask.expand(-1, 1, hidden.shape[1], -1)
        hidden = base.encoder.dropout(hidden + self._position(hidden))
        middle = hidden
        for number, layer in enumerate(base.encoder.layers):
            hidden = layer(hidden, attention_mask=mask)
            if number == len(base.encoder.layers) // 2:
                middle = hidden
        return self._guess(torch.stack([hidden, middle]))

    def _extract(self, audio: Tensor) -> Tensor:
        """Return the convolutions' features [rows, frames, channels]; channels lie side by side in memory."""
        hidden = audio
        for number, layer in enumerate(self.model.wav2vec2.feature_extractor.conv_layers):
            conv, norm = layer.conv, layer.layer_norm
            convolved = convolved_waveform(hidden, conv) if number == 0 else convolved_features(hidden, conv)
            hidden = self.norm(convolved, conv.bias, norm.weight, norm.bias, norm.eps)
        return hidden

    def _position(self, hidden: Tensor) -> Tensor:
        """Return the convolutional embedding of the positions [rows, frames, width]."""
        embedding = self.model.wav2vec2.encoder.pos_conv_embed
        conv = embedding.conv
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        data, weight = hidden.transpose(1, 2).to(dtype), conv.weight.to(dtype)
        image = GroupedConv.apply(data, weight, conv.padding[0], conv.groups)
        image = image[:, :, : hidden.shape[1]] + conv.bias[:, None].to(image.dtype)
        return functional.gelu(image).transpose(1, 2)

    def _guess(self, hidden: Tensor) -> Tensor:
        logits = self.model.lm_head(self.model.dropout(self.model.wav2vec2.encoder.layer_norm(hidden)))
        return torch.log_softmax(logits.float(), -1)


def convolved_waveform(audio: Tensor, conv: nn.Conv1d) -> Tensor:
    """Return the convolution of a waveform [rows, samples] as [rows, frames, channels], without its bias.

    As a matrix product, whose gradient is a hundred times faster than that of cuDNN's convolution of a single channel.
    """
    taps, fill = conv.kernel_size[0], -conv.kernel_size[0] % 8  # tensor cores want multiples of eight
    windows = functional.pad(audio.unfold(1, taps, conv.stride[0]), (0, fill))
    return functional.linear(windows, functional.pad(conv.weight[:, 0], (0, fill)))


def convolved_features(hidden: Tensor, conv: nn.Conv1d) -> Tensor:
    """Return the convolution of [rows, frames, channels] in the same layout, without its bias."""
    image = hidden.transpose(1, 2).unsqueeze(2)  # [rows, channels, 1, time], as cuDNN's channels-last images
    weight = conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
    # squeezed, not indexed: the gradient of an index is a copy in the other layout
    return functional.conv2d(image, weight, None, (1, conv.stride[0])).squeeze(2).transpose(1, 2)


class GroupedConv(torch.autograd.Function):
    """A grouped convolution over time whose weight's gradient is a matrix product, unlike cuDNN's slow one."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, weight: Tensor, padding: int, groups: int) -> Tensor:
        """Return the convolution [rows, channels, time + 2 padding - taps + 1], without a bias."""
        ctx.save_for_backward(data, weight)
        ctx.padding, ctx.groups = padding, groups
        return functional.conv1d(data, weight, None, 1, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of data and weight."""
        data, weight = ctx.saved_tensors
        taps, groups = weight.shape[2], ctx.groups
        for_data = torch.nn.grad.conv1d_input(data.shape, weight, gradient, 1, ctx.padding, 1, groups)
        # [rows, groups, channels, time, taps]: what each tap saw
        seen = functional.pad(data, (ctx.padding, ctx.padding)).unflatten(1, (groups, -1)).unfold(3, taps, 1)
        left = gradient.unflatten(1, (groups, -1)).permute(1, 2, 0, 3).flatten(2)
        right = seen.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)
        for_weight = torch.bmm(left, right).reshape(weight.shape)
        return for_data, for_weight, None, None


def bias_norm_gelu(hidden: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """Return what follows a convolution of the extractor, [rows, time, channels], in the type that it came in."""
    normed = functional.layer_norm(hidden.float() + bias, weight.shape, weight, shift, epsilon)
    return functional.gelu(normed).to(hidden.dtype)


def spans(like: Tensor, share: Tensor) -> Tensor:
    """Draw which frames of hidden states [rows, frames, width] are masked: about a share, in spans."""
    starts = torch.rand(like.shape[:2], device=like.device) < share / MASK_SPAN
    padded = functional.pad(starts.float(), (MASK_SPAN - 1, 0))[:, None]
    return functional.max_pool1d(padded, MASK_SPAN, 1)[:, 0] > 0


def frames_of(model: Wav2Vec2ForCTC, samples: Tensor) -> Tensor:
    """Return how many frames the extractor makes of so many samples [rows]."""
    frames: Tensor = model._get_feat_extract_output_lengths(samples)  # noqa: SLF001 - it has no public name
    return frames


def losses_of(log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
    """Return the CTC losses per token [last layer's, middle layer's], averaged over the batch.

    Args:
        log_probs: [2, rows, frames, tokens], as the recogniser returns them.
        frames: [rows] on the CPU.
        batch: What was said.
    """
    losses = functional.ctc_loss(
        log_probs.flatten(0, 1).transpose(0, 1),
        batch.tokens.repeat(2),
        frames.repeat(2),
        batch.token_counts.repeat(2),
        reduction="none",
        zero_infinity=True,
    )
    return losses.reshape(2, -1).sum(1) / int(batch.token_counts.sum())


def greedy(log_probs: Tensor, frames: Tensor) -> list[list[int]]:
    """Return the best path's tokens of each row, without repeats and blanks."""
    lines = []
    for path, count in zip(log_probs.argmax(-1).cpu(), frames.tolist(), strict=True):
        tokens = torch.unique_consecutive(path[:count]).tolist()
        lines.append([token for token in tokens if token > 3])
    return lines
