"""Steps that take the place of parts of Kokoro's graph, so that it speaks a batch of utterances and not one.

The integer operators have no GPU kernels, and the graph was exported for one utterance. In a batch, tensors over time
are as long as the longest row; `share` [rows] says how much of that is a row's own.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils import rnn

from shrota_training.onnx_operators import Attributes, Operator, conv, numbers

GAIN, EDGE = 4.0, 10  # of the inverse STFT: hop 5 of 20 samples, of which 10 at either end are padding


def round_to_8_bits(x: Tensor) -> Tensor:
    """Return activations [rows, ...] on the grid of `DynamicQuantizeLinear`: 256 steps over each row's range."""
    axes = tuple(range(1, x.dim()))
    low, high = x.amin(axes, keepdim=True).clamp(max=0), x.amax(axes, keepdim=True).clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero = torch.round(-low / scale)
    return x.div(scale).round_().add_(zero).clamp_(0, 255).sub_(zero).mul_(scale)


def quantised_conv(x: list[Tensor], a: Attributes) -> Tensor:
    """Return the convolution of rounded activations."""
    return conv([round_to_8_bits(x[0]), *x[1:]], a)


def own_part(like: Tensor, share: Tensor) -> Tensor:
    """Return which frames of [rows, ., time] are a row's own [rows, 1, time], given the shares [rows] that are."""
    size = like.shape[2]
    return (torch.arange(size, device=like.device) < (share * size).round().clamp(min=1)[:, None])[:, None]


def round_own_part(x: Tensor, share: Tensor) -> Tensor:
    """Return activations on the grid of 8 bits, with zeros behind the end of each row, as if it were alone."""
    return round_to_8_bits(x * own_part(x, share))


def normalise_in_style(
    x: Tensor, share: Tensor, epsilon: Tensor, style: tuple[Tensor, Tensor], snake: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return adaptive instance normalisation over each row's own part, and then the snake activation if there is one.

    Huang and Belongie, 2017 (https://arxiv.org/abs/1703.06868); Ziyin et al., 2020 (https://arxiv.org/abs/2006.08195).
    """
    own = own_part(x, share)
    count = own.sum(2, keepdim=True)
    centred = x - (x * own).sum(2, keepdim=True) / count
    variance = (centred.square() * own).sum(2, keepdim=True) / count
    gain, shift = style
    normed = centred / torch.sqrt(variance + epsilon) * gain + shift
    if snake is None:
        return normed
    frequency, inverse = snake
    return normed + torch.sin(frequency * normed).square() * inverse


def quantised_matmul(x: list[Tensor], _: Attributes) -> Tensor:
    """Return the matrix product of rounded activations."""
    return round_to_8_bits(x[0]) @ x[1]


def make_lstm(x: Sequence[Tensor], hidden: int, device: torch.device) -> Operator:
    """Return the operator of a bidirectional LSTM with these quantised weights; its first state is always zero.

    ONNX orders the gates i, o, f, c and PyTorch i, f, c, o.
    """
    weights, recurrent, bias = x[:3]
    order = torch.cat([torch.arange(g * hidden, (g + 1) * hidden) for g in (0, 2, 3, 1)])
    lstm = torch.nn.LSTM(weights.shape[1], hidden, bidirectional=True).to(device)
    for way, suffix in enumerate(("l0", "l0_reverse")):
        for name, values, scale, zero in (("ih", weights, x[3], x[4]), ("hh", recurrent, x[5], x[6])):
            matrix = (values[way].float() - zero[way].float()) * scale[way]
            getattr(lstm, f"weight_{name}_{suffix}").data.copy_(matrix.t()[order.to(matrix.device)])
        for name, part in zip(("ih", "hh"), bias[way].reshape(2, -1), strict=True):
            getattr(lstm, f"bias_{name}_{suffix}").data.copy_(part[order.to(part.device)])
    lstm.flatten_parameters()

    def run(inputs: list[Tensor], _: Attributes) -> Tensor:
        data = inputs[0].contiguous()
        if len(inputs) == 1 or data.shape[1] == 1:
            output = lstm(data)[0]
        else:  # with the number of frames of each row, at whose end the way back begins
            packed = rnn.pack_padded_sequence(data, inputs[1].cpu(), enforce_sorted=False)
            output = rnn.pad_packed_sequence(lstm(packed)[0])[0]
        return cast("Tensor", output.reshape(*output.shape[:2], 2, hidden).permute(0, 2, 1, 3))

    return run


def align(x: list[Tensor], _: Attributes) -> tuple[Tensor, Tensor, Tensor]:
    """Return which token [rows, tokens, frames] sounds in which frame, and how many frames [rows] are a row's own.

    The number of frames is also given as a share of the longest row's.

    The last token, silence, lasts until the longest row ends.
    """
    durations = x[0].long()
    frames = durations.sum(1)
    ends = durations.cumsum(1)
    starts, longest = ends - durations, frames.max()
    ends[:, -1] = longest
    time = torch.arange(int(longest), device=durations.device)
    return ((time >= starts[:, :, None]) & (time < ends[:, :, None])).float(), frames, frames / longest


def mean_over_time(x: list[Tensor], _: Attributes) -> Tensor:
    """Return the mean over each row's own part of the time, of [rows, ., time] or [time, rows, .]; keeps the axis."""
    data, axes, share = x
    last = numbers(axes) == [2]
    size = data.shape[2 if last else 0]
    count = (share * size).round().clamp(min=1)[:, None]
    weights = (torch.arange(size, device=data.device) < count) / count
    return torch.bmm(data, weights[:, :, None]) if last else torch.einsum("trc,rt->rc", data, weights)[None]


def join_overlaps(x: list[Tensor], _: Attributes) -> Tensor:
    """Return speech [rows, samples] from the sums of overlapping STFT frames; only their beginning was uneven."""
    overlapped, window = x
    sums = overlapped * GAIN
    uneven = window.numel()
    sums[:, :uneven] = torch.where(window > 0, sums[:, :uneven] / window, sums[:, :uneven])
    return sums[:, EDGE:-EDGE]
