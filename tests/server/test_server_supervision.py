"""Stubs are told apart from other processes, and a model that keeps dying is given time."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from shrota_server import supervisor
from shrota_server.errors import ServerError
from shrota_server.installation import STUB
from shrota_server.stubs import StubWatch, stub_model
from shrota_server.supervisor import LONGEST_DELAY_S, Backoff, Supervisor
from shrota_testing.triton import wait_until


def test_a_stub_tells_its_model_by_the_path_of_the_file() -> None:
    assert stub_model([f"/b/{STUB}", "/repository/acoustic_onnx/1/model.onnx", "region"]) == "acoustic_onnx"
    assert stub_model(["/usr/bin/python3", "/repository/acoustic_onnx/1/model.onnx"]) is None
    assert stub_model([f"/b/{STUB}"]) is None
    assert stub_model([]) is None


def test_a_death_is_told_once_and_only_when_it_lasts(tmp_path: Path) -> None:
    stub = tmp_path / STUB
    stub.symlink_to("/bin/sleep")
    # children of this process take the place of tritonserver's
    with subprocess.Popen([str(stub), "60"]) as process:
        watch = StubWatch(psutil.Process().pid)
        watch._models[process.pid] = "acoustic"
        assert watch.find_dead() == []
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert watch.find_dead() == []
        assert watch.is_in_doubt
        assert watch.find_dead() == ["acoustic"]
        assert not watch.is_in_doubt
        assert watch.find_dead() == []


def test_a_stub_that_was_waited_for_ended_in_good_order() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        watch = StubWatch(psutil.Process().pid)
        watch._models[process.pid] = "acoustic"
        process.wait()
        assert [watch.find_dead(), watch.find_dead()] == [[], []]


def test_of_a_server_that_is_gone_nothing_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        watch = StubWatch(process.pid)
    assert watch.find_dead() == []


def test_every_further_death_doubles_the_wait_until_it_is_calm_again() -> None:
    clock = [0.0]
    backoff = Backoff(lambda: clock[0])
    assert [backoff.delay_s("a") for _ in range(5)] == [0, 1, 2, 4, 8]
    assert backoff.delay_s("b") == 0
    assert max(backoff.delay_s("a") for _ in range(20)) == LONGEST_DELAY_S
    clock[0] = 1000.0
    assert backoff.delay_s("a") == 0
    assert backoff.count("a") == 1


@dataclass
class FakeServer:
    """A server on which the first attempts to bring a model back fail."""

    failures: int
    survives: bool = True
    survives_reload: bool = True
    attempts: list[str] = field(default_factory=list)
    running: bool = True
    crashed: bool = False
    pid: int = 0

    @property
    def control(self) -> Any:
        """Itself."""
        return self

    def is_running(self) -> bool:
        """Until a restart that it does not survive."""
        return self.running

    def has_crashed(self) -> bool:
        """If it does not run."""
        return self.crashed and not self.running

    def describe_exit(self) -> str:
        """As Triton ends."""
        return "signal SIGSEGV"

    def reload(self, model: str, timeout_s: float) -> None:
        """Notes the attempt."""
        del timeout_s
        self.attempts.append(model)
        self.running = self.running and (model == "all" or self.survives_reload)
        if len(self.attempts) <= self.failures:
            raise ServerError("no engine")

    def restart(self) -> None:
        """Notes the attempt, and may not survive it."""
        self.running = self.survives
        self.reload("all", 0)


class FakeWatch:
    """Finds one dead model, at the second look; the first is to know the living."""

    is_in_doubt = False

    def __init__(self, dead: str) -> None:
        self._looks = iter([[], [dead] if dead else []])

    def find_dead(self) -> list[str]:
        """What this look finds."""
        return next(self._looks, [])


def supervise(server: FakeServer, dead: str, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A supervisor of its own watch: those of other servers, which may be running, must not see this death."""
    watch = FakeWatch(dead)
    monkeypatch.setattr(supervisor, "LOOK_S", 0.01)
    monkeypatch.setattr(supervisor, "StubWatch", lambda _pid: watch)
    return Supervisor(server, 1)


def test_a_reload_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(failures=1)
    watching = supervise(server, "ctc_decoder", monkeypatch)
    assert wait_until(lambda: server.attempts == ["ctc_decoder", "ctc_decoder"], 5)
    watching.stop()


def test_when_the_server_does_not_start_again_nothing_more_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(failures=1, survives=False)
    watching = supervise(server, "acoustic", monkeypatch)
    watching._thread.join(timeout=5)
    assert not watching._thread.is_alive()
    assert server.attempts == ["all"]
    assert all(due <= time.monotonic() for due in watching._due.values())


def test_a_server_that_ends_while_it_loads_a_model_again_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(failures=1, survives_reload=False)
    watching = supervise(server, "ctc_decoder", monkeypatch)
    assert wait_until(lambda: server.attempts == ["ctc_decoder", "all"], 5)
    assert watching._thread.is_alive()
    watching.stop()


def test_a_server_that_takes_long_to_die_after_a_reload_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection breaks at once, and its process lives on while it writes a core dump."""
    monkeypatch.setattr(supervisor, "END_S", 0.05)
    server = FakeServer(failures=1)
    watching = supervise(server, "ctc_decoder", monkeypatch)
    assert wait_until(lambda: server.attempts == ["ctc_decoder"] and watching._settled_at > 0, 5)
    server.running = False
    assert watching.is_bringing_back
    assert wait_until(lambda: server.attempts == ["ctc_decoder", "all"] and not watching.is_bringing_back, 5)
    assert server.running
    assert watching._thread.is_alive()
    watching.stop()


def test_an_end_long_after_a_reload_is_not_of_the_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "END_S", 0.05)
    monkeypatch.setattr(supervisor, "SETTLE_S", 0.0)
    server = FakeServer(failures=1)
    watching = supervise(server, "ctc_decoder", monkeypatch)
    assert wait_until(lambda: 0 < watching._settled_at < time.monotonic() - 0.1, 5)
    server.running = False
    watching._thread.join(timeout=5)
    assert not watching._thread.is_alive()
    assert server.attempts == ["ctc_decoder"]


def test_a_server_that_crashes_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(failures=0, crashed=True)
    watching = supervise(server, "", monkeypatch)
    server.running = False
    assert watching.is_bringing_back
    assert wait_until(lambda: server.attempts == ["all"] and not watching.is_bringing_back, 5)
    assert server.running
    assert watching._thread.is_alive()
    watching.stop()


def test_a_crashed_server_that_does_not_start_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(failures=1, survives=False, crashed=True)
    watching = supervise(server, "", monkeypatch)
    server.running = False
    watching._thread.join(timeout=5)
    assert server.attempts == ["all"]
    assert not watching.is_bringing_back


def test_an_end_is_seen_one_look_after_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(failures=0)
    watching = supervise(server, "ctc_decoder", monkeypatch)
    watching.stop()
    watching._stopping.clear()
    monkeypatch.setattr(supervisor, "LOOK_S", 60.0)
    watching._settled_at = time.monotonic() - 61
    assert not watching.is_bringing_back
    assert not watching._has_started_again()
    watching._settled_at = time.monotonic() - 30
    assert watching.is_bringing_back
    assert watching._has_started_again()
    assert server.attempts[-1] == "all"
