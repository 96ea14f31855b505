"""Samples of one request, checked, read at the model's rate."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.errors import InvalidRequestError

BLOCK = 1 << 16
"""Samples that are checked together: long audio needs no second array of its size."""
MARGIN = 800
"""Samples, of the lower of two rates, that resampling reads on both sides of a window: with so many, a window differs
from the same part of the whole, resampled, by less than float32 can tell."""


class Recording:
    """Audio [rows, samples] at any rate, which is resampled only where and when it is read.

    So long audio is never held twice, and a request at another rate keeps nobody waiting while it is converted.
    Values beyond [-1, 1] are legal: resampling and gain make them, and engines that normalise do not mind.

    Args:
        audio: [rows, samples]; not copied.
        sample_rate: Its rate, Hz.
        model_rate: The rate at which it is read, Hz.
        max_seconds: The most audio that is accepted, all rows together.

    Raises:
        InvalidRequestError: No samples, too many, one that is not a finite number, or a rate other than the model's
            where soxr is not installed.
    """

    def __init__(self, audio: NDArray[np.float32], sample_rate: int, model_rate: int, max_seconds: float) -> None:
        rows, samples = audio.shape
        if rows == 0 or samples == 0:
            raise InvalidRequestError("AUDIO holds no samples")
        if rows * samples > max_seconds * sample_rate:
            raise InvalidRequestError(_too_long(rows, samples / sample_rate, max_seconds))
        self._resample = _resampler(sample_rate, model_rate) if sample_rate != model_rate else None
        _check_finite(audio)
        self.rows = rows
        self.seconds = samples / sample_rate
        """Duration of each row."""
        self.samples = (samples * model_rate + sample_rate // 2) // sample_rate
        """Samples of each row at the model's rate."""
        self._audio = audio
        self._rates = (sample_rate, model_rate)

    def read(self, row: int, start: int, into: NDArray[np.float32]) -> None:
        """Fills ``into`` with the samples of a row from ``start`` on; both counted at the model's rate."""
        rate, model_rate = self._rates
        end = start + into.size
        if self._resample is None:
            into[:] = self._audio[row, start:end]
            return
        divisor = math.gcd(rate, model_rate)
        step, model_step = rate // divisor, model_rate // divisor
        # begin where a sample of either rate falls on one of the other, so that the phase is that of the whole
        margin = math.ceil(MARGIN * max(1, rate / model_rate) / step)
        first = max(0, start // model_step - margin)
        last = math.ceil(end / model_step) + margin
        piece = self._audio[row, first * step : last * step]
        resampled = self._resample(piece, rate, model_rate, quality="HQ")
        skip = start - first * model_step
        # soxr may give one sample less than rounding does
        part = resampled[skip : skip + into.size]
        into[: part.size] = part
        into[part.size :] = 0


def _too_long(rows: int, row_seconds: float, max_seconds: float) -> str:
    limit = f"the limit is {max_seconds:g} s"
    if row_seconds > max_seconds:
        return f"AUDIO is {row_seconds:.2f} s long, {limit}: send it in pieces"
    return f"AUDIO is {rows} rows of {row_seconds:.2f} s, {limit} for all together: send fewer rows in one request"


def _resampler(sample_rate: int, model_rate: int) -> Callable[..., NDArray[Any]]:
    """``soxr.resample``; a server that only ever gets audio at the model's rate does without soxr."""
    try:
        import soxr  # noqa: PLC0415 - NVIDIA's image has none
    except ImportError:
        remedy = f"send {model_rate} Hz, or install soxr in the server's Python"
        text = f"this server cannot resample, and the audio has {sample_rate} Hz: {remedy}"
        raise InvalidRequestError(text) from None
    resample: Callable[..., NDArray[Any]] = soxr.resample
    return resample


def _check_finite(audio: NDArray[np.float32]) -> None:
    """Refuses NaN and infinity."""
    for row in range(audio.shape[0]):
        for start in range(0, audio.shape[1], BLOCK):
            finite = np.isfinite(audio[row, start : start + BLOCK])
            if not finite.all():
                where = start + int(np.argmin(finite))
                text = f"AUDIO holds {audio[row, where]} at sample {where} of row {row}: send finite numbers"
                raise InvalidRequestError(text)
