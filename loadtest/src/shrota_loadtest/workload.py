"""The utterances that a load test sends: those of a manifest, or pieces of them whose lengths follow a distribution."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_client.audio import read_audio
from shrota_client.manifest import read_manifest
from shrota_client.samples import SAMPLE_RATE
from shrota_loadtest.errors import WorkloadError
from shrota_loadtest.lengths import LogNormal, parse_lengths


@dataclass(frozen=True, eq=False)
class Clip:
    """One utterance to be sent.

    Attributes:
        name: of its file, with where it was cut.
        samples: [T], float32 in [-1, 1], 16 kHz.
        text: what is said in it; None where that is not known, as of pieces.
    """

    name: str
    samples: NDArray[np.float32]
    text: str | None

    @property
    def seconds(self) -> float:
        """Of audio."""
        return self.samples.size / SAMPLE_RATE


def read_clips(manifest: Path) -> list[Clip]:
    """The utterances of a manifest.

    Raises:
        ManifestError, AudioError: it, or a file of it, cannot be read.
    """
    return [Clip(Path(each.name).name, read_audio(each.audio), each.text) for each in read_manifest(manifest)]


def cut_clips(speech: Sequence[Clip], lengths: LogNormal, count: int, seed: int = 0) -> list[Clip]:
    """Pieces whose lengths follow a distribution; one that is longer than its source goes on with the source's start.

    Args:
        speech: what is cut.
        lengths: of the pieces.
        count: of pieces.
        seed: the same gives the same pieces.

    Raises:
        WorkloadError: there is nothing to cut.
    """
    speech = [clip for clip in speech if clip.samples.size]
    if not speech or count < 1:
        raise WorkloadError("a workload needs speech and at least one clip of it")
    generator = np.random.default_rng(seed)
    shares = np.array([clip.samples.size for clip in speech], np.float64)
    clips = []
    for seconds in lengths.draw(count, generator):
        source = speech[int(generator.choice(len(speech), p=shares / shares.sum()))]
        start = int(generator.integers(source.samples.size))
        size = round(seconds * SAMPLE_RATE)
        samples = np.take(source.samples, np.arange(start, start + size), mode="wrap")
        clips.append(Clip(f"{source.name} from {start / SAMPLE_RATE:.2f} s, {seconds:.2f} s", samples, None))
    return clips


def make_clips(speech: Path, lengths: str, count: int, seed: int = 0) -> list[Clip]:
    """The workload that the options describe.

    Args:
        speech: a manifest.
        lengths: as :func:`~shrota_loadtest.lengths.parse_lengths` takes them.
        count: of pieces; utterances as they are all count.
        seed: of the pieces.

    Raises:
        ManifestError, AudioError: the speech cannot be read.
        WorkloadError: there is none, or the lengths are none.
    """
    distribution = parse_lengths(lengths)
    clips = [clip for clip in read_clips(speech) if clip.samples.size]
    if not clips:
        raise WorkloadError(f"no audio that {speech} names has any samples: there is nothing to send")
    return clips if distribution is None else cut_clips(clips, distribution, count, seed)
