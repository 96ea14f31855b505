"""``shrota serve`` as a process: it says where it listens, and leaves nothing however it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from shrota_server import TritonServer
from shrota_server.cli import _handle_signals
from shrota_server.instance import SHARED_MEMORY, sweep
from shrota_testing.triton import wait_until

pytestmark = pytest.mark.triton
ANY_PORTS = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
COMMAND = [str(Path(sys.executable).with_name("shrota")), "serve"]


class Serving:
    """A running ``shrota serve`` and everything that it started."""

    def __init__(self, repository: Path, prefix: Sequence[str] = ()) -> None:
        options = ["--repository", str(repository), *ANY_PORTS, "--model", "acoustic_onnx"]
        command = [*prefix, *COMMAND, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.addresses = [self.process.stdout.readline() for _ in range(3)]
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        guardian = next(member for member in self.family if "--name" in member.cmdline())
        words = guardian.cmdline()
        self.name = words[words.index("--name") + 1]
        self.folder = Path(words[words.index("--folder") + 1])

    def left_nothing(self) -> bool:
        """Whether no process, no shared memory and no folder of it is there."""
        alive = [member for member in self.family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
        return not alive and not list(SHARED_MEMORY.glob(f"{self.name}*")) and not self.folder.exists()

    def clean(self) -> None:
        """Ends whatever still runs."""
        for member in self.family:
            if member.is_running():
                member.kill()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def serving(repository: Path) -> Iterator[Serving]:
    started = Serving(repository)
    yield started
    started.clean()


def test_it_stops_within_10_s_of_a_signal_and_leaves_nothing(serving: Serving) -> None:
    assert [line.split()[0] for line in serving.addresses] == ["gRPC", "HTTP", "metrics"]
    assert all(re.search(r"127\.0\.0\.1:\d+", line) for line in serving.addresses)
    assert len(serving.family) >= 3  # guardian, tritonserver, one stub
    assert list(SHARED_MEMORY.glob(f"{serving.name}*"))
    started = time.monotonic()
    serving.process.terminate()
    _, errors = serving.process.communicate(timeout=15)
    assert time.monotonic() - started < 10
    assert serving.process.returncode == 0
    assert errors.splitlines()[-2:] == ["SIGTERM: stopping ...", "stopped"]
    assert serving.left_nothing()


def test_a_second_signal_does_not_wait(serving: Serving) -> None:
    tritonserver = next(member for member in serving.family if member.name() == "tritonserver")
    tritonserver.suspend()  # it will not follow a polite request
    started = time.monotonic()
    serving.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    serving.process.send_signal(signal.SIGTERM)
    serving.process.communicate(timeout=10)
    assert time.monotonic() - started < 5
    assert serving.left_nothing()


def test_a_server_that_hangs_is_ended_within_10_s_all_the_same(serving: Serving) -> None:
    next(member for member in serving.family if member.name() == "tritonserver").suspend()
    started = time.monotonic()
    serving.process.terminate()
    serving.process.communicate(timeout=15)
    assert time.monotonic() - started < 10
    assert serving.left_nothing()


def test_it_leaves_nothing_when_it_is_killed_itself(serving: Serving) -> None:
    serving.process.kill()
    serving.process.wait()
    assert wait_until(serving.left_nothing, 10)


def test_it_ends_with_one_line_when_tritonserver_dies(serving: Serving) -> None:
    tritonserver = next(member for member in serving.family if member.name() == "tritonserver")
    os.kill(tritonserver.pid, signal.SIGKILL)
    _, errors = serving.process.communicate(timeout=15)
    assert serving.process.returncode == 1
    assert errors.splitlines()[-1].startswith("shrota: error: tritonserver ended by itself (signal SIGKILL)")
    assert serving.left_nothing()


def test_what_is_left_when_all_were_killed_goes_with_the_next_start(serving: Serving) -> None:
    for member in [psutil.Process(serving.process.pid), *serving.family]:  # the guardian before tritonserver
        member.kill()
    serving.process.communicate()

    def swept() -> bool:
        sweep()  # it leaves alone what a process still holds, and a killed one takes a moment to end
        return serving.left_nothing()

    assert wait_until(swept, 5)


def test_a_failure_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [*COMMAND, "--repository", str(tmp_path / "none")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("shrota: error: no model repository at")
    assert "Traceback" not in result.stderr


def test_a_log_file_that_cannot_be_written_is_one_line(repository: Path, tmp_path: Path) -> None:
    log_file = tmp_path / "none" / "x.log"
    command = [*COMMAND, "--repository", str(repository), *ANY_PORTS, "--log-file", str(log_file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"shrota: error: cannot write the log file {log_file} (No such file or directory): "
        "give another one with --log-file"
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("timeout", ["0", "-1"])
def test_no_time_to_get_ready_is_refused(repository: Path, timeout: str) -> None:
    command = [*COMMAND, "--repository", str(repository), "--ready-timeout", timeout]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--ready-timeout" in result.stderr.splitlines()[-1]


def test_under_nohup_it_outlives_the_terminal(repository: Path) -> None:
    serving = Serving(repository, ["nohup"])
    try:
        serving.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert serving.process.poll() is None
        serving.process.terminate()
        _, errors = serving.process.communicate(timeout=15)
        assert errors.splitlines()[-2:] == ["SIGTERM: stopping ...", "stopped"]
        assert serving.left_nothing()
    finally:
        serving.clean()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_was_ignored_stays_ignored(repository: Path, number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(number, signal.SIG_IGN)
        _handle_signals(TritonServer(repository, ["acoustic_onnx"]))
        assert signal.getsignal(number) is signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
