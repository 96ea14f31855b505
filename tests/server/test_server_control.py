"""Triton's control interface, against a server in the test's own process."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from shrota_server.control import Control
from shrota_server.errors import ServerError

FAILURE = {
    "error": "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: TritonModelException: "
    "no engine\n\nAt:\n  /b/model.py(43): initialize\n;"
}


class Triton(HTTPServer):
    """Answers as Triton does; remembers with what it was told to load a model."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.loaded: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {"name": "m", "optimization": {"gather_kernel_buffer_threshold": 3}}
        self.failing = False


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Triton

    def do_GET(self) -> None:
        """Health and configuration."""
        if self.path == "/v2/models/m/config":
            self.answer(200, self.server.config)
        else:
            self.answer(200 if self.path in {"/v2/health/ready", "/v2/models/m/ready"} else 400, {})

    def do_POST(self) -> None:
        """Loading."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.failing:
            self.answer(400, FAILURE)
        else:
            self.server.loaded.append(json.loads(body["parameters"]["config"]))
            self.answer(200, {})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """Sends JSON."""
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def triton() -> Iterator[Triton]:
    server = Triton()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def control(triton: Triton) -> Control:
    return Control("127.0.0.1", triton.server_port)


def test_ready_when_the_server_and_every_model_are(control: Control) -> None:
    assert control.is_ready(["m"])
    assert not control.is_ready(["m", "another"])


def test_a_server_that_does_not_answer_is_not_ready(triton: Triton) -> None:
    unused = Control("127.0.0.1", 1, timeout_s=1)
    assert not unused.is_ready([])
    with pytest.raises(ServerError, match="Triton does not answer"):
        unused.reload("m", 1)


def test_a_reload_changes_something_that_does_nothing_and_no_parameter(triton: Triton, control: Control) -> None:
    control.reload("m", 5)
    assert triton.loaded == [{"name": "m", "optimization": {"gather_kernel_buffer_threshold": 4}}]
    triton.config = {"name": "m"}
    control.reload("m", 5)
    assert triton.loaded[1] == {"name": "m", "optimization": {"gather_kernel_buffer_threshold": 1}}


def test_a_reload_that_fails_tells_the_cause_alone(triton: Triton, control: Control) -> None:
    triton.failing = True
    with pytest.raises(ServerError, match=r"^no engine$"):
        control.reload("m", 5)
