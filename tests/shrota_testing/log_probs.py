"""Log-probabilities that say a given text."""

import numpy as np
from numpy.typing import NDArray

from shrota_testing.repository import TOKENS


def log_probs_of(path: str, **choices: str) -> NDArray[np.float32]:
    """Log-probabilities, [characters, 68], of a path, ``_`` for the blank.

    A digit is a frame between two tokens, the first of them a little likelier: ``log_probs_of("क1", _1="तद")``.
    """
    probs = np.full((len(path), len(TOKENS)), 1e-5, np.float64)
    for frame, character in enumerate(path):
        pair = choices.get(f"_{character}", character)
        for letter, probability in zip(pair, (0.99,) if len(pair) == 1 else (0.52, 0.47), strict=True):
            probs[frame, 0 if letter == "_" else TOKENS.index(letter)] = probability
    log_probs: NDArray[np.float32] = np.log(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)
    return log_probs
