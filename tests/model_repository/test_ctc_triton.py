"""``ctc_decoder`` by itself inside a real Triton server."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from benchmarks.metrics import differences, read_metrics
from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.repository import make_repository
from shrota_testing.triton import infer, tensor
from shrota_testing.utterances import expected_text, noise

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves the decoder alone."""
    repository = make_repository(tmp_path_factory.mktemp("decoder") / "model_repository")
    with TritonServer(repository, models=["ctc_decoder"]) as running:
        yield running


def decode(
    server: TritonServer, log_probs: NDArray[np.float32], duration: float, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """RESULT of each row of [rows, frames, vocabulary]; TRANSCRIPT must be its text."""
    durations = np.full((log_probs.shape[0], 1), duration, np.float32)
    inputs = [tensor("LOG_PROBS", log_probs), tensor("DURATION", durations)]
    outputs = infer(server.grpc_url, "ctc_decoder", inputs, ["RESULT", "TRANSCRIPT"], parameters=parameters)
    results, transcripts = (output[:, 0] for output in outputs)
    decoded = [json.loads(result) for result in results]
    assert [transcript.decode("utf-8") for transcript in transcripts] == [result["text"] for result in decoded]
    return decoded


def log_probs_of(seconds: float, seed: int) -> NDArray[np.float32]:
    """What the tiny engine gives for noise, [1, frames, vocabulary]."""
    return tiny_log_probs(noise(seconds, seed))[None].astype(np.float32)


def test_requests_of_different_lengths_get_their_own_texts_and_are_counted(decoder: TritonServer) -> None:
    lengths = [0.5, 1.0, 2.0, 3.3, 7.0, 1.0]
    before = read_metrics(decoder.metrics_url)
    with ThreadPoolExecutor(len(lengths)) as pool:
        futures = [
            pool.submit(decode, decoder, log_probs_of(seconds, seed), seconds) for seed, seconds in enumerate(lengths)
        ]
    texts = [future.result()[0]["text"] for future in futures]
    assert texts == [expected_text(noise(seconds, seed)) for seed, seconds in enumerate(lengths)]
    grown = differences(before, read_metrics(decoder.metrics_url))
    assert grown["shrota_decoded_audio_seconds_total"] == pytest.approx(sum(lengths), rel=1e-3)
    assert grown["shrota_decode_seconds_total"] > 0


def test_rows_are_utterances_and_no_frame_is_an_empty_text(decoder: TritonServer) -> None:
    rows = np.concatenate([log_probs_of(1.0, 1), log_probs_of(1.0, 2)])
    assert [row["text"] for row in decode(decoder, rows, 1.0)] == [expected_text(noise(1.0, seed)) for seed in (1, 2)]
    assert decode(decoder, np.zeros((1, 0, 68), np.float32), 0.01)[0] == {
        "text": "", "confidence": 0.0, "duration": 0.01, "words": [], "alternatives": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("log_probs", "duration", "parameters", "message"),
    [
        (np.zeros((1, 5, 67), np.float32), 1.0, None, r"vocab\.json has 68 tokens"),
        (np.full((1, 5, 68), np.nan, np.float32), 1.0, None, "LOG_PROBS holds NaN"),
        (np.zeros((1, 5, 68), np.float32), float("nan"), None, "DURATION must be seconds"),
        (np.zeros((1, 5, 68), np.float32), 1.0, {"beam_width": 8}, "beam_width is 8"),
    ],
)
def test_what_cannot_be_decoded_is_an_invalid_argument(
    decoder: TritonServer,
    log_probs: NDArray[np.float32],
    duration: float,
    parameters: dict[str, Any] | None,
    message: str,
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        decode(decoder, log_probs, duration, parameters)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
