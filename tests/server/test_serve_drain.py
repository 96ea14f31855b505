"""``shrota serve`` that is told to stop finishes what is under way, and takes nothing new."""

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from shrota_client import Client, Retry, ServerUnavailableError, Transcript
from shrota_server import TritonServer
from shrota_server.control import Control
from shrota_testing.repository import make_repository
from shrota_testing.triton import wait_until
from shrota_testing.utterances import noise

pytestmark = pytest.mark.triton
COMMAND = [str(Path(sys.executable).with_name("shrota")), "serve"]
LONG_S = 200.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an engine that takes seconds for minutes of audio."""
    return make_repository(tmp_path_factory.mktemp("drain") / "model_repository", ballast=16384)


class Busy:
    """A running ``shrota serve`` with one long request under way."""

    def __init__(self, repository: Path, *options: str) -> None:
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        command = [*COMMAND, "--repository", str(repository), *ports, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.grpc, self.http, self.metrics = (self.process.stdout.readline().split()[-1] for _ in range(3))
        self.client = Client(self.grpc, retry=Retry(attempts=1))
        self._pool = ThreadPoolExecutor(1)
        self.call: Future[Transcript] = self._pool.submit(self.client.transcribe, noise(LONG_S))
        assert wait_until(lambda: self.pending_s() > 0, 20)

    def pending_s(self) -> float:
        """Audio that is still to be run."""
        with urllib.request.urlopen(self.metrics) as page:  # noqa: S310 - its own
            lines = [line for line in page.read().decode().splitlines() if line.startswith("shrota_pending_seconds")]
        return float(lines[0].rpartition(" ")[2])

    def ended(self, timeout_s: float) -> str:
        """What it said on standard error, when it has ended well."""
        _, errors = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, errors
        return errors

    def clean(self) -> None:
        """Ends whatever still runs."""
        self.process.kill()
        self.process.communicate()
        self._pool.shutdown()
        self.client.close()


@pytest.fixture
def busy(request: pytest.FixtureRequest, repository: Path) -> Iterator[Busy]:
    """With the options that a test names."""
    running = Busy(repository, *getattr(request, "param", ()))
    yield running
    running.clean()


def test_what_is_under_way_is_finished_and_what_comes_is_refused_at_once(busy: Busy) -> None:
    busy.process.terminate()
    host, _, port = busy.http.rpartition(":")
    assert wait_until(lambda: not Control(host, int(port)).is_ready(["asr"]), 5)
    with pytest.raises(ServerUnavailableError, match="no available versions"):
        busy.client.transcribe(noise(1.0))
    assert not busy.call.done()
    assert busy.call.result(60).duration == LONG_S
    assert busy.ended(15).splitlines()[-2:] == ["SIGTERM: stopping ...", "stopped"]


@pytest.mark.parametrize("busy", [("--drain", "0"), ("--drain", "0.3")], indirect=True, ids=["none", "little"])
def test_it_waits_no_longer_than_it_is_told(busy: Busy) -> None:
    busy.process.terminate()
    with pytest.raises(ServerUnavailableError):
        busy.call.result(60)
    busy.ended(15)


def test_a_second_signal_does_not_wait_for_it(busy: Busy) -> None:
    busy.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    started = time.monotonic()
    busy.process.send_signal(signal.SIGINT)
    with pytest.raises(ServerUnavailableError):
        busy.call.result(60)
    busy.ended(5)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answers", "running", "whole"),
    [
        ([True, None, True, False], True, True),  # a look that got no answer says nothing
        ([True, None, None, None, None], False, False),  # the server is gone
    ],
    ids=["an answer is late", "the server is gone"],
)
def test_no_answer_is_not_taken_for_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: list[bool | None], running: bool, whole: bool
) -> None:
    server = TritonServer(tmp_path, models=["asr"])
    looks = iter(answers)
    monkeypatch.setattr(Control, "unload", lambda *_: None)
    monkeypatch.setattr(Control, "is_unloading", lambda *_: next(looks))
    monkeypatch.setattr(TritonServer, "is_running", lambda _: running)
    monkeypatch.setattr(TritonServer, "control", Control("127.0.0.1", 1))
    assert server.drain("asr", 5.0) is whole
    assert list(looks) == ([] if whole else answers[1:])
