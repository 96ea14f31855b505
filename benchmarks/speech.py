"""Audio for the benchmarks, cut from ``samples/``: real lengths, real content."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_client.audio import read_audio

RATE = 16000
Audio = NDArray[np.float32]


def all_speech(manifest: Path) -> Audio:
    """Every utterance of a manifest, one after the other, [samples] at 16 kHz."""
    lines = manifest.read_text(encoding="utf-8").splitlines()
    paths = [manifest.parent / json.loads(line)["audio"] for line in lines if line.strip()]
    return np.concatenate([read_audio(path) for path in paths])


def cut(speech: Audio, lengths_s: list[float]) -> list[Audio]:
    """Utterances of these lengths in seconds, cut one after the other from ``speech``, which repeats as needed."""
    ends = np.cumsum([round(length * RATE) for length in lengths_s])
    repeats = int(np.ceil(ends[-1] / speech.size))
    return np.split(np.tile(speech, repeats)[: ends[-1]], ends[:-1])


def mixed_lengths(count: int, shortest_s: float, longest_s: float, seed: int = 0) -> list[float]:
    """Evenly spread lengths in seconds, in random order."""
    lengths = np.linspace(shortest_s, longest_s, count)
    return [float(length) for length in np.random.default_rng(seed).permutation(lengths)]
