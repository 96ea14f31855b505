"""Audio of a request: what is refused, and that reading a piece is reading that piece of the whole."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shrota_acoustic import recording as recording_module
from shrota_acoustic.errors import InvalidRequestError
from shrota_acoustic.recording import BLOCK, Recording
from shrota_testing.utterances import noise_rows


def read(recording: Recording, row: int, start: int, length: int) -> NDArray[np.float32]:
    into = np.full(length, np.nan, np.float32)
    recording.read(row, start, into)
    return into


@pytest.mark.parametrize("shape", [(1, 0), (0, 10), (0, 0)])
def test_no_samples(shape: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequestError, match="AUDIO holds no samples"):
        Recording(np.zeros(shape, np.float32), 16000, 16000, 60)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(value: float, where: int) -> None:
    audio = noise_rows(2, 2 * BLOCK + 6)
    audio[1, where] = value
    with pytest.raises(InvalidRequestError, match=f"at sample {where} of row 1: send finite numbers"):
        Recording(audio, 16000, 16000, 60)


def test_too_long_audio_is_told_both_lengths() -> None:
    with pytest.raises(InvalidRequestError, match=r"AUDIO is 2\.50 s long, the limit is 2 s"):
        Recording(noise_rows(1, 20000), 8000, 16000, 2)
    assert Recording(noise_rows(1, 16000), 8000, 16000, 2).seconds == 2


def test_the_limit_is_for_all_rows_together() -> None:
    with pytest.raises(InvalidRequestError, match=r"3 rows of 1\.00 s, the limit is 2 s for all together: send fewer"):
        Recording(noise_rows(3, 16000), 16000, 16000, 2)
    assert Recording(noise_rows(2, 16000), 16000, 16000, 2).rows == 2


def test_the_limit_is_in_seconds_at_the_rate_of_the_audio() -> None:
    with pytest.raises(InvalidRequestError, match=r"64 rows of 7\.20 s, the limit is 400 s for all together"):
        Recording(noise_rows(64, 7200), 1000, 16000, 400)


@pytest.fixture
def without_soxr(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``recording`` as a Python without soxr imports it."""
    monkeypatch.setitem(sys.modules, "soxr", None)
    spec = importlib.util.spec_from_file_location("recording_without_soxr", str(recording_module.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_soxr_the_models_rate_is_served_all_the_same(without_soxr: ModuleType) -> None:
    audio = noise_rows(1, 1000)
    np.testing.assert_array_equal(read(without_soxr.Recording(audio, 16000, 16000, 60), 0, 10, 500), audio[0, 10:510])


def test_without_soxr_another_rate_is_refused_with_what_to_do(without_soxr: ModuleType) -> None:
    told = "cannot resample, and the audio has 8000 Hz: send 16000 Hz, or install soxr in the server's Python"
    with pytest.raises(InvalidRequestError, match=told):
        without_soxr.Recording(noise_rows(1, 1000), 8000, 16000, 60)


def test_audio_beyond_one_is_accepted_as_it_is() -> None:
    audio = 40_000 * noise_rows(1, 1000)
    np.testing.assert_array_equal(read(Recording(audio, 16000, 16000, 60), 0, 10, 500), audio[0, 10:510])


@pytest.mark.parametrize(("rate", "samples", "expected"), [(16000, 399, 399), (8000, 10, 20), (48000, 16000, 5333)])
def test_its_length_is_counted_at_the_models_rate(rate: int, samples: int, expected: int) -> None:
    recording = Recording(noise_rows(1, samples), rate, 16000, 60)
    assert recording.samples == expected
    assert recording.seconds == samples / rate


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 15999, 96000])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_resampled_window_equals_that_part_of_the_whole_resampled(rate: int, data: st.DataObject) -> None:
    audio = noise_rows(2, 3 * rate)
    whole = soxr.resample(audio[1], rate, 16000, quality="HQ")
    recording = Recording(audio, rate, 16000, 60)
    start = data.draw(st.integers(0, recording.samples - 1))
    length = data.draw(st.integers(1, recording.samples - start))
    np.testing.assert_allclose(read(recording, 1, start, length), whole[start : start + length], atol=1e-6)


@pytest.mark.parametrize("rate", [1000, 1009, 7919, 768_000])
def test_odd_rates_are_read_all_the_same(rate: int) -> None:
    recording = Recording(noise_rows(1, max(1, rate // 5)), rate, 16000, 60)
    assert np.isfinite(read(recording, 0, 0, recording.samples)).all()
