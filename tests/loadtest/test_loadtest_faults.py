"""What goes wrong while a server is under load: every request ends, none with another's text, and service comes back.

Faults without load, one request at a time, are in ``tests/server/test_killed_models.py``.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import soundfile
from tritonclient.grpc import InferenceServerClient

from shrota_client import ServerUnavailableError
from shrota_loadtest.metrics import read_metrics
from shrota_server import TritonServer
from shrota_server.access import GRPC_PREFIX, KEY_NAME
from shrota_server.instance import SHARED_MEMORY
from shrota_testing.load import REQUEST_S, Load, addresses, timed_round
from shrota_testing.repository import make_repository
from shrota_testing.triton import stub_pid, stub_pids, wait_until
from shrota_testing.utterances import RATE, noise

pytestmark = pytest.mark.triton
AGAIN_S = 10
LONG_S = 150
"""Of a file: more than all the callers of the load have in the server at a time."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A supervised server whose engine is slow enough that a dozen callers make a queue."""
    repository = make_repository(tmp_path_factory.mktemp("faults") / "model_repository", ballast=1024)
    with TritonServer(repository, models=["asr", "acoustic_onnx"], supervise=True) as running:
        yield running


def under_load(server: TritonServer, fault: Callable[[], None], calm_s: float = 2.0) -> tuple[Load, float]:
    """Does something to a server under load, and keeps the load up until all have been served for some time.

    Whatever it is: every request ends within its time-out, no answer is another's, all errors are clear, service is
    back in time, and all utterances are then heard by both protocols.

    Returns:
        The load, and the seconds from the fault until service was back.
    """
    with Load(server) as load:
        assert load.wait_served(time.monotonic(), AGAIN_S)
        begin = time.monotonic()
        fault()
        assert load.wait_served(begin, 3 * AGAIN_S, calm_s)
        served_at = load.served_at(begin)
    assert served_at is not None
    assert load.longest_s() < REQUEST_S + 1
    assert load.mixed_up() == []
    assert [error for error in load.errors() if not is_clear(error)] == []
    for address in addresses(server):
        timed_round(address)
    return load, served_at - begin


def is_clear(error: Exception) -> bool:
    """Whether it says in one line that the server cannot answer now."""
    return isinstance(error, ServerUnavailableError) and "\n" not in str(error)


@pytest.mark.parametrize("model", ["acoustic_onnx", "ctc_decoder", "acoustic"])
def test_a_model_that_is_killed_serves_again(server: TritonServer, model: str) -> None:
    killed = stub_pid(server.pid, model)
    _, back_s = under_load(server, lambda: os.kill(killed, signal.SIGKILL))
    assert back_s < AGAIN_S
    assert killed not in stub_pids(server.pid, model)


def load_anew(server: TritonServer, model: str) -> None:
    """Through Triton's repository API; the ensemble as an operator does, who has changed its configuration."""
    if model != "asr":
        server.control.reload(model, AGAIN_S)
        return
    (server.repository / model / "config.pbtxt").touch()
    with InferenceServerClient(server.grpc_url) as client:
        client.load_model(model, headers={f"{GRPC_PREFIX}{KEY_NAME}": str(server.control.admin_key)})


@pytest.mark.parametrize("model", ["acoustic_onnx", "ctc_decoder", "acoustic", "asr"])
def test_a_model_that_is_loaded_anew_costs_no_request(server: TritonServer, model: str) -> None:
    """Triton keeps the old one until all that it has begun is answered."""
    tritonserver, before = server.pid, unloaded(server, model)
    load, back_s = under_load(server, lambda: load_anew(server, model))
    assert load.errors() == []
    assert back_s < AGAIN_S
    assert wait_until(lambda: unloaded(server, model) > before, AGAIN_S)
    # the supervisor took the end of the old process for no death
    assert server.pid == tritonserver


def unloaded(server: TritonServer, model: str) -> int:
    """How often Triton has unloaded a model."""
    text = server.log_path.read_text(encoding="utf-8", errors="replace")
    return text.count(f"successfully unloaded '{model}'")


def pending_s(server: TritonServer) -> float:
    """Seconds of audio in the server that are still to be run."""
    return read_metrics(server.metrics_url)["shrota_pending_seconds"]


def shared_memory(server: TritonServer) -> dict[str, int]:
    """Bytes of each region that the server and its models share."""
    regions = SHARED_MEMORY.glob(f"{server.log_path.parent.name}-*")
    return {region.name: region.stat().st_blocks * 512 for region in regions}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_client_that_is_killed_harms_no_other(server: TritonServer, protocol: str, tmp_path: Path) -> None:
    """While it waits for a long file and some short ones, which the server runs or drops."""
    (address,) = (address for address in addresses(server) if address.startswith(protocol))
    files = [tmp_path / f"{number}.wav" for number in range(6)]
    for number, file in enumerate(files):
        soundfile.write(file, noise(5.0 if number else LONG_S, 1000 + number), RATE)
    command: list[str | Path] = [Path(sys.executable).with_name("shrota"), "transcribe", "--server", address, *files]
    before_s = timed_round(address)
    held = []

    def kill_clients() -> None:
        for _ in range(3):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
                assert wait_until(lambda: pending_s(server) > 0.75 * LONG_S, AGAIN_S)
                client.kill()
            assert client.returncode == -signal.SIGKILL
            assert wait_until(lambda: pending_s(server) < 0.5 * LONG_S, 3 * AGAIN_S)
            held.append(shared_memory(server))

    load, _ = under_load(server, kill_clients, calm_s=0)
    assert load.errors() == []
    assert wait_until(lambda: pending_s(server) == 0, AGAIN_S)
    # what the first one needed serves the others too
    assert held[-1].keys() == held[0].keys()
    assert sum(held[-1].values()) - sum(held[0].values()) < LONG_S * RATE * 4
    assert wait_until(lambda: timed_round(address) < 2 * before_s, AGAIN_S)


def test_clients_that_vanish_while_they_send_leave_nothing(server: TritonServer) -> None:
    """Half of an hour's audio each; the system closes the connection of a process that ends so."""
    body_bytes = 3600 * RATE * 4
    host, port = server.http_url.split(":")
    tritonserver = psutil.Process(server.pid)

    def vanish() -> None:
        for _ in range(4):
            with socket.create_connection((host, int(port))) as client:
                head = f"POST /v2/models/asr/infer HTTP/1.1\r\nHost: {host}\r\nContent-Length: {body_bytes}\r\n\r\n"
                client.sendall(head.encode() + bytes(body_bytes // 2))

    before_bytes = tritonserver.memory_info().rss
    load, _ = under_load(server, vanish, calm_s=0)
    assert load.errors() == []
    assert wait_until(lambda: tritonserver.memory_info().rss - before_bytes < body_bytes / 2, AGAIN_S)
