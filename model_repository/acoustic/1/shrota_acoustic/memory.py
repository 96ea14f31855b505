"""glibc's memory: what a model's process keeps for the next request, and when the rest goes back to the system."""

import ctypes
import threading
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of ``malloc.h``."""
MIB = 2**20
LEAST_S = 2.0
"""Between two times that memory is given back."""


def keep_buffers(most: int = 32 * MIB, kept: int = 128 * MIB) -> None:
    """Buffers of up to ``most`` bytes are kept when they are free, up to ``kept`` of them, for those that come next.

    The server starts its processes with low thresholds, so that what long files use goes back at once. Where batches
    are copied all the time, to get their pages cleared by the system anew costs more than the work itself. Where there
    is no glibc nothing happens.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(M_MMAP_THRESHOLD, most)
        libc.mallopt(M_TRIM_THRESHOLD, kept)


class Trimmer:
    """Gives what is free back to the system, from time to time when nothing is under way.

    So memory follows what is done now, not the most that ever was.

    Args:
        is_idle: whether nothing is under way.
        every_s: how often it is asked.
    """

    def __init__(self, is_idle: Callable[[], bool], every_s: float = 1.0) -> None:
        self._is_idle = is_idle
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trimmer", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        libc = _libc()
        pause_s = LEAST_S
        while libc is not None and not self._stopped.wait(pause_s):
            pause_s = self._every_s
            if self._is_idle():
                libc.malloc_trim(0)
                pause_s = LEAST_S


def _libc() -> "ctypes.CDLL | None":
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
