"""When the probe calls a server dead, and when only busy: against a server that says what a test wants."""

import ast
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shrota_testing import scripts
from shrota_testing.repository import ROOT

PROBE: Any = scripts.load(scripts.PROBE)
FULL = (503, "[request id: <id_unknown>] Exceeds maximum queue size")
EXPIRED = (503, "in ensemble 'asr', [request id: <id_unknown>] Request timeout expired")
REFUSED = (503, "there is more work than can be done in time, 18 s of it: try again later")
METRICS = """# HELP nv_inference_request_success Number of successful inference requests
nv_inference_request_success{{model="acoustic",version="1"}} {taken}
nv_inference_request_success{{gpu_uuid="GPU-1",model="{engine}",version="1"}} {done}
shrota_engine_input_seconds_total{{engine="acoustic_trt",model="acoustic"}} 7.5
"""
"""`acoustic` succeeds with every request that it takes."""
DEAD = (500, "in ensemble 'asr', Stub process 'acoustic_0_0' is not healthy.")


class Triton:
    """A server that answers as it is told to.

    Attributes:
        answer: status and error of an inference; None: it does not answer.
        progress: what engines do between two looks at the metrics.
        ready: what it says of itself.
        engine: the engine that it has.
    """

    def __init__(self) -> None:
        self.answer: tuple[int, str] | None = (200, "")
        self.progress = 0
        self.ready = True
        self.engine = "acoustic_trt"
        self.requests: list[dict[str, Any]] = []
        self._done = 7
        self._taken = 70
        self._over = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    fake._done += fake.progress
                    self.reply(200, METRICS.format(engine=fake.engine, done=fake._done, taken=fake._taken))
                else:
                    self.reply(200 if fake.ready else 400, "")

            def do_POST(self) -> None:
                fake._taken += 1
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
        return PROBE.Server(self._server.server_port, 0, self._server.server_port, pid=os.getpid())

    @property
    def ports(self) -> list[str]:
        """The same as options."""
        return [
            f"--http={self._server.server_port}",
            f"--metrics={self._server.server_port}",
            f"--server={os.getpid()}",
        ]

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


BUSY = pytest.mark.parametrize("answer", [FULL, EXPIRED, REFUSED, None], ids=["full", "expired", "refused", "silent"])


@BUSY
def test_a_server_that_gets_other_work_done_is_alive(triton: Triton, answer: tuple[int, str] | None) -> None:
    triton.answer, triton.progress = answer, 1
    PROBE.infer(triton.probed, -0.5 if answer is None else 3)


@pytest.mark.parametrize("engine", sorted(path.name for path in (ROOT / "model_repository").glob("acoustic_*")))
def test_each_engine_s_work_counts_as_progress(triton: Triton, engine: str) -> None:
    triton.answer, triton.progress, triton.engine = FULL, 1, engine
    PROBE.infer(triton.probed, 3)


@BUSY
def test_a_server_in_which_nothing_moves_is_dead_though_it_takes_requests(
    triton: Triton, answer: tuple[int, str] | None
) -> None:
    triton.answer = answer
    started = time.monotonic()
    with pytest.raises(PROBE.ProbeError, match="nothing else gets done"):
        PROBE.infer(triton.probed, -0.5)
    assert 0.4 < time.monotonic() - started < 3


def test_after_a_refusal_it_waits_for_a_batch_to_end(triton: Triton) -> None:
    triton.answer = FULL
    batch = threading.Timer(0.7, setattr, (triton, "progress", 1))
    batch.start()
    PROBE.infer(triton.probed, 3)
    batch.join()


# what a caller is told that passes only when the server is mended, or when it has ended
NOT_BUSY = (
    "the server is stopping: try again later",
    "the server is stopping: try again on another one",
    "engine 7 is not loaded: load it beside asr, as `shrota serve` does",
    "the process of engine 7 has ended, 7",
)


def refusals() -> set[str]:
    """What the Python models say with UNAVAILABLE, with 7 in the place of whatever is put in."""
    found = set()
    for path in (ROOT / "model_repository").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: each.value
            for each in tree.body if isinstance(each, ast.Assign)
            for target in each.targets if isinstance(target, ast.Name)
        }  # fmt: skip
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "UnavailableError":
                (text,) = call.args
                text = constants[text.id] if isinstance(text, ast.Name) else text
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts))
    return found


def test_every_refusal_of_the_python_models_is_known_as_busy_or_not() -> None:
    said = refusals()
    assert len(said) >= 8
    assert {text for text in said if not PROBE.BUSY.search(text)} == set(NOT_BUSY)


def test_a_server_whose_model_has_died_is_dead_whatever_else_it_does(triton: Triton) -> None:
    triton.answer, triton.progress = DEAD, 1
    with pytest.raises(PROBE.ProbeError, match=r"does not transcribe: .*Stub process 'acoustic_0_0' is not healthy"):
        PROBE.infer(triton.probed, 3)


def test_dead_processes_are_the_zombies_among_the_stubs_of_this_server(tmp_path: Path) -> None:
    table = {
        1: "(tritonserver) S 0",
        5: "(triton_python_b) S 1",
        6: "(triton_python_b) Z 1",
        7: "(sh) Z 1",
        # of another server, whose name ends like the columns
        20: "(other) S 0) S 0",
        21: "(triton_python_b) Z 20",
    }
    for pid, columns in table.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} {columns} {pid} 0\n", encoding="utf-8")
    (tmp_path / "8").mkdir()
    assert PROBE.dead_processes(PROBE.Server(), tmp_path) == {6}
    assert PROBE.dead_processes(PROBE.Server(pid=20), tmp_path) == {21}


def test_a_process_that_triton_has_ended_itself_is_not_taken_for_dead(
    triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [{6}, {9}]
    monkeypatch.setattr(PROBE, "dead_processes", lambda _: looks.pop(0))
    PROBE.infer(triton.probed, 3)
    assert not looks
    looks += [{6, 9}, {9}]
    with pytest.raises(PROBE.ProbeError, match="the process of a Python model has died"):
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
