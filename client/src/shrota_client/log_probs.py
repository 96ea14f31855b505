"""What the acoustic model answers, before any decoding."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LogProbs:
    """One utterance's log-probabilities, which the server's decoder turns into text in as many ways as are asked for.

    Attributes:
        values: natural log of the token probabilities, [frames, vocabulary], float32.
        duration: seconds of audio.
    """

    values: NDArray[np.float32]
    duration: float
