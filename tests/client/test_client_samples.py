"""Arrays of samples: what is sent, and what is refused before anything is sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from shrota_acoustic import requests
from shrota_client import AudioError
from shrota_client.audio import mix_down
from shrota_client.samples import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, as_samples, check_sample_rate, resample


def test_float32_is_not_copied() -> None:
    array = np.zeros(1000, np.float32)
    assert as_samples(array) is array


def test_float64_becomes_float32() -> None:
    samples = as_samples(np.array([0.1, -0.25]))
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, [0.1, -0.25], rtol=1e-7)


def test_int16_is_scaled_to_one() -> None:
    np.testing.assert_array_equal(as_samples(np.array([-32768, 0, 16384], np.int16)), [-1.0, 0.0, 0.5])


def test_a_strided_array_becomes_contiguous() -> None:
    stereo = np.arange(10, dtype=np.float32).reshape(5, 2)
    samples = as_samples(stereo[:, 1])
    assert samples.flags.c_contiguous
    np.testing.assert_array_equal(samples, [1, 3, 5, 7, 9])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 1, 16000), np.float32), r"has shape \[1, 1, 16000\]: give one utterance as \[samples\]"),
        (np.zeros((2, 16000), np.float32), r"send the rows of a batch one by one"),
        (np.float32(1), "is a float32: give a path or a numpy array"),
        (np.array(1, np.float32), r"has shape \[\]"),
        ([0.1, 0.2], "is a list: give a path or a numpy array"),
        (np.zeros(10, np.int32), "holds int32: give float32 or float64"),
        (np.zeros(10, np.complex64), "holds complex64"),
        (np.array(["a"]), "holds <U1"),
        (np.zeros(0, np.float32), "has no samples"),
        (np.array([0, np.nan, 0]), "contains NaN or infinity"),
        (np.array([0, np.inf], np.float32), "contains NaN or infinity"),
        (np.array([-np.inf, 0], np.float32), "contains NaN or infinity"),
        (np.array([1e300]), "contains NaN or infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_cannot_be_sent_is_refused(array: NDArray[np.float32], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        as_samples(array)


def test_more_than_one_message_can_carry_is_refused() -> None:
    # one sample seen half a billion times: it takes no memory
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.int16), (2**29,), (0,))
    with pytest.raises(AudioError, match=r"too long for one request \(about 9\.3 hours at 16 kHz\)"):
        as_samples(huge)


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, -16000, 16000.5, "16000", True, None, 10**9])
def test_impossible_rates(rate: int) -> None:
    with pytest.raises(AudioError, match=r"^sample_rate must be a whole number of Hz from 1000 to 768000, not "):
        check_sample_rate(rate)


def test_the_client_takes_the_rates_that_the_server_takes() -> None:
    assert (MIN_SAMPLE_RATE, MAX_SAMPLE_RATE) == (requests.MIN_SAMPLE_RATE, requests.MAX_SAMPLE_RATE)
    assert [check_sample_rate(rate) for rate in (MIN_SAMPLE_RATE, MAX_SAMPLE_RATE)] == [1000, 768_000]


def test_resampling_does_not_make_more_than_one_message_can_carry() -> None:
    # 500 MB at 1 kHz would be 8 GB at 16 kHz; seen so often, one sample takes no memory
    array = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (125_000_000,), (0,))
    with pytest.raises(AudioError, match="too long for one request"):
        resample(array, 1000)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 50), st.integers(1, 8)),
        elements=st.floats(-1, 1, width=32, allow_subnormal=False),
    )
)
def test_mixing_down_is_the_mean_of_the_channels(block: NDArray[np.float32]) -> None:
    mixed = mix_down(block)
    assert mixed.dtype == np.float32
    assert mixed.flags.c_contiguous
    np.testing.assert_allclose(mixed, block.astype(np.float64).mean(axis=1), atol=1e-6)


@given(st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]), st.integers(1, 5000))
def test_resampling_keeps_the_duration(rate: int, count: int) -> None:
    resampled = resample(np.zeros(count, np.float32), rate)
    assert abs(resampled.size - count * 16000 / rate) <= 1


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_keeps_a_tone(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    # the filter needs a few milliseconds at the ends
    np.testing.assert_allclose(resample(tone, rate)[400:-400], expected[400:-400], atol=1e-3)
