"""A tritonserver under its guardian: started, watched, ended."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from shrota_server.errors import StartError
from shrota_server.instance import Instance
from shrota_server.log import Log

GUARDIAN = Path(__file__).with_name("guardian.py")
# what the guardian waits from SIGTERM to SIGKILL, and what it may take after that
GRACE_S = 7.0
CLEANUP_S = 2.0
FAULTS = {str(-number) for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)}
"""Signals by which a process ends that did something wrong, as the guardian reports them."""


class Process:
    """One run of tritonserver; whatever ends it, its guardian removes what it leaves."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        instance: Instance,
        log_file: IO[bytes] | None = None,
        show_level: str | None = None,
    ) -> None:
        """Starts it; its whole log goes to ``log_file``, which is closed at the end.

        Raises:
            StartError: it cannot be run at all.
        """
        options = ["--name", instance.name, "--folder", str(instance.folder), "--lock-fd", str(instance.lock_fd)]
        self._ending = threading.Lock()
        self._exit: str | None = None
        try:
            self._guardian = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-I", str(GUARDIAN), *options, "--grace-s", str(GRACE_S), "--", *command],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[instance.lock_fd],
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle
            )
        except OSError as error:
            instance.remove()
            raise StartError(f"cannot start {command[0]}: {error}") from error
        os.close(instance.lock_fd)
        assert self._guardian.stderr is not None  # noqa: S101 - for the type checker
        self.log = Log(self._guardian.stderr, log_file, show_level)
        try:
            self.pid = int(self._read_report("pid"))
        except ValueError:
            self.stop()
            raise StartError(f"cannot start {command[0]}: {self.log.lines[-1] if self.log.lines else ''}") from None

    def _read_report(self, key: str) -> str:
        stream: IO[bytes] | None = self._guardian.stdout
        assert stream is not None  # noqa: S101 - for the type checker
        words = stream.readline().decode().split()
        return words[1] if len(words) > 1 and words[0] == key else ""

    def is_running(self) -> bool:
        """Whether tritonserver still runs; its guardian ends right after it."""
        return self._guardian.poll() is None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until tritonserver has ended and is cleaned up after; False if the time is over before."""
        try:
            self._guardian.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        with self._ending:  # several threads may wait
            if self._exit is None:  # told once; asked for after stop() too
                self._exit = self._read_report("exit")
                assert self._guardian.stdout is not None  # noqa: S101 - for the type checker
                self._guardian.stdout.close()
            self.log.close()
        return True

    def has_crashed(self) -> bool:
        """Whether tritonserver has ended by a fault of its own, as by a segmentation fault."""
        return not self.is_running() and self.wait(0) and self._exit in FAULTS

    def describe_exit(self) -> str:
        """How tritonserver ended: "exit code 1", "signal SIGSEGV"; call it after ``wait`` or ``stop``."""
        try:
            code = int(self._exit or "")
        except ValueError:
            return "its guardian was killed"
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"

    def stop(self) -> None:
        """Ends tritonserver within 10 s: politely, then by force."""
        assert self._guardian.stdin is not None  # noqa: S101 - for the type checker
        with contextlib.suppress(BrokenPipeError):
            self._guardian.stdin.close()
        if not self.wait(GRACE_S + CLEANUP_S):
            self.kill()
            self._guardian.kill()
            self.wait()

    def kill(self) -> None:
        """Ends tritonserver and its stubs at once; the guardian still cleans up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
