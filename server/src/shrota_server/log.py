"""Triton's log: kept and shown."""

import re
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO

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


class Log:
    """Reads Triton's output in a thread; keeps the last lines, writes all to a file, shows some on standard error."""

    def __init__(self, stream: IO[bytes], path: Path | None, show_level: str | None) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._stream = stream
        self._file = path.open("ab", buffering=0) if path is not None else None
        self._shown = LEVELS[show_level] if show_level is not None else ""
        self._level = "I"
        # errors of a start that fails are told in one line instead; who asks for more sees it as it comes
        self._waiting: list[str] | None = None if show_level in {"info", "debug"} else []
        self._showing = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="triton-log", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            if self._file is not None:
                self._file.write(raw)
            line = raw.decode("utf-8", errors="replace").rstrip("\n")
            self.lines.append(line)
            if (match := _PREFIX.match(line)) is not None:
                self._level = match[1]
            # lines without a prefix go with the one before them
            if self._level in self._shown and not is_harmless(line):
                self._show_line(line)

    def _show_line(self, line: str) -> None:
        with self._showing:
            if self._waiting is None:
                sys.stderr.write(line + "\n")
            else:
                self._waiting.append(line)

    def show(self) -> None:
        """Shows what was held back while the server started, and from now on every line as it comes."""
        with self._showing:
            for line in self._waiting or []:
                sys.stderr.write(line + "\n")
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
