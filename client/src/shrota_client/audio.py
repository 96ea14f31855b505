"""Audio files: whatever libsndfile reads (WAV, FLAC, Ogg/Opus, MP3, ...), as mono samples at the server's rate.

A file is read block by block; each block is mixed down and resampled before the next one is read. So a long recording
at a high rate with many channels never lies in memory as a whole, only what will be sent does; and reading ends as soon
as that is more than one request can carry.
"""

import io
import os
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from shrota_client.errors import AudioError
from shrota_client.samples import SAMPLE_RATE, as_samples, check_length, check_sample_rate

BLOCK_FRAMES = 1 << 18


def read_audio(source: str | PathLike[str] | BinaryIO, sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Reads one recording: [samples], mono, float32, at ``sample_rate`` Hz.

    Channels are averaged. The sound is resampled by soxr (quality HQ) where the file's rate is another.

    Args:
        source: path, or a file opened for reading in binary mode, such as ``sys.stdin.buffer``.
        sample_rate: of the result, in Hz.

    Raises:
        AudioError: there is no such file, it is empty, unreadable, not audio, damaged, has no samples or a rate that
            the server would not take either, or is more than one request can carry.
    """
    if isinstance(source, (str, PathLike)):
        name = os.fspath(source)
        _check_file(Path(source))
        return _read(name, name, sample_rate)
    name = (
        "standard input" if getattr(source, "name", None) == "<stdin>" else str(getattr(source, "name", "the stream"))
    )
    content = source.read()  # libsndfile must be able to seek
    if not content:
        raise AudioError(f"{name} is empty: it must give a whole audio file")
    return _read(io.BytesIO(content), name, sample_rate)


def _check_file(path: Path) -> None:
    """Tells apart what libsndfile would only call a system error."""
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a folder: name the files in it, or use `shrota transcribe {path}`")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise AudioError(f"there is no file {path}: check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"cannot read {path} ({reason}): check its permissions") from error
    if empty:
        raise AudioError(f"{path} is empty: record or copy it again")


def _read(file: str | io.BytesIO, name: str, sample_rate: int) -> NDArray[np.float32]:
    # a bytearray grows in place, however many frames the header promises
    content = bytearray()
    try:
        with soundfile.SoundFile(file) as sound:
            stream = None
            rate = check_sample_rate(sound.samplerate, f"the sample rate of {name}")
            if rate != sample_rate:
                stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
            while (block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)).size:
                mono = mix_down(block)
                content += (mono if stream is None else stream.resample_chunk(mono)).data.cast("B")
                check_length(len(content) // 4, name)
            if stream is not None:
                content += stream.resample_chunk(np.zeros(0, np.float32), last=True).data.cast("B")
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        remedy = "give WAV, FLAC, Ogg/Opus or MP3, or convert it, for example with `ffmpeg -i FILE out.wav`"
        raise AudioError(f"{name} is not audio that libsndfile reads ({reason}): {remedy}") from error
    return as_samples(np.frombuffer(content, np.float32), name)


def mix_down(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels: [frames, channels] -> [frames], contiguous."""
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    mixed: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
    return mixed
