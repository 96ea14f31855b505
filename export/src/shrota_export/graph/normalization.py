# mypy: disallow-subclassing-any=False
"""Normalisations whose statistics are taken over the valid part of each row only."""

import torch
from torch import Tensor, nn

VARIANCE_EPSILON = 1e-7
"""What ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` adds to the variance."""

SUM_BLOCK = 512
"""Numbers that are added up before their sums are."""
SUM_BLOCKS_MULTIPLE = 16
"""Rows are filled up to a multiple of so many blocks, 64 bytes of sums."""


def masked_standardize(values: Tensor, valid: Tensor, count: Tensor, epsilon: float) -> Tensor:
    """Zero mean and unit variance along the last axis, with statistics of the valid positions.

    The variance is computed in two passes (the mean of squared deviations): ``E[x²] - E[x]²`` would cancel in
    float32 where the offset is large beside the deviation. Sums are taken in blocks, see `blockwise_sum`.

    Args:
        values: [..., N] float; must be 0 where not valid.
        valid: [..., N], 1.0 at valid positions and 0.0 elsewhere; broadcasts against ``values``.
        count: [..., 1] float, how many positions are valid; 0 gives zeros, not NaN.
        epsilon: is added to the variance.

    Returns:
        [..., N]; 0 where not valid.
    """
    count = torch.clamp(count, min=1.0)
    mean = blockwise_sum(values) / count
    deviation = (values - mean) * valid
    variance = blockwise_sum(deviation * deviation) / count
    return deviation / torch.sqrt(variance + epsilon)


def blockwise_sum(values: Tensor) -> Tensor:
    """Sum along the last axis, [..., N] -> [..., 1], first within blocks of ``SUM_BLOCK``, then over the blocks.

    PyTorch sums in pairs, ONNX Runtime one number after the other. Over the 277,000 samples of 17 s that made the
    deviation of an utterance wrong by some 1e-5 of itself in float32, and log-probabilities behind 11 layers by 2e-3.
    Rounding errors of a sum in blocks grow with the length of a block and the number of blocks, not their product.

    Every row begins at a multiple of 64 bytes in both sums (``SUM_BLOCKS_MULTIPLE``). ONNX Runtime adds a row that
    begins elsewhere in another order: 1e-7 of the deviation, which moved log-probabilities by 2e-4 beside a neighbour.
    """
    multiple = SUM_BLOCK * SUM_BLOCKS_MULTIPLE
    missing = (multiple - values.shape[-1] % multiple) % multiple
    blocks = nn.functional.pad(values, (0, missing)).unflatten(-1, (-1, SUM_BLOCK))
    return blocks.sum(dim=-1).sum(dim=-1, keepdim=True)


class AudioNormalizer(nn.Module):
    """Silences what is not audio, and normalises each utterance if the checkpoint asks for it."""

    def __init__(self, *, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, audio: Tensor, num_samples: Tensor) -> Tensor:
        """AUDIO [B, T], NUM_SAMPLES [B, 1] -> [B, T], zero behind each utterance's end.

        ``where`` rather than a product: whatever lies behind the end, NaN included, must not matter.
        """
        position = torch.arange(audio.shape[1], device=audio.device, dtype=torch.int32)
        is_audio = position.unsqueeze(0) < num_samples
        audio = torch.where(is_audio, audio, torch.zeros((), dtype=audio.dtype))
        if not self.normalize:
            return audio
        valid = is_audio.to(audio.dtype)
        return masked_standardize(audio, valid, num_samples.to(audio.dtype), VARIANCE_EPSILON)


class MaskedGroupNorm(nn.Module):
    """A group norm with one channel a group, with statistics over the valid frames of each row.

    The extractor of wav2vec2-base normalises each channel over the whole time axis, padding included, so that its rows
    depend on the length of the batch. With these statistics a padded row is what it would be alone.
    """

    def __init__(self, norm: nn.GroupNorm, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach()[:, None])
        self.bias = nn.Parameter(norm.bias.detach()[:, None])
        self.epsilon = norm.eps
        self.kernel = kernel
        self.stride = stride

    def forward(self, features: Tensor, num_samples: Tensor) -> Tensor:
        """Features [B, C, L] of a convolution over the audio, NUM_SAMPLES [B, 1] -> [B, C, L]."""
        count = count_frames(num_samples, self.kernel, self.stride)
        position = torch.arange(features.shape[2], device=features.device, dtype=torch.int32)
        valid = (position.unsqueeze(0) < count).to(features.dtype).unsqueeze(1)
        count = count.to(features.dtype).unsqueeze(1)
        return masked_standardize(features * valid, valid, count, self.epsilon) * self.weight + self.bias


def count_frames(num_samples: Tensor, receptive_field: int, stride: int) -> Tensor:
    """Frames that lie wholly within the audio: max(0, floor((n - receptive_field) / stride) + 1), int32.

    A chain of strided convolutions without padding has the frames of a single one with their joint receptive field
    and stride. The dividend is kept from being negative: ONNX divides integers towards zero, not downwards.
    """
    dividend = torch.clamp(num_samples - (receptive_field - stride), min=0)
    return torch.div(dividend, stride, rounding_mode="trunc").to(torch.int32)
