"""The client against a real Triton server, whose model ``asr`` answers with what it was sent."""

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shrota_client import (
    AsyncClient,
    Client,
    Decoding,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    Retry,
    ServerError,
    ServerUnavailableError,
    ShrotaError,
    Timeouts,
)
from shrota_client.message import Parameter
from shrota_server import TritonServer

pytestmark = pytest.mark.triton

CONFIG = """
name: "asr"
backend: "python"
max_batch_size: 64
input [ { name: "AUDIO" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [
  { name: "TRANSCRIPT" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] }
]
dynamic_batching {
  preferred_batch_size: [ 1 ]
  default_queue_policy {
    max_queue_size: 2
    timeout_action: REJECT
    default_timeout_microseconds: 60000000
    allow_timeout_override: true
  }
}
"""

AUDIO = np.full(16000, 0.25, np.float32)
HEARD = "नमस्ते 16000 250"


ENSEMBLE = """
name: "asr"
platform: "ensemble"
max_batch_size: 64
input [ { name: "AUDIO" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "RESULT" data_type: TYPE_STRING dims: [ 1 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "step"
      model_version: -1
      input_map { key: "AUDIO" value: "AUDIO" }
      output_map { key: "RESULT" value: "RESULT" }
    }
  ]
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("repository")
    version = repository / "asr" / "1"
    version.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "asr_model.py", version / "model.py")
    (version.parent / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    with TritonServer(repository, models=["asr"]) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def url(request: pytest.FixtureRequest, server: TritonServer) -> str:
    return f"grpc://{server.grpc_url}" if request.param == "grpc" else f"http://{server.http_url}"


def test_the_audio_arrives_and_parameters_keep_their_types(url: str) -> None:
    parameters: dict[str, Parameter] = {"engine": "acoustic_onnx", "hotwords": "राम", "beam_width": 32, "flag": True}
    with Client(url) as client:
        transcript = client.transcribe(AUDIO, parameters={**parameters, "lm_weight": 0.5})
    assert transcript.text == HEARD
    assert transcript.duration == 1.0
    seen = transcript.alternatives[0].details["parameters"]
    assert {name: seen[name] for name in parameters} == parameters
    assert float(seen["lm_weight"]) == 0.5


def test_settings_of_the_decoder_reach_the_steps_of_an_ensemble(tmp_path: Path) -> None:
    """Weights stay numbers by both protocols."""
    step = tmp_path / "step" / "1"
    step.mkdir(parents=True)
    (tmp_path / "asr" / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "asr_model.py", step / "model.py")
    (step.parent / "config.pbtxt").write_text(CONFIG.replace('"asr"', '"step"'), encoding="utf-8")
    (tmp_path / "asr" / "config.pbtxt").write_text(ENSEMBLE, encoding="utf-8")
    decoding = Decoding(
        beam_width=32,
        lm_weight=0.1,
        word_score=-1,
        hotwords=["राम", ("सीता राम", 3)],
        hotword_weight=1e-7,
        n_best=4,
        words=False,
    )
    with TritonServer(tmp_path, models=["asr"]) as server:
        for url in (f"grpc://{server.grpc_url}", f"http://{server.http_url}"):
            with Client(url, decoding=decoding) as client:
                seen = client.transcribe(AUDIO).alternatives[0].details["parameters"]
            received = {name: seen.get(name) for name in decoding.parameters()}
            assert received == decoding.parameters()
            assert [type(value) for value in received.values()] == [int, float, float, str, float, int, bool]


def test_the_asynchronous_client_hears_the_same(url: str) -> None:
    async def run() -> list[str]:
        async with AsyncClient(url) as client:
            return [
                result.unwrap().text async for result in client.transcribe_many([AUDIO, AUDIO[:8000]], concurrency=2)
            ]

    assert asyncio.run(run()) == [HEARD, "नमस्ते 8000 250"]


@pytest.mark.parametrize(
    ("status", "expected", "message"),
    [
        ("INVALID_ARG", RequestError, "^क्या as you wish$"),
        ("UNAVAILABLE", ServerUnavailableError, "cannot answer now.*क्या as you wish"),
        ("INTERNAL", ServerError, "failed.*क्या as you wish"),
    ],
)
def test_errors_of_the_model(url: str, status: str, expected: type[ShrotaError], message: str) -> None:
    with Client(url) as client, pytest.raises(expected, match=message):
        client.transcribe(AUDIO, parameters={"fail": status, "message": "क्या as\nyou wish"})


def test_a_full_queue_is_recognised_and_waited_for(url: str) -> None:
    """One request runs, two wait, the others are refused; with retries all are served."""
    for retry, refused in ((Retry(attempts=1), True), (Retry(attempts=50, max_delay_s=0.3), False)):
        with Client(url, retry=retry) as client:
            results = list(client.transcribe_many([AUDIO] * 9, parameters={"sleep_s": 0.15}, concurrency=9))
        errors = [result.error for result in results if result.error is not None]
        assert all(isinstance(error, QueueFullError) for error in errors)
        assert bool(errors) is refused


def test_a_time_out_of_the_client_reaches_triton(url: str) -> None:
    """While another request runs, one that waits longer than its time-out allows is dropped from the queue."""
    with Client(url) as patient, Client(url, timeouts=Timeouts(request_s=0.3)) as hasty:
        thread = threading.Thread(target=patient.transcribe, args=(AUDIO,), kwargs={"parameters": {"sleep_s": 1.5}})
        thread.start()
        time.sleep(0.3)
        with pytest.raises(RequestTimeoutError, match=r"within 0\.3 s"):
            hasty.transcribe(AUDIO, parameters={"sleep_s": 1.5})
        thread.join()
        # had it been kept, this one would have to wait for it
        start = time.monotonic()
        assert patient.transcribe(AUDIO).text == HEARD
        assert time.monotonic() - start < 1


def test_half_an_hour_goes_through(url: str) -> None:
    with Client(url) as client:
        transcript = client.transcribe(np.zeros(30 * 60 * 16000, np.float32))
    assert transcript.text == f"नमस्ते {30 * 60 * 16000} 0"


def test_a_model_that_is_not_loaded(tmp_path: Path) -> None:
    model = tmp_path / "other" / "1"
    model.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "asr_model.py", model / "model.py")
    config = CONFIG.replace('"asr"', '"other"')
    (model.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    with TritonServer(tmp_path, models=["other"]) as server:
        for address in (server.grpc_url, f"http://{server.http_url}"):
            with Client(address) as client, pytest.raises(ServerUnavailableError, match="is not serving the model"):
                client.transcribe(AUDIO)
