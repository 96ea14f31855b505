"""Samples in memory: what may be sent, and how it becomes mono float32 at the server's rate."""

import numpy as np
from numpy.typing import NDArray

from shrota_client.errors import AudioError

SAMPLE_RATE = 16000
MIN_SAMPLE_RATE = 1000
"""Hz; as the server has it: no speech is left at a lower rate, and few samples would become many."""
MAX_SAMPLE_RATE = 768_000
"""Hz; as the server has it: the highest rate that audio hardware uses."""
MAX_BYTES = 2**31 - 2**20
"""A protobuf message, and so a gRPC request, ends at 2 GiB; a MiB of it is left for everything that is not audio."""

Samples = NDArray[np.float32] | NDArray[np.float64] | NDArray[np.int16]


def as_samples(array: Samples, name: str = "the array") -> NDArray[np.float32]:
    """One utterance as the server takes it: [samples], float32, contiguous; a float32 array is not copied.

    Args:
        array: [samples]; float32 or float64 in [-1, 1], or int16, which is divided by 32768.
        name: what error messages call it.

    Raises:
        AudioError: another type or shape, no samples, NaN or infinity, or more than one request can carry.
    """
    if not isinstance(array, np.ndarray):
        raise AudioError(f"{name} is a {type(array).__name__}: give a path or a numpy array of samples")
    if array.ndim != 1:
        shape = list(array.shape)
        raise AudioError(
            f"{name} has shape {shape}: give one utterance as [samples]; send the rows of a batch one by one"
        )
    if array.size == 0:
        raise AudioError(f"{name} has no samples: there is nothing to transcribe")
    check_length(array.size, name)
    if array.dtype == np.int16:
        samples = array.astype(np.float32)
        samples /= 32768
    elif array.dtype in (np.float32, np.float64):
        samples = np.ascontiguousarray(array, np.float32)
    else:
        raise AudioError(f"{name} holds {array.dtype}: give float32 or float64 in [-1, 1], or int16")
    # a minimum and a maximum see every NaN and infinity, and need no array of flags
    if not (np.isfinite(samples.min()) and np.isfinite(samples.max())):
        raise AudioError(f"{name} contains NaN or infinity: check how it was made")
    return samples


def check_length(count: int, name: str = "the array") -> None:
    """Refuses more samples than one request can carry.

    Raises:
        AudioError: ``count`` samples are more than that.
    """
    if 4 * count > MAX_BYTES:
        hours = MAX_BYTES / 4 / SAMPLE_RATE / 3600
        raise AudioError(f"{name} is too long for one request (about {hours:.1f} hours at 16 kHz): cut it into parts")


def check_sample_rate(sample_rate: int, name: str = "sample_rate") -> int:
    """The rate in Hz, if it is one that the server takes.

    Raises:
        AudioError: not a whole number of Hz, or not between 1000 and 768000.
    """
    whole = isinstance(sample_rate, (int, np.integer)) and not isinstance(sample_rate, bool)
    if not whole or not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        limits = f"from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        raise AudioError(f"{name} must be a whole number of Hz {limits}, not {sample_rate!r}")
    return int(sample_rate)


def resample(samples: NDArray[np.float32], sample_rate: int, target_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """The same sound at another rate, [samples * target_rate / sample_rate]; soxr, quality HQ.

    Raises:
        AudioError: at the other rate it is more than one request can carry.
    """
    if sample_rate == target_rate:
        return samples
    check_length(samples.size * target_rate // sample_rate)
    import soxr  # noqa: PLC0415 - only needed for other rates

    resampled: NDArray[np.float32] = soxr.resample(samples, sample_rate, target_rate)
    return resampled
