"""Cut the silence before and after the words of training speech: a third of Kokoro's files is silence.

People's recordings go through it too, though they hardly have any (test sets do not). Rows of training get pauses of
their own, of many lengths (`batches.pack`).
"""

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
FRAME = 160  # 10 ms
KEPT_S = 0.08
QUIET = 0.02
"""of the loudest frame: what is below is silence; endings of words fade slowly"""


def trimmed(speech: NDArray[np.int16], kept_s: float = KEPT_S) -> NDArray[np.int16]:
    """Return 16 kHz speech [samples] with at most `kept_s` seconds of silence at either end."""
    if speech.size < FRAME:
        return speech
    frames = speech[: speech.size // FRAME * FRAME].reshape(-1, FRAME).astype(np.float32)
    loud = np.sqrt(np.square(frames).mean(1))
    spoken = np.nonzero(loud > QUIET * loud.max())[0]
    if not spoken.size:
        return speech
    kept = int(kept_s * RATE)
    return speech[max(0, spoken[0] * FRAME - kept) : (spoken[-1] + 1) * FRAME + kept]
