"""HTTP and gRPC behind nginx with docker/nginx/shrota.conf, with the real client. Needs nginx on the PATH."""

import gzip
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from shrota_client import Client, NoServerError, RequestError, ServerError, ServerUnavailableError, ShrotaError, Tls
from shrota_server import TritonServer
from shrota_server.access import KEY_NAME
from shrota_testing.nginx import FOLDER, TLS, free_port, needs_nginx, nginx
from shrota_testing.repository import make_repository
from shrota_testing.triton import tensor, wait_until
from shrota_testing.utterances import expected_text, noise

pytestmark = [pytest.mark.triton, needs_nginx]
ADMIN_KEY = "the-key-of-this-test"
TRUST = Tls(root_certificates=TLS / "authority.pem")
BOTH = Tls(TLS / "authority.pem", TLS / "client.pem", TLS / "client.key")
SCHEMES = ["https", "grpcs"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with a key that the test knows."""
    repository = make_repository(tmp_path_factory.mktemp("nginx") / "model_repository")
    with TritonServer(repository, models=["asr", "acoustic_onnx"], admin_key=ADMIN_KEY) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Nginx as it is shipped, but for a smaller limit on bodies."""
    with nginx(tmp_path_factory.mktemp("proxy"), server.http_url, server.grpc_url, body="1m") as address:
        yield address


@pytest.fixture(scope="module")
def strict_proxy(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Nginx that asks for a certificate."""
    with nginx(tmp_path_factory.mktemp("strict"), server.http_url, server.grpc_url, mutual=True) as address:
        yield address


def call(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    connection = http.client.HTTPSConnection(address, context=context, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None
    finally:
        connection.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_speech_is_transcribed_through_it(proxy: str, scheme: str) -> None:
    audio = noise(2.0)
    with Client(f"{scheme}://{proxy}", tls=TRUST) as client:
        assert client.transcribe(audio).text == expected_text(audio)
        log_probs = client.log_probs(audio)
        assert client.decode(log_probs).text == expected_text(audio)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_of_another_authority_is_refused_by_the_client(proxy: str, scheme: str) -> None:
    with (
        Client(f"{scheme}://{proxy}", tls=Tls(root_certificates=TLS / "other_authority.pem")) as client,
        pytest.raises(NoServerError, match=r"the encrypted connection failed .*CERTIFICATE_VERIFY_FAILED"),
    ):
        client.transcribe(noise(1.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_mutual_tls_only_callers_with_a_certificate_are_served(strict_proxy: str, scheme: str) -> None:
    audio = noise(1.0)
    with Client(f"{scheme}://{strict_proxy}", tls=BOTH) as client:
        assert client.transcribe(audio).text == expected_text(audio)
    with Client(f"{scheme}://{strict_proxy}", tls=TRUST) as client, pytest.raises(ShrotaError, match="403"):
        client.transcribe(audio)


def test_without_a_certificate_the_answer_says_what_is_missing(strict_proxy: str) -> None:
    status, answer = call(strict_proxy, "GET", "/v2/health/live")
    assert status == 403
    assert answer == {"error": "a client certificate of this server's authority is required"}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_is_told(proxy: str, path: str) -> None:
    assert call(proxy, "GET", path) == (200, None)
    assert call(proxy, "POST", path) == (403, {"error": "not with this method: health is a GET, inference a POST"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v2/models/asr"),
        ("GET", "/v2/models/asr/config"),
        ("GET", "/v2/models/asr/stats"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/asr/load"),
        ("POST", "/v2/repository/models/asr/unload"),
        ("GET", "/v2/logging"),
        ("GET", "/v2/trace/setting"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("POST", "/v2/models/acoustic_onnx/infer"),
        ("POST", "/v2/models/asr/generate"),
        ("POST", "/v2/models/asr/infer/../../../repository/index"),
        ("POST", "/v2/models/asr/infer%0a"),
        ("GET", "/metrics"),
        ("GET", "/"),
    ],
)
def test_nothing_else_is_reached_even_with_the_key(proxy: str, method: str, path: str) -> None:
    status, answer = call(proxy, method, path, b"{}" if method == "POST" else b"", **{KEY_NAME: ADMIN_KEY})
    assert status == 404
    assert answer == {"error": "nothing is served here but transcription and health"}


def test_over_grpc_administration_is_not_reached_even_with_the_key(proxy: str) -> None:
    with InferenceServerClient(proxy, ssl=True, root_certificates=str(TLS / "authority.pem")) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("asr")
        for ask in (client.get_model_repository_index, client.get_log_settings, client.get_server_metadata):
            with pytest.raises(InferenceServerException) as caught:
                ask(headers={f"triton-grpc-protocol-{KEY_NAME}": ADMIN_KEY})
            assert "404" in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_body_over_the_limit_is_refused(proxy: str, scheme: str) -> None:
    with Client(f"{scheme}://{proxy}", tls=TRUST) as client:
        with pytest.raises((RequestError, ServerError)) as caught:
            client.transcribe(noise(30.0))  # 1.9 MB
        assert "413" in str(caught.value) or "larger than this server takes" in str(caught.value)
        assert client.transcribe(noise(1.0)).text == expected_text(noise(1.0))


class Backend(ThreadingHTTPServer):
    """Stands in for Triton, and keeps the headers and bodies that reach it; answers when it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BackendHandler)
        self.seen: list[tuple[dict[str, str], int]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()


class BackendHandler(BaseHTTPRequestHandler):
    """One request."""

    server: Backend

    def do_POST(self) -> None:
        """Reads as many bytes as it is told that there are."""
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.server.seen.append((headers, len(self.rfile.read(int(headers.get("content-length", 0))))))
        self.server.may_answer.wait(timeout=20)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A running one."""
    with Backend() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_bodies_are_handed_on_whole_without_the_key_and_within_the_limit_that_is_shipped(
    backend: Backend, tmp_path: Path
) -> None:
    assert "client_max_body_size 128m;" in (FOLDER / "shrota.conf").read_text(encoding="utf-8")
    assert pytest.approx(35, abs=0.1) == 128 * 2**20 / (16000 * 4 * 60)  # minutes, as the comment says
    here = f"127.0.0.1:{backend.server_port}"
    with nginx(tmp_path, here, here) as address:
        large = {"Content-Length": str(128 * 2**20 + 1)}
        status, answer = call(address, "POST", "/v2/models/asr/infer", b"", **large)
        assert (status, answer["error"]) == (413, "the request is larger than this server takes: send shorter audio")
        sent = {KEY_NAME: ADMIN_KEY, "Transfer-Encoding": "chunked", "Inference-Header-Content-Length": "3"}
        chunked = b"".join(b"1\r\n%c\r\n" % letter for letter in b"abcdef") + b"0\r\n\r\n"
        assert call(address, "POST", "/v2/models/asr/infer", chunked, **sent) == (200, {})
    ((headers, length),) = backend.seen
    assert length == 6
    assert headers["inference-header-content-length"] == "3"
    assert "transfer-encoding" not in headers
    assert KEY_NAME not in headers


@pytest.mark.parametrize(("one", "everybody"), [(1, 256), (64, 1)], ids=["of one address", "of all together"])
def test_who_sends_too_much_at_a_time_is_told_so(backend: Backend, tmp_path: Path, one: int, everybody: int) -> None:
    here = f"127.0.0.1:{backend.server_port}"
    backend.may_answer.clear()
    limits = nginx(tmp_path, here, here, connections=one, all_connections=everybody)
    with limits as address, ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, address, "POST", "/v2/models/asr/infer", b"abc")
        assert wait_until(lambda: bool(backend.seen), 10)
        second = call(address, "POST", "/v2/models/asr/infer", b"abc")
        backend.may_answer.set()
        assert first.result(timeout=20) == (200, {})
        assert call(address, "POST", "/v2/models/asr/infer", b"abc") == (200, {})
    assert second == (503, {"error": "too many requests at a time: send fewer at once, or try again later"})


def test_a_server_that_is_gone_is_told_to_the_client(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with (
        nginx(tmp_path, nobody, nobody) as address,
        Client(f"https://{address}", tls=TRUST) as client,
        pytest.raises(ServerUnavailableError, match="the server behind this proxy does not answer"),
    ):
        client.transcribe(noise(1.0))


def test_triton_itself_would_unpack_what_is_compressed(server: TritonServer) -> None:
    audio = np.zeros(16000 * 60, np.float32)
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "AUDIO",
                    "datatype": "FP32",
                    "shape": [1, audio.size],
                    "parameters": {"binary_data_size": audio.nbytes},
                }
            ],
            "outputs": [{"name": "TRANSCRIPT"}],
        }
    ).encode()
    packed = gzip.compress(header + audio.tobytes())
    assert len(packed) < audio.nbytes / 200
    connection = http.client.HTTPConnection(server.http_url, timeout=30)
    headers = {"Content-Encoding": "gzip", "Inference-Header-Content-Length": str(len(header))}
    connection.request("POST", "/v2/models/asr/infer", packed, headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["outputs"][0]["name"] == "TRANSCRIPT"
    connection.close()


def test_what_is_compressed_is_refused(proxy: str) -> None:
    status, answer = call(proxy, "POST", "/v2/models/asr/infer", b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert (status, answer["error"]) == (415, "compressed requests are not taken: send the samples as they are")
    with InferenceServerClient(proxy, ssl=True, root_certificates=str(TLS / "authority.pem")) as client:
        inputs: list[InferInput] = [tensor("AUDIO", noise(1.0)[None])]
        with pytest.raises(InferenceServerException, match="415"):
            client.infer("asr", inputs, outputs=[InferRequestedOutput("TRANSCRIPT")], compression_algorithm="gzip")
