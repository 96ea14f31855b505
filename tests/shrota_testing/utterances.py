"""Utterances for the tiny engine, and the transcripts that must come out."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.greedy import decode
from shrota_decoder.vocabulary import Vocabulary
from shrota_testing.engines import STRIDE, tiny_log_probs
from shrota_testing.repository import TOKENS

RATE = 16000
VOCABULARY = Vocabulary(tuple(TOKENS), 0, 4, frozenset({0, 1, 2, 3}), STRIDE / RATE)


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """White noise, [samples]: to the tiny engine as good as speech."""
    return noise_rows(1, round(seconds * RATE), seed).reshape(-1)


def noise_rows(rows: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    """White noise, [rows, samples]."""
    return np.random.default_rng(seed).normal(0, 0.1, (rows, samples)).astype(np.float32)


def expected_text(audio: NDArray[np.float32]) -> str:
    """The transcript that the tiny engine and the greedy decoder give."""
    return decode(tiny_log_probs(audio).astype(np.float32), audio.size / RATE, VOCABULARY).text


@dataclass
class Neighbours:
    """Good requests to run beside a bad one: each must get its own transcript, whatever happens next to it."""

    audios: list[NDArray[np.float32]] = field(
        default_factory=lambda: [noise(s, i) for i, s in enumerate((1, 3, 7, 25))]
    )

    def expected(self) -> list[str]:
        """Their transcripts, in order."""
        return [expected_text(audio) for audio in self.audios]
