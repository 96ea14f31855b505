"""Checks and resampling of what a request brings."""

import numpy as np
import soxr
from numpy.typing import NDArray

from shrota_acoustic.errors import InvalidRequestError

MAX_SAMPLE_RATE = 768_000
"""Hz; the highest rate that audio hardware uses."""
BLOCK = 1 << 16
"""Samples that are looked at together, so that checking long audio needs no second array of its size."""


def check_audio(audio: NDArray[np.float32], sample_rate: int, max_seconds: float) -> None:
    """Refuses audio that no transcript can be made of.

    Values beyond [-1, 1] are legal: resampling and gain make them, and engines that normalise do not mind.

    Args:
        audio: [rows, samples].
        sample_rate: Hz.
        max_seconds: Longest audio that is accepted.

    Raises:
        InvalidRequestError: No samples, too many, or one that is not a finite number.
    """
    rows, samples = audio.shape
    if rows == 0 or samples == 0:
        raise InvalidRequestError("AUDIO holds no samples")
    if samples > max_seconds * sample_rate:
        text = f"AUDIO is {samples / sample_rate:.2f} s long, the limit is {max_seconds:g} s: send it in pieces"
        raise InvalidRequestError(text)
    for row in range(rows):
        for start in range(0, samples, BLOCK):
            finite = np.isfinite(audio[row, start : start + BLOCK])
            if not finite.all():
                where = start + int(np.argmin(finite))
                value = audio[row, where]
                raise InvalidRequestError(f"AUDIO holds {value} at sample {where} of row {row}: send finite numbers")


def resample(audio: NDArray[np.float32], sample_rate: int, model_rate: int) -> NDArray[np.float32]:
    """[rows, samples] at ``sample_rate`` to [rows, samples] at ``model_rate`` (soxr, high quality); both in Hz."""
    if sample_rate == model_rate:
        return audio
    rows = [soxr.resample(row, sample_rate, model_rate, quality="HQ") for row in audio]
    return np.stack(rows) if len(rows) > 1 else rows[0][None]
