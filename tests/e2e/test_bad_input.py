"""Bad input: each gets one clear line, and the requests beside it their own transcripts."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soxr
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from shrota_server import TritonServer
from shrota_testing.utterances import Neighbours, expected_text, noise

pytestmark = pytest.mark.triton

INVALID = {"grpc": "StatusCode.INVALID_ARGUMENT", "http": "400"}


def infer(
    server: TritonServer,
    protocol: str,
    audio: NDArray[Any],
    parameters: dict[str, Any] | None = None,
) -> list[str]:
    """Sends a tensor to ``asr`` as it is, past every check of the client; the transcripts of its rows."""
    module: ModuleType = tritonclient.grpc if protocol == "grpc" else tritonclient.http
    url = server.grpc_url if protocol == "grpc" else server.http_url
    tensor = module.InferInput("AUDIO", list(audio.shape), np_to_triton_dtype(audio.dtype))
    tensor.set_data_from_numpy(audio)
    with module.InferenceServerClient(url) as client:
        answer = client.infer("asr", [tensor], parameters=parameters)
        transcripts = answer.as_numpy("TRANSCRIPT")
    assert transcripts.shape == (audio.shape[0], 1)
    return [bytes(text).decode("utf-8") for text in transcripts[:, 0]]


def refused(call: Callable[[], object], server: TritonServer, neighbours: Neighbours) -> InferenceServerException:
    """The error of ``call``, made while good requests run before, beside and after it and get what is theirs."""
    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(infer, server, "grpc", audio[None]) for audio in neighbours.audios]
        bad = pool.submit(call)
        good += [pool.submit(infer, server, "http", audio[None]) for audio in neighbours.audios]
        error = bad.exception(timeout=60)
        texts = [future.result(timeout=60)[0] for future in good]
    assert texts == neighbours.expected() * 2
    assert isinstance(error, InferenceServerException)
    message = error.message()
    assert "Traceback" not in message
    assert "\n" not in message.strip()
    return error


SECOND = noise(1.0)[None]
BAD_TENSORS: dict[str, tuple[NDArray[Any], str]] = {
    "no samples": (np.zeros((1, 0), np.float32), "no samples|empty"),
    "NaN": (np.where(np.arange(16000) == 15999, np.nan, SECOND).astype(np.float32), "NaN or infinity|finite"),
    "infinity": (np.where(np.arange(16000) == 0, -np.inf, SECOND).astype(np.float32), "NaN or infinity|finite"),
    "an extra dimension": (SECOND[None], "shape|dimension"),
    "another data type": (SECOND.astype(np.float64), "data-type|type"),
    "integers": ((SECOND * 32767).astype(np.int16), "data-type|type"),
}
BAD_PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "sample_rate 0": ({"sample_rate": 0}, "sample_rate"),
    "sample_rate negative": ({"sample_rate": -8000}, "sample_rate"),
    "sample_rate a word": ({"sample_rate": "fast"}, "sample_rate"),
    "unknown engine": ({"engine": "acoustic_abacus"}, "acoustic_abacus"),
    "engine a number": ({"engine": 7}, "engine"),
    "beam_width 0": ({"beam_width": 0}, "beam_width"),
    "hotwords without a beam": ({"hotwords": "राम"}, "beam_width"),
    "hotword_weight without hotwords": ({"beam_width": 8, "hotword_weight": 5}, "no effect without `hotwords`"),
    "word_score without a model": ({"beam_width": 8, "lm_weight": 0, "word_score": 1}, "`word_score` has no effect"),
    "lm_weight below a hundredth": ({"beam_width": 8, "lm_weight": 0.004}, "`lm_weight` is rounded to hundredths"),
    "a misspelt name": ({"beamwidth": 8}, "unknown request parameter 'beamwidth': it must be one of engine, "),
    "n_best a word": ({"n_best": "many"}, "n_best"),
}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("case", BAD_TENSORS)
def test_a_bad_tensor_is_an_invalid_argument(
    server: TritonServer, neighbours: Neighbours, protocol: str, case: str
) -> None:
    audio, words = BAD_TENSORS[case]
    error = refused(lambda: infer(server, protocol, audio), server, neighbours)
    assert error.status() == INVALID[protocol]
    assert re.search(words, error.message()), error.message()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_a_bad_parameter_is_an_invalid_argument(
    server: TritonServer, neighbours: Neighbours, protocol: str, case: str
) -> None:
    parameters, words = BAD_PARAMETERS[case]
    error = refused(lambda: infer(server, protocol, SECOND, parameters), server, neighbours)
    assert error.status() == INVALID[protocol]
    assert words in error.message()


def test_audio_beyond_the_limit_is_refused_with_both_durations(server: TritonServer, neighbours: Neighbours) -> None:
    audio = np.zeros((1, 7201 * 16000), np.float32)
    error = refused(lambda: infer(server, "grpc", audio), server, neighbours)
    assert error.status() == INVALID["grpc"]
    assert "7201" in error.message()
    assert "7200" in error.message()


@pytest.mark.parametrize("samples", [1, 399])
def test_audio_shorter_than_a_frame_is_an_empty_text(server: TritonServer, samples: int) -> None:
    assert infer(server, "grpc", noise(1.0)[None, :samples]) == [""]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_rows_are_utterances(server: TritonServer, protocol: str) -> None:
    audio = np.stack([noise(2.0, seed) for seed in range(5)])
    assert infer(server, protocol, audio) == [expected_text(row) for row in audio]


@pytest.mark.parametrize("sample_rate", [8000, "8000"])
def test_another_rate_is_resampled(server: TritonServer, sample_rate: int | str) -> None:
    telephone = noise(4.0)[:32000]
    upsampled = soxr.resample(telephone, 8000, 16000, quality="HQ").astype(np.float32)
    [text] = infer(server, "grpc", telephone[None], {"sample_rate": sample_rate})
    assert text == expected_text(upsampled)
