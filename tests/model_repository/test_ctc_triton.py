"""``ctc_decoder`` by itself inside a real Triton server."""

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.repository import make_repository
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
    tensors = []
    for name, values in (
        ("LOG_PROBS", log_probs),
        ("DURATION", np.full((log_probs.shape[0], 1), duration, np.float32)),
    ):
        tensors.append(tritonclient.grpc.InferInput(name, list(values.shape), "FP32"))
        tensors[-1].set_data_from_numpy(values)
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        answer = client.infer("ctc_decoder", tensors, parameters=parameters)
    results = [json.loads(row) for row in answer.as_numpy("RESULT")[:, 0]]
    assert [row.decode("utf-8") for row in answer.as_numpy("TRANSCRIPT")[:, 0]] == [
        result["text"] for result in results
    ]
    return results


def log_probs_of(seconds: float, seed: int) -> NDArray[np.float32]:
    """What the tiny engine gives for noise, [1, frames, vocabulary]."""
    return tiny_log_probs(noise(seconds, seed))[None].astype(np.float32)


def counter(server: TritonServer, name: str) -> float:
    """A counter on the metrics endpoint."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as answer:
        lines = answer.read().decode("utf-8").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{"))


def test_requests_of_different_lengths_get_their_own_texts_and_are_counted(decoder: TritonServer) -> None:
    lengths = [0.5, 1.0, 2.0, 3.3, 7.0, 1.0]
    before = counter(decoder, "shrota_decoded_audio_seconds_total")
    with ThreadPoolExecutor(len(lengths)) as pool:
        futures = [
            pool.submit(decode, decoder, log_probs_of(seconds, seed), seconds) for seed, seconds in enumerate(lengths)
        ]
    texts = [future.result()[0]["text"] for future in futures]
    assert texts == [expected_text(noise(seconds, seed)) for seed, seconds in enumerate(lengths)]
    grown = counter(decoder, "shrota_decoded_audio_seconds_total") - before
    assert grown == pytest.approx(sum(lengths), rel=1e-3)
    assert counter(decoder, "shrota_decode_seconds_total") > 0


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
