"""Servers of Triton's two protocols in this process, which answer as a test tells them."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "INTERNAL": 500, "UNAVAILABLE": 503}
"""The HTTP status that Triton answers for a gRPC status."""

QUEUE_FULL = ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size")
QUEUE_TIMEOUT = ("UNAVAILABLE", "[request id: <id_unknown>] Request timeout expired")


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; ``parameters`` are those of the request, the time-out among them."""

    model: str
    samples: NDArray[np.float32]
    shape: list[int]
    parameters: dict[str, Any]


Answer = str | tuple[str, str]
"""The text of a transcript, or a gRPC status and a message."""


@dataclass
class FakeTriton:
    """Answers with what ``answer`` gives for a request; remembers all requests."""

    answer: Callable[[Seen], Answer]
    seen: list[Seen] = field(default_factory=list)

    def take(self, seen: Seen) -> Answer:
        """Remembers the request and answers it."""
        self.seen.append(seen)
        return self.answer(seen)


def result_tensor(text: str, duration: float) -> bytes:
    """The RESULT tensor: one string, its length in four bytes before it."""
    words = [{"word": word, "start": 0.0, "end": duration, "confidence": 0.5} for word in text.split()]
    fields = {"text": text, "confidence": 0.5, "duration": duration, "words": words, "alternatives": []}
    content = json.dumps(fields, ensure_ascii=False).encode()
    return len(content).to_bytes(4, "little") + content


@dataclass(frozen=True)
class TlsFiles:
    """What a server needs for TLS; with ``client_authority`` it asks clients for a certificate."""

    certificate: Path
    key: Path
    client_authority: Path | None = None


@contextmanager
def serve(scheme: str, fake: FakeTriton, tls: TlsFiles | None = None, port: int = 0) -> Iterator[str]:
    """Serves by ``grpc`` or ``http`` on a loopback port, 0 for a free one; gives the URL."""
    with (_serve_grpc if scheme == "grpc" else _serve_http)(fake, tls, port) as bound:
        yield f"{scheme}{'s' if tls else ''}://127.0.0.1:{bound}"


@contextmanager
def _serve_grpc(fake: FakeTriton, tls: TlsFiles | None, port: int) -> Iterator[int]:
    def infer(message: bytes, context: grpc.ServicerContext) -> bytes:
        request = service_pb2.ModelInferRequest.FromString(message)
        parameters = {
            name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()
        }
        samples = np.frombuffer(request.raw_input_contents[0], np.float32)
        answer = fake.take(Seen(request.model_name, samples, list(request.inputs[0].shape), parameters))
        if isinstance(answer, tuple):
            context.abort(grpc.StatusCode[answer[0]], answer[1])
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="RESULT", datatype="BYTES", shape=[1, 1])
        response.raw_output_contents.append(result_tensor(str(answer), samples.size / 16000))
        content: bytes = response.SerializeToString()
        return content

    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    with ThreadPoolExecutor(64) as executor:
        server = grpc.server(executor, options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)]
        )
        if tls is None:
            port = server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
            authority = None if tls.client_authority is None else tls.client_authority.read_bytes()
            credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)
            port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


class _HttpServer(ThreadingHTTPServer):
    """Remembers its connections: they may be kept open long after their request."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def drop_connections(self) -> None:
        """Closes them, as the end of a process would."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news here."""


@contextmanager
def _serve_http(fake: FakeTriton, tls: TlsFiles | None, port: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            length = int(self.headers["Inference-Header-Content-Length"])
            header = json.loads(body[:length])
            samples = np.frombuffer(body[length:], np.float32)
            model = self.path.split("/")[-2]
            answer = fake.take(Seen(model, samples, header["inputs"][0]["shape"], header["parameters"]))
            if isinstance(answer, tuple):
                self._reply(STATUS[answer[0]], json.dumps({"error": answer[1]}).encode(), {})
                return
            tensor = result_tensor(answer, samples.size / 16000)
            output = {"name": "RESULT", "datatype": "BYTES", "shape": [1, 1]}
            outputs = [{**output, "parameters": {"binary_data_size": len(tensor)}}]
            start = json.dumps({"model_name": model, "outputs": outputs}).encode()
            self._reply(200, start + tensor, {"Inference-Header-Content-Length": str(len(start))})

        def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Says nothing."""

    server = _HttpServer(("127.0.0.1", port), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_authority is not None:
            context.load_verify_locations(tls.client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.drop_connections()
