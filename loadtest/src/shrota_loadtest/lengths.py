"""How long utterances are: a log-normal distribution, which speech follows well, cut off at both ends."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shrota_loadtest.errors import WorkloadError

MOST_TRIES = 1000


@dataclass(frozen=True)
class LogNormal:
    """Lengths whose logarithm is normal, within bounds.

    Attributes:
        median_s: seconds; half of all utterances are shorter.
        sigma: standard deviation of the logarithm of the length.
        least_s: shorter ones are drawn again.
        most_s: longer ones are drawn again.
        source: of the numbers.
    """

    median_s: float
    sigma: float
    least_s: float = 1.0
    most_s: float = 20.0
    source: str = ""

    def __post_init__(self) -> None:
        numbers = (self.median_s, self.sigma, self.least_s, self.most_s)
        if not all(math.isfinite(number) for number in numbers) or self.sigma < 0:
            raise WorkloadError(f"a distribution of {self} has no lengths: give seconds, and a sigma of at least 0")
        if not 0 < self.least_s <= self.median_s <= self.most_s:
            raise WorkloadError(
                f"lengths of {self.least_s:g} to {self.most_s:g} s with a median of {self.median_s:g} s: "
                "the median must lie between"
            )

    def draw(self, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """Lengths [count], in seconds."""
        found = np.empty(count)
        missing = np.arange(count)
        for _ in range(MOST_TRIES):
            found[missing] = generator.lognormal(math.log(self.median_s), self.sigma, missing.size)
            missing = missing[(found[missing] < self.least_s) | (found[missing] > self.most_s)]
            if not missing.size:
                return found
        return found.clip(self.least_s, self.most_s)  # bounds so narrow that hardly a draw falls between them


LENGTHS = {
    "news": LogNormal(
        6.2,
        0.47,
        2.0,
        20.0,
        "523 sentences of Hindi news on All India Radio, read by people: 5 % under 2.9, over 12.6 s",
    ),
    "audiobook": LogNormal(
        5.8,
        0.66,
        1.3,
        35.0,
        "LibriSpeech's test-clean, 2620 utterances: 5 % under 2.3, over 17.8 s, longest 35.0 s (icefall, "
        "egs/librispeech/ASR/local/display_manifest_statistics.py)",
    ),
    "meeting": LogNormal(
        1.6,
        1.0,
        0.4,
        18.4,
        "AMI's training set: quartiles 0.6, 1.6 and 3.8 s, 1 % over 12.3 s (icefall, egs/ami/ASR/README.md); none "
        "under 0.4 s here; the sigma lies between those of the quartiles (1.4) and of the 99 % (0.9)",
    ),
}
"""Distributions by name."""

WHOLE = "whole"
"""Instead of a distribution: the utterances of the manifest as they are."""


def parse_lengths(text: str) -> LogNormal | None:
    """A distribution by its name, or by ``MEDIAN,SIGMA[,LEAST,MOST]`` in seconds; None for :data:`WHOLE`.

    Raises:
        WorkloadError: it is none of these.
    """
    if text == WHOLE:
        return None
    if text in LENGTHS:
        return LENGTHS[text]
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {2, 4}:
        known = ", ".join([*LENGTHS, WHOLE])
        raise WorkloadError(f"the lengths {text!r} are neither {known} nor MEDIAN,SIGMA[,LEAST,MOST] in seconds")
    least_s, most_s = numbers[2:] or (LogNormal.least_s, LogNormal.most_s)
    return LogNormal(numbers[0], numbers[1], least_s, most_s)
