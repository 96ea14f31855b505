"""Triton's log: kept and shown."""

import logging
import re
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO

from shrota_server.errors import ServerError

logger = logging.getLogger("shrota_server")

KEPT_LINES = 2000
LEVELS = {"error": "EF", "warning": "EFW", "info": "EFWI", "debug": "EFWIDV"}
# glog: one letter for the level, then month and day: I1122 17:17:54.085972 5307 model_lifecycle.cc:472] "text"
_HARMLESS = (
    "CudaDriverHelper has not been initialized",
    "pinned system memory",
    "DCGM unable to start",
    "Failed to initialize NVML",
    "CUDA driver version is insufficient",
)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_PREFIX = re.compile(r"^([IWEFDV])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^\]]*\] ?")


def open_log(path: Path) -> IO[bytes]:
    """The file that Triton's log goes to; what is in it stays.

    Raises:
        ServerError: it cannot be written.
    """
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise ServerError(
            f"cannot write the log file {path} ({error.strerror}): give another one with --log-file"
        ) from error


class Log:
    """Reads Triton's output in a thread; keeps the last lines, writes all to a file, shows some on standard error.

    Triton stops at its next line when nobody reads what it writes. So nothing ends the thread: a file or a standard
    error that cannot be written any more (disk full, terminal gone) is given up, and reading goes on.
    """

    def __init__(self, stream: IO[bytes], file: IO[bytes] | None, show_level: str | None) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._stream = stream
        self._file = file
        self._written = file
        self._shown = LEVELS[show_level] if show_level is not None else ""
        self._level = "I"
        # errors of a start that fails are told in one line instead; who asks for more sees it as it comes
        self._waiting: list[str] | None = None if show_level in {"info", "debug"} else []
        self._showing = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="triton-log", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            self._write(raw)
            line = raw.decode("utf-8", errors="replace").rstrip("\n")
            self.lines.append(line)
            if (match := _PREFIX.match(line)) is not None:
                self._level = match[1]
            # lines without a prefix go with the one before them
            if self._level in self._shown and not is_harmless(line):
                self._show_line(line)

    def _write(self, raw: bytes) -> None:
        if self._written is None:
            return
        try:
            self._written.write(raw)
        except (OSError, ValueError) as error:
            self._written = None
            logger.warning("Triton's log cannot be written to its file any more: %s", error)

    def _print(self, line: str) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.write(line + "\n")
        except (OSError, ValueError):
            self._shown = ""

    def _show_line(self, line: str) -> None:
        with self._showing:
            if self._waiting is None:
                self._print(line)
            else:
                self._waiting.append(line)

    def show(self) -> None:
        """Shows what was held back while the server started, and from now on every line as it comes."""
        with self._showing:
            for line in self._waiting or []:
                self._print(line)
            self._waiting = None

    def close(self, timeout_s: float = 2.0) -> None:
        """Waits until everything that was written has been read, at most ``timeout_s`` seconds."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._stream.close()
            if self._file is not None:
                self._file.close()


def is_harmless(line: str) -> bool:
    """Whether it is one of Triton's complaints about a machine without a GPU, which no run needs."""
    return any(words in line for words in _HARMLESS)


def message(line: str) -> str:
    """A log line without its prefix, quotes and colours."""
    return _PREFIX.sub("", _COLOUR.sub("", line)).strip().strip('"')
