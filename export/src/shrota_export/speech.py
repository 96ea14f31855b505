"""Speech to verify an export with: cuts of unlike length from the files of a manifest."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_client.audio import read_audio
from shrota_client.errors import AudioError
from shrota_export.errors import SpeechError

DURATIONS_S = (2.6, 0.31, 7.3, 1.07, 4.9)
"""Short beside long, and 24 times between; none is a whole number of frames."""


@dataclass(frozen=True)
class Utterance:
    """A piece of speech and where it comes from."""

    name: str
    samples: NDArray[np.float32]
    """[samples], in [-1, 1]"""


def read_speech(manifest: Path, sample_rate: int) -> list[Utterance]:
    """Cuts the files of a manifest (JSON lines with ``audio``, a path beside the manifest), one after the other.

    Each cut is taken from the middle of its file; a file that is shorter is taken whole.

    Raises:
        SpeechError: if the manifest is missing or empty, or a file cannot be read.
    """
    files = _read_manifest(manifest)
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


def _read_manifest(manifest: Path) -> list[Path]:
    try:
        lines = [line for line in manifest.read_text(encoding="utf-8").splitlines() if line.strip()]
        files = [manifest.parent / json.loads(line)["audio"] for line in lines]
    except FileNotFoundError:
        raise SpeechError(
            f"no speech at {manifest} to verify the export with: name a manifest with --speech "
            '(JSON lines, each {"audio": "file.wav"})'
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpeechError(f"{manifest} is no manifest (JSON lines with 'audio'): {error!r}") from error
    if not files:
        raise SpeechError(f"{manifest} names no files to verify the export with")
    return files
