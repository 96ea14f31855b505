"""Speech to compare graphs on: whole utterances with what is said, as windows that an engine runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shrota_client.audio import read_audio
from shrota_client.errors import AudioError, ManifestError
from shrota_client.manifest import read_manifest
from shrota_export.engines import Floats
from shrota_export.errors import SpeechError
from shrota_export.gate.subject import Subject
from shrota_export.progress import each

WINDOW_SECONDS = 20
"""The longest that ``acoustic`` runs whole (``window_seconds``)."""


@dataclass(frozen=True)
class Spoken:
    """One utterance.

    Attributes:
        name: as the manifest writes it.
        windows: its audio, [samples] each, at most ``WINDOW_SECONDS`` long, one after the other. (``acoustic`` lets
            windows overlap; here that would only cost time, because both graphs are cut alike.)
        text: what is said, or None.
    """

    name: str
    windows: tuple[Floats, ...]
    text: str | None = None


def read_speech(manifest: Path, subject: Subject) -> list[Spoken]:
    """Reads a manifest (see :mod:`shrota_client.manifest`) at the subject's sample rate.

    Raises:
        SpeechError: it is missing, empty or not one, or a file cannot be read.
    """
    try:
        utterances = read_manifest(manifest)
    except ManifestError as error:
        raise SpeechError(f"no speech to compare with: {error}; or name a manifest with --manifest") from error
    return [
        Spoken(each_one.name, cut(_read(each_one.audio, subject.sample_rate), subject.sample_rate), each_one.text)
        for each_one in each(utterances, "read speech")
    ]


def fingerprint(speech: Sequence[Spoken]) -> str:
    """SHA-256 of what is heard and said, to tell whether two comparisons ran the same."""
    digest = hashlib.sha256()
    for spoken in speech:
        digest.update(json.dumps([spoken.text, [window.size for window in spoken.windows]]).encode())
        for window in spoken.windows:
            digest.update(window.tobytes())
    return digest.hexdigest()


def cut(samples: Floats, sample_rate: int) -> tuple[Floats, ...]:
    """[samples] in windows."""
    length = WINDOW_SECONDS * sample_rate
    return tuple(samples[start : start + length] for start in range(0, max(1, samples.size), length))


def spread(windows: Sequence[Floats], count: int) -> list[Floats]:
    """Windows of unlike length, ``count`` of them or fewer, the shortest and the longest among them, mixed.

    Short and long take turns, so that a batch of neighbours has much padding.
    """
    ordered = sorted(windows, key=lambda window: window.size)
    picked = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    chosen = [ordered[index] for index in picked]
    half = (len(chosen) + 1) // 2
    mixed: list[Floats] = []
    for index, short in enumerate(chosen[:half]):
        mixed.append(short)
        mixed += chosen[len(chosen) - 1 - index : len(chosen) - index] if len(chosen) - 1 - index >= half else []
    return mixed


def _read(path: Path, sample_rate: int) -> Floats:
    try:
        return read_audio(path, sample_rate)
    except AudioError as error:
        raise SpeechError(f"cannot compare with the speech: {error}") from error
