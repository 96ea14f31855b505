"""More than the server can carry: the queue refuses, nothing is lost, service goes on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from shrota_client import Client
from shrota_client.errors import QueueFullError, ServerUnavailableError
from shrota_client.settings import Retry
from shrota_server import TritonServer
from shrota_testing.repository import make_repository, set_parameter, set_queue_size
from shrota_testing.utterances import expected_text, noise

pytestmark = pytest.mark.triton
REQUESTS = 24


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A slow engine behind a queue of four and a pending budget of two utterances."""
    repository = make_repository(tmp_path_factory.mktemp("overload") / "model_repository", ballast=8192)
    config = repository / "acoustic" / "config.pbtxt"
    set_queue_size(config, 4)
    set_parameter(config, "pending_budget_seconds", "40")
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


def outcomes(url: str, retry: Retry) -> list[Future[str]]:
    """What became of ``REQUESTS`` utterances of 20 s, sent at once."""

    def text(seed: int) -> str:
        with Client(url, retry=retry) as client:
            return client.transcribe(noise(20.0, seed)).text

    with ThreadPoolExecutor(REQUESTS) as pool:
        return [pool.submit(text, seed) for seed in range(REQUESTS)]


def test_a_full_queue_is_unavailable_and_every_other_request_is_answered(small_server: TritonServer) -> None:
    futures = outcomes(small_server.grpc_url, Retry(attempts=1))
    refused = [seed for seed, future in enumerate(futures) if isinstance(future.exception(), QueueFullError)]
    answered = [seed for seed in range(REQUESTS) if seed not in refused]
    assert refused
    assert answered
    assert [futures[seed].result() for seed in answered] == [expected_text(noise(20.0, seed)) for seed in answered]


def test_a_client_that_retries_gets_every_answer(small_server: TritonServer) -> None:
    futures = outcomes(small_server.grpc_url, Retry(attempts=100))
    assert [future.result() for future in futures] == [expected_text(noise(20.0, seed)) for seed in range(REQUESTS)]


def test_a_server_that_ends_in_mid_batch_is_one_clear_line(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository", ballast=16384)
    with (
        TritonServer(repository, models=["asr", "acoustic_onnx"]) as server,
        ThreadPoolExecutor(1) as pool,
        Client(server.grpc_url) as client,
    ):
        client.transcribe(noise(1.0))
        waiting = pool.submit(client.transcribe, noise(600.0))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        server.stop()
        error = waiting.exception(timeout=30)
    assert isinstance(error, ServerUnavailableError)
    assert "\n" not in str(error)
