# mypy: disallow-subclassing-any=False
"""The way through the model while it learns: the steps of Wav2Vec2ForCTC.forward, without a moment's wait for the GPU.

Transformers' own forward asks the GPU several times in a step whether a mask is full and which frames it leaves out,
and the CTC loss fetches lengths from it; every answer empties its queue. Here all lengths are known on the CPU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2ForCTC

from shrota_training.batches import Batch

MASK_SPAN = 10  # frames of 20 ms
MASKED_SCORE = -1e4  # of a frame behind the end; finite in half precision


class Recogniser(nn.Module):
    """A Wav2Vec2ForCTC as one call, as DistributedDataParallel needs it."""

    def __init__(self, model: Wav2Vec2ForCTC) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor, frames: Tensor, mask_share: float) -> Tensor:
        """Return log-probabilities [rows, frames, tokens] in float32.

        Args:
            audio: [rows, samples], normalised.
            frames: [rows] on the CPU: how many frames of each row are its own.
            mask_share: of the frames, which are hidden in spans (SpecAugment's time masks); drawn on the GPU.
        """
        base = self.model.wav2vec2
        hidden, _ = base.feature_projection(base.feature_extractor(audio).transpose(1, 2))
        if self.training:
            # also where nothing is hidden: every parameter takes part in every step
            masked = base.masked_spec_embed.to(hidden.dtype)
            hidden = torch.where(spans(hidden, mask_share)[:, :, None], masked, hidden)
        own = frames.to(hidden.device, non_blocking=True)
        valid = torch.arange(hidden.shape[1], device=hidden.device) < own[:, None]
        hidden = hidden * valid[:, :, None]
        hidden = base.encoder.dropout(hidden + base.encoder.pos_conv_embed(hidden))
        mask = torch.where(valid, 0.0, MASKED_SCORE).to(hidden.dtype)[:, None, None, :]
        mask = mask.expand(-1, 1, hidden.shape[1], -1)
        for layer in base.encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
        logits = self.model.lm_head(self.model.dropout(base.encoder.layer_norm(hidden)))
        return torch.log_softmax(logits.float(), -1)


def spans(like: Tensor, share: float) -> Tensor:
    """Draw which frames of hidden states [rows, frames, width] are masked: about a share, in spans."""
    starts = torch.rand(like.shape[:2], device=like.device) < share / MASK_SPAN
    padded = functional.pad(starts.float(), (MASK_SPAN - 1, 0))[:, None]
    return functional.max_pool1d(padded, MASK_SPAN, 1)[:, 0] > 0


def frames_of(model: Wav2Vec2ForCTC, samples: Tensor) -> Tensor:
    """Return how many frames the extractor makes of so many samples [rows]."""
    frames: Tensor = model._get_feat_extract_output_lengths(samples)  # noqa: SLF001 - it has no public name
    return frames


def loss_of(log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
    """Return the CTC loss per token, averaged over the batch."""
    losses = functional.ctc_loss(
        log_probs.transpose(0, 1), batch.tokens, frames, batch.token_counts, reduction="none", zero_infinity=True
    )
    return losses.sum() / int(batch.token_counts.sum())


def greedy(log_probs: Tensor, frames: Tensor) -> list[list[int]]:
    """Return the best path's tokens of each row, without repeats and blanks."""
    lines = []
    for path, count in zip(log_probs.argmax(-1).cpu(), frames.tolist(), strict=True):
        tokens = torch.unique_consecutive(path[:count]).tolist()
        lines.append([token for token in tokens if token > 3])
    return lines
