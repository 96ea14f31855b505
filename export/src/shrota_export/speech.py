"""Speech to verify an export with: cuts of unlike length from the files of a manifest."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_client.audio import read_audio
from shrota_client.errors import AudioError, ManifestError
from shrota_client.manifest import read_manifest
from shrota_export.errors import SpeechError

DURATIONS_S = (2.6, 0.31, 7.3, 1.07, 19.9)
"""Short beside long, 64 times between, up to a window's length (errors of long sums show there only); none is a whole
number of frames."""


@dataclass(frozen=True)
class Utterance:
    """A piece of speech and where it comes from."""

    name: str
    samples: NDArray[np.float32]
    """[samples], in [-1, 1]"""


def read_speech(manifest: Path, sample_rate: int) -> list[Utterance]:
    """Cuts the files of a manifest (see :mod:`shrota_client.manifest`), one after the other.

    Each cut is taken from the middle of its file; a file that is shorter is taken whole.

    Raises:
        SpeechError: if the manifest is missing, empty or not one, or a file cannot be read.
    """
    try:
        files = [utterance.audio for utterance in read_manifest(manifest)]
    except ManifestError as error:
        reason = f"no speech to verify the export with: {error}"
        raise SpeechError(f"{reason}; or name a manifest with --manifest") from error
    utterances = []
    for index, duration_s in enumerate(DURATIONS_S):
        path = files[index % len(files)]
        try:
            samples = read_audio(path, sample_rate)
        except AudioError as error:
            raise SpeechError(f"cannot verify with the speech of {manifest}: {error}") from error
        length = min(samples.size, int(duration_s * sample_rate) + index)
        start = (samples.size - length) // 2
        name = f"{path.name} [{start / sample_rate:.2f} s to {(start + length) / sample_rate:.2f} s]"
        utterances.append(Utterance(name, samples[start : start + length]))
    return utterances
