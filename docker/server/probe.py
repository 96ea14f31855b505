"""Asks the server in this container for a transcript, or waits until its callers have gone.

Triton's health stays green when the process of a Python model has died, so a probe has to be a real inference. Of a
model with several processes, as the decoder has them, one may be dead and fail every other request, so that inferences
alone find it by chance: the probe looks at the processes too. It runs in NVIDIA's container, with that container's
Python and no package: JSON over the HTTP port, which never leaves it.

``probe.py live``: exit code 0 if the server transcribes, or is only too busy to: it must not be killed for that.
``probe.py ready``: the same, and Triton says that it is ready (it stops saying so when it is told to end).
``probe.py drain``: before the server is told to end; returns when nobody is connected any more and nothing is at work.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

RATE = 16000
AUDIO_SECONDS = 0.1
"""Enough for some frames; little, because the counters of audio count it."""
BUSY = re.compile(
    r"maximum queue size|timeout expired"
    r"|queue of engine \S+ is full|time-out passed before|more work than can be done in time|engine \S+ cannot run now"
)
"""What Triton and `acoustic` say when there is too much to do, or a request has waited too long.

`acoustic` refuses at once who could not be answered in time: under load that is every probe. What it says of an engine
that is not there, and of one whose process has ended, is not among them.
"""
PROGRESS = re.compile(
    r"shrota_engine_input_seconds_total\b|shrota_decoded_audio_seconds_total\b"
    r"|nv_inference_request_success\{(.*,)?model=\"acoustic_(onnx|openvino|trt|torch)\""
)
"""What engines and decoder have done. Not the successes of `acoustic`: it has one when it takes a request, the probe's
own, whatever becomes of it."""
ANSWERED = re.compile(r"nv_inference_request_success\b|" + PROGRESS.pattern)
WORK = re.compile(r"nv_inference_pending_request_count\b|shrota_pending_seconds\b")
ESTABLISHED = "01"
TRITON = "tritonserver"
STUB = "triton_python_backend_stub"[:15]
"""What Linux keeps of the name of the process that runs a Python model."""
CONFIRM_S = 0.1
"""Until the second look at a process that seems dead: one that Triton has ended is so for a moment."""
LOOK_S = 3
"""Time for one look at the metrics or the health; the transcript has a time of its own."""
LOOK_EVERY_S = 0.25


class ProbeError(Exception):
    """Why the server is not well, in one line."""


@dataclass(frozen=True)
class Server:
    """Ports of one server on this host, and its process; 0: there is no other tritonserver here."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002
    host: str = "127.0.0.1"
    pid: int = 0

    def call(self, port: int, path: str, timeout_s: float, body: str | None = None) -> tuple[int, str]:
        """Status and text of an answer; with a body it is posted."""
        connection = HTTPConnection(self.host, port, timeout=timeout_s)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", errors="replace")
        finally:
            connection.close()

    def counts(self, wanted: re.Pattern[str]) -> float:
        """The sum of the metrics whose names, with their labels, begin so."""
        _, text = self.call(self.metrics, "/metrics", LOOK_S)
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return sum(float(value) for name, _, value in lines if wanted.match(name))


def dead_processes(server: Server, proc: Path = Path("/proc")) -> set[int]:
    """Processes of Python models that have died: Triton does not wait for them, so they stay zombies (proc(5))."""
    found: dict[int, tuple[str, str, int]] = {}
    for path in proc.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            process, _, rest = path.read_text(encoding="utf-8", errors="replace").partition(" (")
            name, _, columns = rest.rpartition(") ")
            state, parent = columns.split()[:2]
            found[int(process)] = (name, state, int(parent))
    servers = {server.pid} if server.pid else {pid for pid, (name, _, _) in found.items() if name == TRITON}
    return {pid for pid, (name, state, parent) in found.items() if (name, state) == (STUB, "Z") and parent in servers}


def check_models(server: Server) -> None:
    """Looks whether all processes of the Python models live.

    Raises:
        ProbeError: one does not.
    """
    if dead := dead_processes(server):
        time.sleep(CONFIRM_S)
        if dead & dead_processes(server):
            raise ProbeError("the process of a Python model has died, and Triton starts no other: restart the server")


def infer(server: Server, timeout_s: float) -> None:
    """Transcribes some silence.

    Raises:
        ProbeError: the server answered that it cannot, or it neither answered nor got on with other work.
    """
    check_models(server)
    samples = int(RATE * AUDIO_SECONDS)
    body = {
        "inputs": [{"name": "AUDIO", "datatype": "FP32", "shape": [1, samples], "data": [0.0] * samples}],
        "outputs": [{"name": "TRANSCRIPT"}],
        # what still waits then is dropped
        "parameters": {"timeout": int(timeout_s * 1e6)},
    }
    try:
        before = server.counts(PROGRESS)
        until = time.monotonic() + timeout_s + 1
        try:
            status, text = server.call(server.http, "/v2/models/asr/infer", timeout_s + 1, json.dumps(body))
        except TimeoutError:
            status, text = 0, "timeout expired"
        if status == 200:  # noqa: PLR2004 - OK
            return
        if not BUSY.search(text):
            raise ProbeError(f"the server does not transcribe: {' '.join(text.split())[:300]}")
        # a refusal comes within milliseconds, and a batch takes its time
        while server.counts(PROGRESS) == before:
            if time.monotonic() >= until:
                raise ProbeError(f"no answer within {timeout_s:g} s, and nothing else gets done")
            time.sleep(LOOK_EVERY_S)
    except (OSError, HTTPException) as error:
        raise ProbeError(f"the server does not answer: {error}") from error


def ready(server: Server, timeout_s: float) -> None:
    """Transcribes, and Triton says that it is ready.

    Raises:
        ProbeError: one of the two is not so.
    """
    if not says_ready(server):
        raise ProbeError("Triton is not ready: it loads models, or ends")
    infer(server, timeout_s)


def says_ready(server: Server) -> bool:
    """What Triton says of itself: false while it loads models and when it ends, true though a Python model has died."""
    try:
        return server.call(server.http, "/v2/health/ready", LOOK_S)[0] == 200  # noqa: PLR2004 - OK
    except (OSError, HTTPException):
        return False


def connections(port: int, tables: tuple[Path, ...] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))) -> int:
    """Callers that are connected to a port of this container (columns of these files: proc(5))."""
    count = 0
    for table in tables:
        if not table.exists():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            local, state = columns[1], columns[3]
            count += state == ESTABLISHED and int(local.rpartition(":")[2], 16) == port
    return count


def drain(server: Server, callers: Sequence[int], notice_s: float, quiet_s: float, longest_s: float) -> str:
    """Waits until the last caller has gone; a line that says how that went.

    It must come before the server is told to end: then Triton takes no request any more, not even for the next step of
    one that is under way, which fails (UNAVAILABLE). Only who is in the last step, the decoder, gets the answer.

    Args:
        server: it still serves whoever comes.
        callers: ports on which they come; none: they need not go, where there is no other server to go to.
        notice_s: first so long, in which callers learn that this server is not to be used any more.
        quiet_s: then nobody must be connected to these ports, nothing wait and nothing get done for so long.
        longest_s: after which it gives up.
    """
    started = time.monotonic()
    time.sleep(notice_s)
    connected, quiet_since, before = 0, time.monotonic(), -1.0
    while time.monotonic() - started < longest_s:
        try:
            done, waiting = server.counts(ANSWERED), server.counts(WORK)
        except (OSError, HTTPException):
            return "the server does not answer any more"
        connected = sum(connections(port) for port in callers)
        if connected or waiting or done != before:
            quiet_since, before = time.monotonic(), done
        elif time.monotonic() - quiet_since >= quiet_s:
            return f"nothing is at work, {connected} callers are connected, after {time.monotonic() - started:.0f} s"
        time.sleep(min(1.0, quiet_s))
    return f"gave up after {longest_s:g} s with {connected} callers connected: their requests will be refused"


def make_parser() -> argparse.ArgumentParser:
    """What may be asked, and how."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["live", "ready", "drain"])
    parser.add_argument("--timeout", type=float, default=8, metavar="SECONDS", help="for the transcript")
    parser.add_argument("--attempts", type=int, default=1, help="before it counts as failed")
    parser.add_argument(
        "--end-server",
        action="store_true",
        help="where Triton still says that it is ready, then ends it: the container's first process",
    )
    parser.add_argument("--notice", type=float, default=70, metavar="SECONDS", help="of drain: callers learn of it")
    parser.add_argument("--quiet", type=float, default=3, metavar="SECONDS", help="of drain: nothing happens")
    parser.add_argument("--longest", type=float, default=300, metavar="SECONDS", help="of drain: then it gives up")
    parser.add_argument("--in-flight-only", action="store_true", help="of drain: callers may stay connected")
    parser.add_argument("--callers", type=int, action="append", metavar="PORT", help="of drain: where they come [gRPC]")
    parser.add_argument("--server", type=int, default=0, metavar="PID", help="where it is not the only tritonserver")
    for name, default in (("http", 8000), ("grpc", 8001), ("metrics", 8002)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="PORT")
    return parser


def main() -> None:
    """Runs one of the three."""
    options = make_parser().parse_args()
    server = Server(options.http, options.grpc, options.metrics, pid=options.server)
    if options.what == "drain":
        times = (options.notice, options.quiet, options.longest)
        callers = () if options.in_flight_only else options.callers or (server.grpc,)
        print(drain(server, callers, *times), flush=True)  # noqa: T201
        return
    check = ready if options.what == "ready" else infer
    for attempt in range(1, options.attempts + 1):
        try:
            check(server, options.timeout)
        except ProbeError as error:
            if attempt == options.attempts:
                if options.end_server and says_ready(server):
                    os.kill(1, signal.SIGTERM)
                sys.exit(f"shrota: {error}")
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    main()
