"""The feature extractor's geometry, and ``frontend.json`` that tells the acoustic model about it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Frontend:
    """What the acoustic model must know of an engine."""

    sample_rate: int
    """Hz"""
    stride: int
    """samples from one frame to the next"""
    receptive_field: int
    """samples that one frame of the feature extractor sees"""
    normalize: bool
    """each utterance is brought to zero mean and unit variance (in the graph)"""

    def as_json(self) -> dict[str, int | bool]:
        """The content of ``frontend.json``."""
        return asdict(self)


def receptive_field_and_stride(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Samples that a frame sees, and samples between frames, of a chain of convolutions without padding."""
    receptive_field = 1
    for index, kernel in enumerate(kernels):
        receptive_field += (kernel - 1) * math.prod(strides[:index])
    return receptive_field, math.prod(strides)
