"""Audio for the benchmarks, cut from ``samples/``: real lengths, real content, clean or in noise."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_client.audio import read_audio
from shrota_client.manifest import read_manifest

RATE = 16000
NOISE_SEED = 3
Audio = NDArray[np.float32]


def all_speech(manifest: Path) -> Audio:
    """Every utterance of a manifest, one after the other, [samples] at 16 kHz.

    Raises:
        ManifestError, AudioError: the manifest or a file of it cannot be read.
    """
    return np.concatenate([read_audio(utterance.audio) for utterance in read_manifest(manifest)])


def in_noise(audio: Audio, seed: int = NOISE_SEED) -> Audio:
    """The audio in white noise as loud as it is, the same noise every time.

    The bundled checkpoint is so sure of the clean samples that a beam holds hardly more than one reading there, which
    costs next to nothing; in noise it is unsure, as it is of people's speech.
    """
    noise = np.random.default_rng(seed).normal(0, audio.std(), audio.size)
    return audio + noise.astype(np.float32)


def cut(speech: Audio, lengths_s: list[float]) -> list[Audio]:
    """Utterances of these lengths in seconds, cut one after the other from ``speech``, which repeats as needed."""
    ends = np.cumsum([round(length * RATE) for length in lengths_s])
    repeats = int(np.ceil(ends[-1] / speech.size))
    return np.split(np.tile(speech, repeats)[: ends[-1]], ends[:-1])


def mixed_lengths(count: int, shortest_s: float, longest_s: float, seed: int = 0) -> list[float]:
    """Evenly spread lengths in seconds, in random order."""
    lengths = np.linspace(shortest_s, longest_s, count)
    return [float(length) for length in np.random.default_rng(seed).permutation(lengths)]
