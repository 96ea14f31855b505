"""Starts what a load test needs: Locust without its web page, and where asked for, the server."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from shrota_client import Client
from shrota_client.errors import MissingPackageError
from shrota_client.settings import Timeouts
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.metrics import read_metrics
from shrota_loadtest.settings import Settings, known_schemes
from shrota_loadtest.workload import make_clips

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
END_S = 20.0
"""Seconds that Locust has to end when it is told to."""
CHECK_S = 60.0


@dataclass(frozen=True)
class Server:
    """A server that was started for the test: addresses, and the present process id of tritonserver."""

    grpc: str
    http: str
    metrics: str
    find_pid: Callable[[], int]


@contextlib.contextmanager
def serve(repository: Path, engines: Sequence[str]) -> Iterator[Server]:
    """Serves a repository on free ports, as ``shrota serve`` does, within a ``with`` statement.

    Raises:
        MissingPackageError: shrota-server is not installed.
        ShrotaError: the server cannot start.
    """
    try:
        from shrota_server import TritonServer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingPackageError("--repository needs shrota-server: pip install 'shrota-loadtest[serve]'") from error
    models = ["asr", *engines]
    with TritonServer(repository, models, supervise=True, default_engine=engines[0]) as server:
        yield Server(server.grpc_url, server.http_url, server.metrics_url, lambda: server.pid)


def check(settings: Settings) -> None:
    """Before anything is started: there is speech, the server transcribes it, and its metrics can be read.

    Raises:
        ShrotaError: one of them is not so; the text says which.
    """
    if settings.metrics:
        read_metrics(settings.metrics)
    shortest = min(
        make_clips(Path(settings.speech), settings.lengths, settings.clips, settings.seed),
        key=lambda clip: clip.seconds,
    )
    parameters = {"engine": settings.engine} if settings.engine else None
    for scheme in known_schemes(settings):
        with Client(settings.address(scheme), parameters=parameters, timeouts=Timeouts(request_s=CHECK_S)) as client:
            client.transcribe(shortest.samples)


def run_locust(settings: Settings, processes: int) -> dict[str, Any]:
    """Runs Locust to its end; what it measured. Progress goes to standard error.

    Args:
        settings: of the test; their ``shape`` leads it.
        processes: that send; with 1 the one that leads sends too.

    Raises:
        LoadTestError: it measured nothing; it has said why.
    """
    with tempfile.TemporaryDirectory(prefix="shrota-loadtest-") as folder:
        results = Path(folder) / "results.json"
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
        command += ["--skip-log-setup", "--exit-code-on-error", "0"]
        if processes > 1:
            port = str(_free_port())
            command += ["--processes", str(processes), "--master-port", port]
            command += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        command += replace(settings, results=str(results)).arguments()
        with _running(command) as process:
            code = process.wait()
        if not results.is_file():
            raise LoadTestError(f"Locust ended with exit code {code} before it had measured anything: see above")
        found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    if not found["steps"]:
        raise LoadTestError("no step came to its end: allow more time")
    return found


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does not outlive us, and neither do its workers: Locust's would look for their master a minute."""
    # of a group of its own: Ctrl-C in the terminal is ours to handle
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - ourselves
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def stop_on_signals() -> None:
    """From now on SIGTERM ends the command as Ctrl-C does, so that nothing of it stays.

    After Ctrl-C in a terminal, whoever has started us may send SIGTERM too: that does not disturb the end.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
