"""Checks of what a request brings; every failure is one line that says what to do."""

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.errors import RequestRefusedError

ROUNDING = 0.01
"""Natural log; so far above 0 an engine of reduced precision may come."""


def check_log_probs(log_probs: NDArray[np.float32], vocabulary_size: int) -> None:
    """Refuses log-probabilities that are not [rows, frames, vocabulary] or hold what is no log-probability.

    Raises:
        RequestRefusedError: The shape is not the vocabulary's, or a value is NaN, +infinity or more than 0.
    """
    if log_probs.ndim != 3 or log_probs.shape[2] != vocabulary_size:  # noqa: PLR2004
        shape = list(log_probs.shape)
        raise RequestRefusedError(
            f"LOG_PROBS is {shape}, but vocab.json has {vocabulary_size} tokens: "
            f"send [rows, frames, {vocabulary_size}], or export engine and vocabulary from one checkpoint"
        )
    # a NaN or +inf anywhere makes the largest value one; -inf is a legal log-probability
    highest = float(log_probs.max()) if log_probs.size else 0.0
    if not highest < np.inf:
        raise RequestRefusedError(
            "LOG_PROBS holds NaN or +infinity: check the engine's precision, or what computed them"
        )
    if highest > ROUNDING:
        raise RequestRefusedError(
            f"LOG_PROBS holds {highest:g}, and the log of a probability is never above 0: "
            "send natural logs of probabilities, not logits or probabilities"
        )


def check_durations(durations: NDArray[np.float32]) -> None:
    """Refuses seconds of audio, [rows], that are no durations.

    Raises:
        RequestRefusedError: One is negative or not finite.
    """
    if not (np.isfinite(durations) & (durations >= 0)).all():
        raise RequestRefusedError("DURATION must be seconds of audio, finite and not negative")
