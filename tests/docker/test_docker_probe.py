"""When the probe calls a server dead, and when only busy: against a server that says what a test wants."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shrota_testing import scripts

PROBE: Any = scripts.load(scripts.PROBE)
FULL = (503, "[request id: <id_unknown>] Exceeds maximum queue size")
EXPIRED = (503, "in ensemble 'asr', [request id: <id_unknown>] Request timeout expired")
DEAD = (500, "in ensemble 'asr', Stub process 'acoustic_0_0' is not healthy.")


class Triton:
    """A server that answers as it is told to.

    Attributes:
        answer: status and error of an inference; None: it does not answer.
        progress: what is done with each look at the metrics.
        ready: what it says of itself.
    """

    def __init__(self) -> None:
        self.answer: tuple[int, str] | None = (200, "")
        self.progress = 0
        self.ready = True
        self.requests: list[dict[str, Any]] = []
        self._done = 7
        self._over = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    fake._done += fake.progress
                    self.reply(200, f'# HELP\nnv_inference_request_success{{model="asr"}} {fake._done}\nother 1\n')
                else:
                    self.reply(200 if fake.ready else 400, "")

            def do_POST(self) -> None:
                fake.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if fake.answer is None:
                    fake._over.wait(5)
                    return
                self.reply(*fake.answer)

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def probed(self) -> Any:
        """Its ports, for the probe."""
        return PROBE.Server(self._server.server_port, 0, self._server.server_port)

    @property
    def ports(self) -> list[str]:
        """The same as options."""
        return [f"--http={self._server.server_port}", f"--metrics={self._server.server_port}"]

    def close(self) -> None:
        """Ends it."""
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def triton() -> Iterator[Triton]:
    """A server that is well."""
    server = Triton()
    yield server
    server.close()


def test_it_asks_for_the_transcript_of_some_silence(triton: Triton) -> None:
    PROBE.infer(triton.probed, 3)
    (asked,) = triton.requests
    (audio,) = asked["inputs"]
    assert audio == {"name": "AUDIO", "datatype": "FP32", "shape": [1, 1600], "data": [0.0] * 1600}
    assert asked["outputs"] == [{"name": "TRANSCRIPT"}]
    assert asked["parameters"] == {"timeout": 3_000_000}


@pytest.mark.parametrize("answer", [FULL, EXPIRED, None], ids=["full", "expired", "silent"])
def test_a_server_that_gets_other_work_done_is_alive(triton: Triton, answer: tuple[int, str] | None) -> None:
    triton.answer, triton.progress = answer, 1
    PROBE.infer(triton.probed, -0.5 if answer is None else 3)


@pytest.mark.parametrize("answer", [FULL, EXPIRED, None], ids=["full", "expired", "silent"])
def test_a_server_in_which_nothing_moves_is_dead(triton: Triton, answer: tuple[int, str] | None) -> None:
    triton.answer = answer
    with pytest.raises(PROBE.ProbeError, match="nothing else gets done"):
        PROBE.infer(triton.probed, -0.5 if answer is None else 3)


def test_a_server_whose_model_has_died_is_dead_whatever_else_it_does(triton: Triton) -> None:
    triton.answer, triton.progress = DEAD, 1
    with pytest.raises(PROBE.ProbeError, match=r"does not transcribe: .*Stub process 'acoustic_0_0' is not healthy"):
        PROBE.infer(triton.probed, 3)


def test_a_server_that_ends_is_not_ready_but_alive(triton: Triton) -> None:
    triton.ready = False
    with pytest.raises(PROBE.ProbeError, match="it loads models, or ends"):
        PROBE.ready(triton.probed, 3)
    PROBE.infer(triton.probed, 3)


@pytest.mark.parametrize(
    ("answer", "ready", "killed"),
    [(DEAD, True, True), (DEAD, False, False), ((200, ""), True, False), (FULL, True, False)],
    ids=["dead", "dead but loading", "well", "busy"],
)
def test_only_a_server_that_says_that_it_is_ready_and_is_not_is_ended(
    triton: Triton, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], *, ready: bool, killed: bool
) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(PROBE.os, "kill", lambda process, number: signals.append((process, number)))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr("sys.argv", ["probe.py", "live", "--attempts=3", "--end-server", *triton.ports])
    triton.answer, triton.ready, triton.progress = answer, ready, 1
    if answer is DEAD:
        with pytest.raises(SystemExit, match="does not transcribe"):
            PROBE.main()
        assert len(triton.requests) == 3
    else:
        PROBE.main()
        assert len(triton.requests) == 1
    assert signals == ([(1, signal.SIGTERM)] if killed else [])


def test_drain_gives_up_after_the_longest_time(triton: Triton) -> None:
    triton.progress = 1
    said = PROBE.drain(triton.probed, [], notice_s=0, quiet_s=0.1, longest_s=0.5)
    assert said == "gave up after 0.5 s with 0 callers connected: their requests will be refused"


def test_drain_of_a_server_that_is_gone_is_over() -> None:
    assert PROBE.drain(PROBE.Server(1, 1, 1), [], 0, 0.1, 5) == "the server does not answer any more"
