"""Audio files: formats, rates and channels that are read, and one clear line for everything else."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from shrota_client import AudioError, audio, samples
from shrota_client.audio import mix_down, read_audio


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> NDArray[np.float32]:
    """440 Hz at half scale, [frames, channels]."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    return np.repeat(wave.astype(np.float32)[:, None], channels, axis=1)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_any_rate_and_channel_count_becomes_mono_at_16_khz(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, channels=channels), rate, subtype="FLOAT")
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert samples.shape == (16000,)
    np.testing.assert_allclose(samples[400:-400], tone(16000)[400:-400, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".wav", {"subtype": "PCM_16"}),
        (".flac", {}),
        (".ogg", {"format": "OGG", "subtype": "VORBIS"}),
        (".opus", {"format": "OGG", "subtype": "OPUS"}),
        (".mp3", {"format": "MP3"}),
    ],
)
def test_formats(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    path = tmp_path / f"tone{suffix}"
    soundfile.write(path, tone(48000, channels=2), 48000, **options)
    samples = read_audio(path)
    # lossy codecs add a little at the ends and change a little everywhere
    assert abs(samples.size - 16000) < 800
    spectrum = np.abs(np.fft.rfft(samples[4000:12000] * np.hanning(8000)))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(samples[4000:12000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_an_open_file_is_read_as_a_named_one(tmp_path: Path) -> None:
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone(44100, channels=2), 44100)
    np.testing.assert_array_equal(read_audio(io.BytesIO(path.read_bytes())), read_audio(path))


def test_a_file_of_several_blocks_has_no_seams(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(44100, seconds=15), 44100, subtype="FLOAT")
    samples = read_audio(path)
    assert samples.size == 15 * 16000
    np.testing.assert_allclose(samples[400:-400], tone(16000, seconds=15)[400:-400, 0], atol=1e-3)


def test_only_what_is_sent_lies_in_memory(tmp_path: Path) -> None:
    """Five minutes of 48 kHz stereo are 115 MB as floats, 19 MB of which are sent."""
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 48000, 2) as sound:
        for _ in range(10):
            sound.write(np.zeros((30 * 48000, 2), np.int16))
    tracemalloc.start()
    samples = read_audio(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples.size == 300 * 16000
    # blocks of 2^18 frames, and the room to grow of a bytearray
    assert peak < 1.3 * samples.nbytes + 12e6


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_a_rate_that_no_recording_has(tmp_path: Path, rate: int) -> None:
    """Two thousand samples that say 1 Hz would become 32 million."""
    path = tmp_path / "absurd.wav"
    soundfile.write(path, np.zeros(2000, np.int16), rate)
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert (
        str(caught.value) == f"the sample rate of {path} must be a whole number of Hz from 1000 to 768000, not {rate}"
    )


@pytest.mark.parametrize("rate", [1000, 768_000])
def test_the_rates_at_the_limits(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "limit.wav", np.zeros(rate, np.int16), rate)
    assert read_audio(tmp_path / "limit.wav").size == 16000


def test_reading_ends_where_a_request_would_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[int] = []

    def count_frames(block: NDArray[np.float32]) -> NDArray[np.float32]:
        frames.append(len(block))
        return mix_down(block)

    soundfile.write(tmp_path / "long.wav", np.zeros(100_000, np.int16), 16000)
    monkeypatch.setattr(audio, "mix_down", count_frames)
    monkeypatch.setattr(audio, "BLOCK_FRAMES", 1000)
    monkeypatch.setattr(samples, "MAX_BYTES", 4 * 2500)
    with pytest.raises(AudioError, match=r"long\.wav is too long for one request"):
        read_audio(tmp_path / "long.wav")
    assert frames == [1000, 1000, 1000]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: record or copy it again"),
        (b"This is a text, whatever its name says.\n" * 50, "is not audio that libsndfile reads"),
        (b"RIFF\x24\x00\x00\x00WAVE", "is not audio that libsndfile reads"),
        (bytes(5000), "is not audio that libsndfile reads"),
    ],
)
def test_what_is_no_audio(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_header_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(AudioError, match=r"silent\.wav has no samples"):
        read_audio(path)


def test_samples_that_are_not_numbers(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav contains NaN or infinity"):
        read_audio(path)


def test_a_cut_off_file_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, tone(16000, seconds=2), 16000)
    path.write_bytes(path.read_bytes()[:32044])
    assert read_audio(path).size == 16000


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"there is no file .*nothing\.wav: check the path"):
        read_audio(tmp_path / "nothing.wav")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder"):
        read_audio(tmp_path)


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.wav"
    soundfile.write(path, tone(16000), 16000)

    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    # the owner of a container reads everything, so the refusal is staged
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"cannot read .*secret\.wav \(Permission denied\): check its permissions"):
        read_audio(path)


def test_a_name_with_a_zero_byte() -> None:
    with pytest.raises(AudioError, match="cannot read"):
        read_audio("a\0b.wav")


def test_an_empty_stream() -> None:
    with pytest.raises(AudioError, match="the stream is empty"):
        read_audio(io.BytesIO(b""))
