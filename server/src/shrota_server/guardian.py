"""A small process between us and tritonserver, which cleans up when either of the two ends, however it ends.

It runs by its path in an isolated interpreter, so it imports nothing but the standard library. It is the parent of
tritonserver and reads a pipe from us: at its end (we stopped, crashed or were killed) it ends tritonserver and all
that it started, and removes the shared memory and the private folder. If the guardian itself is killed, the kernel
kills tritonserver, and Triton's stubs notice; what is left on disk then is removed by the next start's sweep.

Written to its standard output: ``pid N`` once, ``exit N`` at the end (negative: a signal).
"""

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
# between two looks whether our parent still is our parent: a child that it forked may hold the pipe open
PARENT_CHECK_S = 1.0


def main() -> int:
    """Runs the command given after ``--`` until it ends or the standard input does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True, help="what the names of the shared-memory regions start with")
    parser.add_argument("--folder", type=Path, required=True, help="private folder, removed at the end")
    parser.add_argument("--lock-fd", type=int, required=True, help="descriptor that every process inherits")
    parser.add_argument("--grace-s", type=float, required=True, help="seconds from SIGTERM to SIGKILL")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever started us decides, and tells us through the pipe
    wake = _wake_on(signal.SIGCHLD, signal.SIGTERM)
    try:
        server = _start(options.command, options.lock_fd)
    except OSError as error:
        sys.stderr.write(f"cannot run {options.command[0]}: {error}\n")
        _remove(options.name, options.folder)
        return 127
    _report(f"pid {server.pid}")
    _wait(server, wake)
    code = _end(server, options.grace_s)
    _remove(options.name, options.folder)
    _report(f"exit {code}")
    return 0


def _start(command: list[str], lock_fd: int) -> "subprocess.Popen[bytes]":
    guardian = os.getpid()
    libc = ctypes.CDLL(None)

    def die_with_guardian() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(1)

    output = sys.stderr.fileno()
    return subprocess.Popen(  # noqa: S603 - the caller's own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[lock_fd],
        process_group=0,
        preexec_fn=die_with_guardian,  # noqa: PLW1509 - this process has one thread
    )


def _wait(server: "subprocess.Popen[bytes]", wake: int) -> None:
    """Returns when the server ended, or when it should: the pipe ended, our parent is gone, or SIGTERM came."""
    parent = os.getppid()
    while server.poll() is None and os.getppid() == parent:
        ready, _, _ = select.select([sys.stdin.fileno(), wake], [], [], PARENT_CHECK_S)
        if wake in ready and signal.SIGTERM in os.read(wake, 64):
            return
        if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 64):
            return


def _end(server: "subprocess.Popen[bytes]", grace_s: float) -> int:
    """Ends the server and everything in its process group; returns its exit code."""
    if server.poll() is None:
        server.terminate()
        deadline = time.monotonic() + grace_s
        while server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


def _remove(name: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock = f"{name}-lock"
    for path in sorted(Path("/dev/shm").glob(f"{name}-*"), key=lambda path: path.name == lock):  # noqa: S108
        path.unlink(missing_ok=True)


def _wake_on(*signals: signal.Signals) -> int:
    """A descriptor that becomes readable when one of the signals came; each byte is a signal's number."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def _report(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
